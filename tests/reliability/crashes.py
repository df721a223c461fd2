"""Crash every step before each of its file operations with SIGKILL.

Each step runs in a forked process that kills itself at its n-th operation on a file under the root, for every n. Then
the step runs again in another process. It must produce the same result as an undisturbed step and leave no temporary
files.
"""

import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from flows.runners.base import thread_settings
from tasks.base import TEST, TRAIN
from tasks.config.dataset import Dataset, load_dataset
from tasks.config.recipe import Recipe, load_recipe
from tasks.data.predictions_parquet import read_predictions
from tasks.engine.workspace import Workspace, open_workspace
from tasks.history.provenance import provenance_of, run_record, with_manifest
from tasks.history.prune import apply_pruning, plan_pruning
from tasks.history.run_store import save_run
from tasks.history.verify import verify_run
from tasks.schemas.evidence import PreparedData, RunEvidence, RunRecords, TrainedModels
from tasks.schemas.records import Record
from tasks.schemas.runs import FlowRun, RunRecord
from tasks.steps.analyze import analyze
from tasks.steps.attribute_errors import attribute
from tasks.steps.champion import judge, promote
from tasks.steps.compare_runs import compare
from tasks.steps.decode import decode
from tasks.steps.describe_network import describe
from tasks.steps.download import download
from tasks.steps.draw_figures import draw
from tasks.steps.evaluate import evaluate
from tasks.steps.explain_errors import explain
from tasks.steps.measure_features import measure
from tasks.steps.profile_data import profile
from tasks.steps.publish_report import report
from tasks.steps.select_examples import select
from tasks.steps.train import train
from tests.reliability.table import Row, say
from tests.reliability.world import COUNTS, incomplete, left_over
from tests.support import data
from tests.support.finished import crown, finished

