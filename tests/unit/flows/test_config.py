"""Test the seed that a run gets from its scheduled date."""

from datetime import date, datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from flows import config
from flows.config import load_run_recipe, resolve_seed
from tasks.errors import RecipeError


def seed_at(monkeypatch: pytest.MonkeyPatch, at: datetime) -> int | None:
    """Return the seed of a run that was scheduled for a time."""
    monkeypatch.setattr(config, "flow_run", SimpleNamespace(scheduled_start_time=at))
    return resolve_seed("date")


@pytest.mark.parametrize("place", ["UTC", "Europe/London", "Pacific/Auckland", "America/New_York"])
@pytest.mark.parametrize("hour", [0, 2, 12, 23])
def test_each_night_of_a_year_has_its_own_seed(monkeypatch: pytest.MonkeyPatch, place: str, hour: int) -> None:
    nights = [
        datetime.combine(date(2026, 1, 1) + timedelta(days=day), time(hour, 30), ZoneInfo(place)) for day in range(365)
    ]
    assert len({seed_at(monkeypatch, night) for night in nights}) == 365


def test_a_seed_names_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seed_at(monkeypatch, datetime(2026, 11, 27, 2, tzinfo=ZoneInfo("UTC"))) == 2026112700
    assert seed_at(monkeypatch, datetime(2026, 11, 27, 12, tzinfo=ZoneInfo("UTC"))) == 2026112750


def test_an_ensemble_whose_seeds_would_overlap_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "many.toml"
    path.write_text('base = "post"\nname = "many"\n[[ensembles]]\nname = "all"\nmembers = ["plain"]\nseeds = 51\n')
    seed_at(monkeypatch, datetime(2026, 11, 27, 2, tzinfo=ZoneInfo("UTC")))
    with pytest.raises(RecipeError, match="an ensemble of 51 seeds would share seeds with the next run"):
        load_run_recipe(str(path), epochs=None, seed="date")
    assert load_run_recipe(str(path), epochs=None, seed=1).seed == 1
    path.write_text(path.read_text().replace("51", "50"))
    assert load_run_recipe(str(path), epochs=None, seed="date").seed == 2026112700
