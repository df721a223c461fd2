"""Test that tables and sentences fit the terminal: columns are left out first, then lines are broken between words."""

import io
import re
from types import SimpleNamespace

import pytest

from artifacts.screen import Screen
from artifacts.terminal import show_changes, show_predictions
from tasks.schemas.analysis import Check
from tasks.schemas.results import ClassifiedPicture, ClassPrediction, PredictResult
from tests.support.samples import changes_of_two

ROWS = [
    {"model": name, "parameters": "272,234", "epochs": 10, "mean accuracy": "98.25 %", "95 % interval": "97.60 to 98.90",
     "deviation, points": "0.303", "fit": "12.3 s"}
    for name in ("plain", "batch_norm")
]  # fmt: skip
DROP = ("fit", "parameters", "epochs")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def printed(
    width: int, monkeypatch: pytest.MonkeyPatch, *, wide: bool = False, drop: tuple[str, ...] = DROP
) -> list[str]:
    """Return the lines of a table on a terminal of a width."""
    stream = Terminal()
    monkeypatch.setattr("artifacts.screen.sys", SimpleNamespace(stdout=stream))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    Screen(wide=wide).table(ROWS, "a title of a run whose name is 20261128-155849-scrupulous-aardwolf", drop)
    return re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()).splitlines()


@pytest.mark.parametrize("width", range(56, 125))
def test_a_table_fits_every_terminal_without_a_broken_cell(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(width, monkeypatch)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for whole in ("batch_norm", "98.25 %", "97.60 to 98.90", "0.303", "20261128-155849-scrupulous-aardwolf"):
        assert whole in text
    assert "┃" in text
    assert all(("272,234" in text, "12.3 s" in text)) or "not shown: fit" in text


@pytest.mark.parametrize(
    ("width", "dropped"), [(120, ""), (80, "fit"), (60, "fit; parameters; epochs")]
)  # fmt: skip
def test_columns_are_left_out_in_order_and_named(width: int, dropped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(printed(width, monkeypatch))
    assert (f"not shown: {dropped} (--wide and --json show all columns)" in text) == bool(dropped)
    assert ("not shown" in text) == bool(dropped)


@pytest.mark.parametrize("width", range(60, 100))
def test_a_name_stays_with_its_percentage(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("artifacts.screen.sys", SimpleNamespace(stdout=stream))
    monkeypatch.setenv("COLUMNS", str(width))
    run = "20261128-155849-scrupulous-aardwolf"
    Screen().table([{"run": run, "accuracy": "plain 97.98 %, batch_norm 98.12 %"}])
    assert "plain 97.98 %," in stream.getvalue()
    assert "batch_norm 98.12 %" in stream.getvalue()


def test_a_wide_table_has_all_columns_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(60, monkeypatch, wide=True)
    assert max(map(len, lines)) > 60
    assert "12.3 s" in "".join(lines)
    assert "not shown" not in "".join(lines)


def test_a_table_that_cannot_fit_is_printed_cell_by_cell_with_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(36, monkeypatch)
    assert "fit                12.3 s" in lines
    assert "95 % interval      97.60 to 98.90" in lines


@pytest.mark.parametrize("width", [40, 60, 80])
def test_sentences_are_broken_between_words_and_never_in_an_interval(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal()
    monkeypatch.setattr("artifacts.screen.sys", SimpleNamespace(stdout=stream))
    monkeypatch.setenv("COLUMNS", str(width))
    sentence = (
        "plain of 20261128-155849-scrupulous-aardwolf is better than batch_norm: +25.00 points (95 % interval +7.13 to "
        "+40.43) over 40 images, exact McNemar p = 0.013, 0.25 ± 0.13, on 2026-11-28 15:58."
    )
    Screen().say(sentence)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(lines) == sentence
    for whole in ("+25.00 points", "95 %", "+7.13 to +40.43", "p = 0.013", "0.25 ± 0.13", "2026-11-28 15:58"):
        assert any(whole in line for line in lines), whole


def test_no_heading_of_a_comparison_of_two_models_takes_three_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("artifacts.screen.sys", SimpleNamespace(stdout=stream))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    changes = changes_of_two().model_copy(update={"over_time": False})
    show_changes(changes, [Check(name="not inferior", passed=True, found="")] * len(changes.models), "")
    text = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
    headings = text.partition("┏")[2].partition("┡")[0]
    assert "second-only" in headings
    assert headings.count("\n") == 3, "the frame and two lines"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_file_names_are_never_broken_at_a_space(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("artifacts.screen.sys", SimpleNamespace(stdout=stream))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    name = "my photo of a 7.png"
    guess = ClassPrediction(label="7", probability=0.9, probabilities={"7": 0.9})
    models = {"plain": guess, "batch_norm": guess}
    pictures = (
        ClassifiedPicture(path=name, pixels="", guesses=models, doubts=("it shows more than one character",)),
        ClassifiedPicture(path="a.png", pixels="", guesses=models),
    )
    show_predictions(PredictResult(run="r", pictures=pictures))
    assert name in stream.getvalue()