OPERATIONS = frozenset(
    {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "fcntl.flock"}
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Case(NamedTuple):
    """Inputs that every step needs, and the results of the steps before it."""

    dataset: Dataset
    recipe: Recipe
    got: dict[str, Any]

    @property
    def data(self) -> PreparedData:
        """Archives and splits."""
        archives = {archive.name: archive for archive in self.got["download"]}
        return PreparedData(archives, dict(zip((TRAIN, TEST), self.got["decode"], strict=True)), samples={})

    @property
    def evidence(self) -> RunEvidence:
        """Input of the analysis for one model."""
        kinds = {"models": "train", "predictions": "evaluate", "attributions": "attribute", "explanations": "explain"}
        return RunEvidence(
            train=self.data.train, test=self.data.test, profile=self.got["profile"], measures=self.got["measure"],
            selection=self.got["select"],
            **{field: {self.got[kind].name if kind == "train" else self.got[kind].model: self.got[kind]}
               for field, kind in kinds.items()},
        )  # fmt: skip

    @property
    def records(self) -> RunRecords:
        """All records of the run."""
        models = self.evidence.models
        layers = dict.fromkeys(models, self.got["describe"])
        trained = TrainedModels(models, trainings=models, ensembles={})
        return RunRecords(self.data, trained, self.evidence, layers, self.got["analyze"], self.got["draw"])

    def run(self, work: Workspace) -> RunRecord:
        """Return the record of the run so far."""
        return run_record(self.dataset, self.recipe, "main", self.records, work, None)


def downloads(case: Case, work: Workspace) -> Any:
    return [download.fn(archive, case.dataset.mirrors, work) for archive in case.dataset.archives()]


def decodes(case: Case, work: Workspace) -> Any:
    archives = {archive.name: archive for archive in case.got["download"]}
    splits = ((TRAIN, case.dataset.train), (TEST, case.dataset.test))
    return [
        decode.fn(case.dataset, name, archives[split.images.name], archives[split.labels.name], work)
        for name, split in splits
    ]


def finish(case: Case, work: Workspace) -> Any:
    """Do everything that is not cached in a run: judge, report, save the run, promote."""
    run = case.run(work)
    decision = judge.fn(run, work)
    steps = case.records.steps
    where_from = provenance_of(case.data, steps, work)
    published = report.fn(
        case.got["analyze"], case.got["draw"], None, decision, where_from, work, (), [case.got["describe"]]
    )
    save_run(with_manifest(run, steps, published), work)
    promote.fn(run, decision, work)
    return published.verdict


def compares(case: Case, work: Workspace) -> Any:
    run = case.run(work)
    return compare.fn(run, run.model_copy(update={"run": "other"}), work)


def flow_run(number: int) -> FlowRun:
    """Return a flow run as Prefect's history identifies it."""
    return FlowRun(id=UUID(int=number), flow=UUID(int=0), at="http://127.0.0.1:4200/api", root="/root")


def prunes(_case: Case, work: Workspace) -> Any:
    """Remove all runs except the last and the champion's."""
    apply_pruning(work.root, plan_pruning(work.root, 1))
    return sorted(str(path.relative_to(work.root)) for path in work.root.rglob("*") if path.is_file())


def broken_runs(root: Path, kept: Sequence[RunRecord]) -> list[str]:
    """Return the names of kept runs that have lost a file."""
    return [run.run for run in kept if any(link.fault for link in verify_run(root, run))]


Step = Callable[[Case, Workspace], Any]
STEPS: dict[str, Step] = {
    "download": downloads,
    "decode": decodes,
    "profile": lambda case, work: profile.fn(*case.got["decode"], work=work),
    "measure": lambda case, work: measure.fn(case.got["decode"][1], work),
    "train": lambda case, work: train.fn(case.recipe.trainings()[0], case.got["decode"][0], work),
    "evaluate": lambda case, work: evaluate.fn(case.got["train"], case.got["decode"][1], work),
    "attribute": lambda case, work: attribute.fn(
        case.got["train"], case.got["evaluate"], *case.got["decode"], work=work
    ),
    "describe": lambda case, work: describe.fn(case.got["train"], work),
    "select": lambda case, work: select.fn({"plain": case.got["evaluate"]}, case.got["decode"][1], work),
    "explain": lambda case, work: explain.fn(
        case.got["train"], case.got["evaluate"], case.got["attribute"], case.got["select"], case.got["decode"][1], work
    ),
    "analyze": lambda case, work: analyze.fn(case.dataset, case.recipe, case.evidence, work),
    "draw": lambda case, work: draw.fn(case.got["analyze"], work),
    "compare": compares,
    "judge, report, register, promote": finish,
}  # fmt: skip


def in_child(body: Callable[[], Any]) -> int:
    """Run `body` in a forked process; return its exit code, or the negative number of the signal that ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        body()
        code = 0
    except BaseException:  # noqa: BLE001  # the parent sees the exit code of any error
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def operations(root: Path, at: int | None) -> Callable[[], int]:
    """Count the operations on files under `root` in this process, and kill the process before operation `at`.

    Operations are counted from 0. The returned function gives the count so far.
    """
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if (writing and str(root) in str(arguments[0])) or event in OPERATIONS:
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(hook)
    return lambda: count


def result_of(step: Step, case: Case, root: Path) -> Any:
    """Return the result of a step without the parts that differ between runs."""
    with open_workspace(root, "a-run") as work:
        found = step(case, work)
        if isinstance(found, Record) and "history" in type(found).model_fields:
            found = evaluate.fn(found, case.got["decode"][1], work)
            return read_predictions(root / found.file.path).probabilities.tobytes()
    return [without_origin(one) for one in found] if isinstance(found, list) else without_origin(found)


def without_origin(found: Any) -> Any:
    """Return a record without its origin; return other values unchanged."""
    return found.model_copy(update={"origin": None}) if isinstance(found, Record) else found


def tried(name: str, step: Step, case: Case, before: Path, kept: Sequence[RunRecord] = ()) -> Iterator[str]:
    """Kill a step before each of its operations; yield the losses of each trial, or an empty string."""
    folder = Path(tempfile.mkdtemp(dir=before.parent))

    def fresh(label: str) -> Path:
        return Path(shutil.copytree(before, folder / label))

    undisturbed, counted = fresh("undisturbed"), folder / "counted"

    def count() -> None:
        so_far = operations(undisturbed, None)
        result_of(step, case, undisturbed)
        counted.write_text(str(so_far()))

    assert in_child(count) == 0, f"{name}: the undisturbed step failed"
    expected = folder / "expected"
    assert in_child(lambda: expected.write_text(repr(result_of(step, case, fresh("expected-root"))))) == 0
    for at in range(int(counted.read_text())):
        root = fresh(f"at-{at}")
        yield "; ".join(lost(step, case, root, at, expected.read_text(), kept))
        shutil.rmtree(root)


def lost(step: Step, case: Case, root: Path, at: int, expected: str, kept: Sequence[RunRecord]) -> Iterator[str]:
    """Yield everything that is wrong after a kill before operation `at`."""

    def killed() -> None:
        operations(root, at)
        result_of(step, case, root)

    ended = in_child(killed)
    if ended not in {-signal.SIGKILL, 0}:
        yield f"operation {at}: the process ended with exit code {ended}"
    if kept and (harmed := broken_runs(root, kept)):
        yield f"operation {at}: kept runs have lost files: {harmed}"
    if broken := incomplete(root):
        yield f"operation {at}: incomplete files: {broken}"
    again = root.parent / f"again-{at}"
    if in_child(lambda: again.write_text(repr(result_of(step, case, root)))):
        yield f"operation {at}: the step fails when it is run again"
    elif again.read_text() != expected:
        yield f"operation {at}: the step returns another result when it is run again"
    if remains := left_over(root):
        yield f"operation {at}: files left over: {remains}"


def main(only: Sequence[str] = ()) -> Iterator[Row]:
    """Kill every step, or only the given steps, before each of its operations, and yield one row for each step."""
    from tasks.training.keras_runtime import import_keras

    os.environ |= thread_settings(threads=1)
    import_keras()
    folder = Path(tempfile.mkdtemp(prefix="mnist-crashes-"))
    dataset = load_dataset(str(data.make(folder / "mirror", COUNTS).toml()))
    recipe = load_recipe("post", epochs=2)
    case = Case(dataset, recipe.model_copy(update={"models": recipe.models[:1]}), {})
    root = folder / "root"
    root.mkdir()
    for name, step in STEPS.items():
        if not only or name in only:
            yield summed(f"SIGKILL before each file operation of {name}", tried(name, step, case, root))
        case.got[name] = in_parent(step, case, root)
    work = Workspace(root=root, run="a-run", began=BEGAN)
    shutil.rmtree(root / "runs")
    shutil.rmtree(root / "champions")  # the previous step has promoted the model
    splits = {split.name: split for split in case.got["decode"]}
    runs = [finished(work, splits, dataset, number, flow_run(number)) for number in (1, 2, 3, 4)]
    crown(work, runs[1], 1, None)
    if not only or "prune" in only:
        kept = [runs[1], runs[3]]
        yield summed("SIGKILL before each file operation of prune", tried("prune", prunes, case, root, kept))
    shutil.rmtree(folder)


def summed(fault: str, tries: Iterator[str]) -> Row:
    """Return one row for many trials."""
    losses = list(tries)
    for loss in filter(None, losses):
        say(f"LOST {loss}")
    row = Row(fault, len(losses), losses.count(""))
    say(row.markdown())
    return row


def in_parent(step: Step, case: Case, root: Path) -> Any:
    """Run a step undisturbed in a separate process, and return its result.

    TensorFlow must not run in this process, which is forked for each trial.
    """
    import cloudpickle

    kept = root.parent / "record"

    def body() -> None:
        with open_workspace(root, "a-run") as work:
            kept.write_bytes(cloudpickle.dumps(step(case, work)))

    assert in_child(body) == 0
    return cloudpickle.loads(kept.read_bytes())
