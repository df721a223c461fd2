"""The `mnist predict` command, which classifies a user's own images with the models of a run."""
# ruff: noqa: PLC0415  # the command imports what it needs, so that `--help` answers immediately

import csv
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.completion import complete_run
from flows.cli.options import JSON, ROOT, WIDE_TABLES
from flows.processes.console import VERBOSITY, echo, echo_json
from flows.root_option import root_with_pages, write_optional_page
from tasks.errors import StorageError, UnreadableError
from tasks.safety.plain_text import printable

if TYPE_CHECKING:
    from tasks.schemas.doubt import DoubtLimits
    from tasks.schemas.results import ClassifiedPicture, PredictResult, UnreadablePicture
    from tasks.schemas.runs import RunRecord
    from tasks.storage.backend import Root
    from tasks.training.classify_pictures import Judge

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
@WIDE_TABLES
@JSON
def predict(images: tuple[Path, ...], name: str, as_csv: bool, root: str | None, wide: bool, as_json: bool) -> None:
    """Classify your own images of one character each.

    An image may have any size, color and background. It is prepared like the training images, and an HTML page shows
    the original, the prepared image, and what was left out. An answer is marked as doubtful if the image may show
    anything other than one character, if the model's confidence is low, or if the image is unlike the training images.
    Unreadable images are listed and skipped (exit code 1).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from artifacts.terminal import show_predictions
    from flows.cli.progress import counted_progress
    from tasks.history.run_store import find_run
    from tasks.schemas.results import ClassifiedPicture, PredictResult, UnreadablePicture
    from tasks.training.classify_pictures import classify_pictures as answers
    from tasks.training.classify_pictures import pictures_in

    with root_with_pages(root) as (place, unwritable):
        skipped: list[Path] = []
        run, paths = find_run(place, name), pictures_in(images, skipped.append)
        limits, judges, not_judged = _judges(run, place)
        with counted_progress("predict", len(paths), "images") as advance:
            found = list(answers(paths, run, place, advance, judges))
        answered = tuple(one for one in found if isinstance(one, ClassifiedPicture))
        unreadable = tuple(one for one in found if isinstance(one, UnreadablePicture))
        result = PredictResult(run=run.run, pictures=answered, unreadable=unreadable, skipped=len(skipped),
                               limits=limits, not_judged=not_judged)  # fmt: skip
        result, no_page = _write_page(result, run, place, unwritable)
    if as_json:
        echo_json(result.model_dump())
    elif as_csv:
        _write_csv(answered, run.train.classes)
    else:
        show_predictions(result, wide=wide)
    if no_page:
        echo(f"no page: {no_page}", err=True)
    _report_skipped(skipped, unreadable)
    if not paths:
        raise UnreadableError(f"no image found in {', '.join(map(str, images))}")
    if unreadable:
        raise UnreadableError(f"{len(unreadable)} of {len(paths)} images skipped; {_reasons(unreadable)}")


def _judges(run: "RunRecord", place: "Root") -> tuple[dict[str, "DoubtLimits"], dict[str, "Judge"], dict[str, str]]:
    """Return the limits and the judge of each model of a run, and for the other models the reason why there are none."""
    from functools import partial

    from tasks.analysis.doubt import decode_reference, judge_predictions
    from tasks.schemas.doubt import DoubtLimits
    from tasks.storage.content_files import read_document, require_valid

    limits: dict[str, DoubtLimits] = {}
    judges: dict[str, Judge] = {}
    not_judged = {
        model.name: "the run was made by an earlier version, which kept no limits for new images; run again to get them"
        for model in run.models
    }
    for one in run.attributions:
        if not one.limits or not one.reference:
            not_judged[one.model] = "the run had too few images that the model was not trained on"
            continue
        try:
            limits[one.model] = read_document(place, one.limits, DoubtLimits)
            reference = decode_reference(require_valid(place, one.reference).read_bytes())
        except StorageError as error:
            limits.pop(one.model, None)
            not_judged[one.model] = str(error)
            continue
        judges[one.model] = partial(judge_predictions, reference=reference, limits=limits[one.model])
        del not_judged[one.model]
    return limits, judges, not_judged


def _write_page(
    result: "PredictResult", run: "RunRecord", place: "Root", unwritable: str
) -> tuple["PredictResult", str]:
    """Write the page of classified images, if there are any, and return the result with it, or why there is no page."""
    if not result.pictures:
        return result, ""
    from artifacts.report.renderer import pictures_page
    from tasks.storage.content_files import write_text
    from tasks.storage.folders import Folder

    text = pictures_page(result, run.train.shape)
    name = f"{Folder.PICTURES}/{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.html"
    written, no_page = write_optional_page(lambda: write_text(place, name, text), unwritable)
    return result.model_copy(update={"page": str(place / written) if written else None}), no_page


def _write_csv(answered: Sequence["ClassifiedPicture"], classes: Sequence[str]) -> None:
    """Write one CSV line for each image and model to standard output."""
    from artifacts.common.rows import distinct_columns

    out = csv.writer(sys.stdout, lineterminator="\n")
    first, last = ["path", "model", "label"], ["doubts", "judged"]
    out.writerow([*first, *distinct_columns([*map(printable, classes)], [*first, *last], "class"), *last])
    for one in answered:
        for model, guess in one.guesses.items():
            probabilities = (f"{guess.probabilities[label]:.6f}" for label in classes)
            out.writerow(
                [
                    printable(one.path),
                    model,
                    printable(guess.label),
                    *probabilities,
                    "; ".join((*one.doubts, *guess.doubts)),
                    "yes" if guess.judgment else "no",
                ]
            )


def _report_skipped(skipped: Sequence[Path], unreadable: Sequence["UnreadablePicture"]) -> None:
    """Print which files were skipped, and why."""
    if skipped:
        echo(f"skipped, because hidden or not named like an image: {_skipped_names(skipped)}", err=True)
    for one in unreadable:
        echo(f"skipped: {one.path}: {one.why}", err=True)


def _reasons(unreadable: Sequence["UnreadablePicture"]) -> str:
    """Return where the reasons for skipped images are; a quiet command has printed none, and gets the first of them."""
    if not VERBOSITY.quiet:
        return "the lines above say why"
    return f"the first is {unreadable[0].path}: {unreadable[0].why}; omit --quiet to see all"


def _skipped_names(paths: Sequence[Path]) -> str:
    """Return the number of skipped files and folders, with the first few names."""
    names = ", ".join(printable(path.name) for path in paths[:_FEW])
    return f"{len(paths):,} ({names}{', ...' if len(paths) > _FEW else ''})"
