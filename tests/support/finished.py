"""Create small finished runs: splits from real steps, and placeholder files for the other steps."""

from datetime import UTC, datetime
from pathlib import Path

from tasks.config.dataset import Dataset
from tasks.config.recipe import load_recipe
from tasks.engine.workspace import Workspace
from tasks.filesystem.hashing import sha256_of
from tasks.history.champions import append_entry
from tasks.history.run_store import save_run
from tasks.schemas.records import FileRecord, ManifestEntry, ModelRecord, PredictionsRecord, SplitRecord
from tasks.schemas.runs import Champion, FlowRun, RunRecord
from tasks.storage.content_files import move_into_store, write_content_addressed
from tests.support.samples import FIRST, model
from tests.support.written import write_predictions

RECIPE = load_recipe("post")


def finished(
    work: Workspace,
    splits: dict[str, SplitRecord],
    dataset: Dataset,
    number: int,
    flow_run: FlowRun | None = None,
) -> RunRecord:
    """A run with its own model and predictions, and its report."""
    root = work.root
    weights = write_content_addressed(root, "models", "plain", ".keras", f"model {number}".encode())
    path, meta = root / "predicted.parquet", FIRST.meta.model_copy(update={"model_sha256": weights.sha256})
    write_predictions(path, FIRST.model_copy(update={"meta": meta}))
    predicted = move_into_store(root, "predictions", "plain-test", ".parquet", path)
    name = f"2026010{number}-000000-run-{number}"
    page = write_content_addressed(root, f"runs/{name}", "report", ".html", f"report {number}".encode())
    archives = sorted((root / "archives").iterdir())
    links = [
        *(ManifestEntry(kind="download", role=f"download {one.name}", file=recorded(root, one)) for one in archives),
        *(ManifestEntry(kind="decode", role=f"decode {name}", file=split.file) for name, split in splits.items()),
        ManifestEntry(kind="train", role="train plain", file=weights),
        ManifestEntry(kind="evaluate", role="evaluate plain on test", file=predicted),
        ManifestEntry(kind="report", role="report", file=page),
    ]
    record: ModelRecord = model("plain").model_copy(update={"file": weights})
    run = RunRecord(
        run=name, began=datetime(2026, 1, number, tzinfo=UTC), dataset=dataset.name, recipe=RECIPE,
        train=splits["train"], test=splits["test"], models=(record,), libraries={}, code="",
        predictions=(PredictionsRecord(model="plain", split="test", file=predicted, count=6, errors=1, accuracy=0.8, loss=1),),
        manifest=tuple(links), flow_run=flow_run,
    )  # fmt: skip
    save_run(run, work)
    return run


def recorded(root: Path, path: Path) -> FileRecord:
    """Return the record of a file in its current state."""
    return FileRecord(path=path.relative_to(root).as_posix(), bytes=path.stat().st_size, sha256=sha256_of(path))


def crown(work: Workspace, run: RunRecord, number: int, rollback_to: int | None) -> None:
    entry = Champion(number=number, at=run.began, action="promoted", dataset=run.dataset, run=run.run,
                     model=run.models[0], predictions=run.predictions[0], rollback_to=rollback_to)  # fmt: skip
    append_entry(entry, "line", work.root)
