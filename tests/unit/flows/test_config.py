"""Test the seed that a run gets from its scheduled date."""

from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flows.config import load_run_recipe, resolve_seed
from tasks.errors import RecipeError


@pytest.mark.parametrize("place", ["UTC", "Europe/London", "Pacific/Auckland", "America/New_York"])
@pytest.mark.parametrize("hour", [0, 2, 12, 23])
def test_each_night_of_a_year_has_its_own_seed(place: str, hour: int) -> None:
    nights = [
        datetime.combine(date(2026, 1, 1) + timedelta(days=day), time(hour, 30), ZoneInfo(place)) for day in range(365)
    ]
    assert len({resolve_seed("date", night) for night in nights}) == 365


def test_a_seed_names_its_date() -> None:
    assert resolve_seed("date", datetime(2026, 11, 27, 2, tzinfo=ZoneInfo("UTC"))) == 2026112700
    assert resolve_seed("date", datetime(2026, 11, 27, 12, tzinfo=ZoneInfo("UTC"))) == 2026112750


def test_an_ensemble_whose_seeds_would_overlap_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.toml"
    path.write_text('base = "post"\nname = "many"\n[[ensembles]]\nname = "all"\nmembers = ["plain"]\nseeds = 51\n')
    with pytest.raises(RecipeError, match="an ensemble of 51 seeds would share seeds with the next run"):
        load_run_recipe(str(path), dated=True, seed=2026112700)
    assert load_run_recipe(str(path), seed=1).seed == 1
    path.write_text(path.read_text().replace("51", "50"))
    assert load_run_recipe(str(path), dated=True, seed=2026112700).seed == 2026112700
