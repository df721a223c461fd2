"""Finished runs in miniature: splits that real steps have made, and files that stand for the rest of the chain."""

from datetime import UTC, datetime
from pathlib import Path

from tasks.champion import append
from tasks.dataset import Dataset
from tasks.files import keep
from tasks.predictions import write_predictions
from tasks.recipe import load_recipe
from tasks.records import Link, ModelRecord, PredictionsRecord, SplitRecord
from tasks.runs import Champion, RunRecord, remember
from tasks.workspace import Workspace
from tests.samples import FIRST, model

RECIPE = load_recipe("post")


def predictions_file(root: Path, model_sha256: str) -> tuple[Path, bytes]:
    path = root / "p.parquet"
    meta = FIRST.meta.model_copy(update={"model_sha256": model_sha256})
    write_predictions(path, FIRST.model_copy(update={"meta": meta}))
    return path, path.read_bytes()


def finished(work: Workspace, splits: dict[str, SplitRecord], dataset: Dataset, number: int) -> RunRecord:
    """One run with a model and predictions of its own, and its report."""
    root = work.root
    weights = keep(root, "models", "plain", ".keras", f"model {number}".encode())
    path, content = predictions_file(root, weights.sha256)
    path.unlink()
    predicted = keep(root, "predictions", "plain-test", ".parquet", content)
    name = f"2026010{number}-000000-run-{number}"
    page = keep(root, f"runs/{name}", "report", ".html", f"report {number}".encode())
    archives = sorted((root / "archives").iterdir())
    links = [
        *(
            Link(role=f"download {one.name}", file=keep(root, "archives", *parts(one), one.read_bytes()))
            for one in archives
        ),
        *(Link(role=f"decode {name}", file=split.file) for name, split in splits.items()),
        Link(role="train plain", file=weights),
        Link(role="evaluate plain on test", file=predicted),
        Link(role="report", file=page),
    ]
    record: ModelRecord = model("plain").model_copy(update={"file": weights})
    run = RunRecord(
        run=name, began=datetime(2026, 1, number, tzinfo=UTC), dataset=dataset.name, recipe=RECIPE,
        train=splits["train"], test=splits["test"], models=(record,), libraries={}, code="",
        predictions=(PredictionsRecord(model="plain", split="test", file=predicted, count=6, errors=1, accuracy=0.8, loss=1),),
        chain=tuple(links),
    )  # fmt: skip
    remember(run, work)
    return run


def parts(path: Path) -> tuple[str, str]:
    """The stem and the suffix of a file named by its content."""
    stem, _, suffix = path.name.partition(".")
    return stem.rpartition("-")[0], f".{suffix}"


def crown(work: Workspace, run: RunRecord, number: int, below: int | None) -> None:
    entry = Champion(number=number, at=run.began, action="promoted", dataset=run.dataset, run=run.run,
                     model=run.models[0], predictions=run.predictions[0], below=below)  # fmt: skip
    append(entry, "line", work.root)
