"""The `mnist predict` command, which classifies a user's own images with the models of a run."""
# ruff: noqa: PLC0415  # the command imports what it needs, so that `--help` answers immediately

import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.completion import complete_run
from flows.cli.options import JSON, ROOT
from flows.processes.console import echo, echo_json
from flows.root_option import root_with_pages, write_optional_page
from tasks.errors import UnreadableError
from tasks.safety.plain_text import printable

if TYPE_CHECKING:
    from tasks.schemas.results import ClassifiedPicture, UnreadablePicture

_FEW = 3  # names of skipped files to print


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER...", type=click.Path(path_type=Path))
@click.option(
    "--run", "name", default="last", show_default=True, metavar="RUN", help="Run whose models classify the images.",
    shell_complete=complete_run,
)  # fmt: skip
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print one CSV line for each image and model, with all probabilities."
)
@ROOT
@JSON
def predict(images: tuple[Path, ...], name: str, as_csv: bool, root: str | None, as_json: bool) -> None:
    """Classify your own images of one character each.

    An image may have any size, color and background. It is prepared like the training images, and an HTML page shows
    the prepared image. If it may show anything other than one character, the answer is marked as doubtful. Unreadable
    images are listed and skipped (exit code 1).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from artifacts.common.formatting import counted
    from artifacts.report.renderer import pictures_page
    from artifacts.terminal import show_predictions
    from tasks.history.run_store import find_run
    from tasks.schemas.results import ClassifiedPicture, UnreadablePicture
    from tasks.storage.content_files import write_text
    from tasks.storage.folders import Folder
    from tasks.training.classify_pictures import classify_pictures as answers
    from tasks.training.classify_pictures import pictures_in

    with root_with_pages(root) as (place, unwritable):
        skipped: list[Path] = []
        run, paths = find_run(place, name), pictures_in(images, skipped.append)
        with _progress(len(paths)) as advance:
            found = list(answers(paths, run, place, advance))
        answered = [one for one in found if isinstance(one, ClassifiedPicture)]
        unreadable = [one for one in found if isinstance(one, UnreadablePicture)]
        title = f"{counted(len(answered), 'image')}, classified by {run.run}"
        text = pictures_page(answered, run.train.shape, title)
        name = f"{Folder.PICTURES}/{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.html"
        written, no_page = write_optional_page(lambda: write_text(place, name, text), unwritable)
        page = str(place / written) if written else ""
    if as_json:
        pictures = [one.model_dump(exclude={"pixels"}) for one in answered]
        left_out = [one.model_dump() for one in unreadable]
        left = {"unreadable": left_out, "skipped": len(skipped)}
        echo_json({"run": run.run, "pictures": pictures, **left, "page": page or None})
    elif as_csv:
        _write_csv(answered, run.train.classes)
    else:
        show_predictions(answered, page)
    if no_page:
        echo(f"no page: {no_page}", err=True)
    _report_skipped(skipped, unreadable)
    if not paths:
        raise UnreadableError(f"no image found in {', '.join(map(str, images))}")
    if unreadable:
        raise UnreadableError(f"{len(unreadable)} of {len(paths)} images skipped; the lines above say why")


def _write_csv(answered: Sequence["ClassifiedPicture"], classes: Sequence[str]) -> None:
    """Write one CSV line for each image and model to standard output."""
    from artifacts.common.rows import distinct_columns

    out = csv.writer(sys.stdout, lineterminator="\n")
    first, last = ["path", "model", "label"], ["doubts"]
    out.writerow([*first, *distinct_columns([*map(printable, classes)], [*first, *last], "class"), *last])
    for one in answered:
        for model, guess in one.guesses.items():
            probabilities = (f"{guess.probabilities[label]:.6f}" for label in classes)
            out.writerow([printable(one.path), model, printable(guess.label), *probabilities, "; ".join(one.doubts)])


def _report_skipped(skipped: Sequence[Path], unreadable: Sequence["UnreadablePicture"]) -> None:
    """Print which files were skipped, and why."""
    if skipped:
        echo(f"skipped, because hidden or not named like an image: {_skipped_names(skipped)}", err=True)
    for one in unreadable:
        echo(f"skipped: {one.path}: {one.why}", err=True)


def _skipped_names(paths: Sequence[Path]) -> str:
    """Return the number of skipped files and folders, with the first few names."""
    names = ", ".join(printable(path.name) for path in paths[:_FEW])
    return f"{len(paths):,} ({names}{', ...' if len(paths) > _FEW else ''})"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """Yield a function that advances a progress bar; the bar is shown only on a terminal."""
    from rich.progress import Progress

    from artifacts.screen import Screen

    console = Screen(err=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=total)
        yield lambda count: bar.advance(task, count)
