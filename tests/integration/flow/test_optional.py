"""Test a failure in each optional part of a run.

The run completes, is recorded, and reports the failure in one line. The next run tries the part again.
"""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from artifacts.common import plotting
from flows import mnist as flow
from tasks.engine import cached_task, optional_parts, task_progress, workspace
from tasks.history.run_store import find_run
from tasks.schemas.results import RunResult
from tasks.schemas.runs import RunRecord
from tasks.steps import champion, describe_network, draw_figures, explain_errors, publish_report, robustness
from tests.support import data, recipes
from tests.support.threads import in_threads

pytestmark = [
    pytest.mark.usefixtures("prefect", "one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # TensorFlow's warnings
]

PROJECT = Path(__file__).parents[3]
ONLY_LOGGED = ("progress", "reason", "removing")  # a failure in these parts is only logged; no result is missing
ELSEWHERE = {"notification"}  # only in runs that fail: tests/unit/flows/test_hooks.py
# For each kind of part: the module and name of a function that it calls, and the step to compute again for it.
KINDS = {
    "comparison with runs before this one": (flow, "predecessor", ""),
    "comparison with RUN": (flow, "require_renderable", ""),
    "comparison with the champion": (champion, "champion_history", ""),
    "paired comparison with the champion, MODEL of RUN": (champion, "compare_paired", ""),
    "promotion to champion": (flow, "promote", ""),
    "explanations of MODEL": (explain_errors, "smallest_correcting_patches", "explain"),
    "saliency maps of MODEL": (explain_errors, "_saliency_maps", "explain"),
    "robustness of MODEL": (robustness, "write_document", "stress"),
    "layers of MODEL": (describe_network, "architecture_of", "describe"),
    "diagrams of the networks": (publish_report, "networks_of", ""),
    "figures": (draw_figures, "write_content_addressed", "draw"),
    "figure": (plotting, "figure_url", "draw"),
    "artifact": (publish_report, "create_table_artifact", ""),
    "progress": (task_progress, "create_progress_artifact", "explain"),
    "reason": (cached_task, "explain_miss", "draw"),
    "removing temporary files": (workspace, "_remove_stale_files", ""),
}
STEPS = ("describe", "draw", "explain", "stress")
# Kinds of parts that fail in the same run. Parts that run inside each other, or one of which needs the other's result, are
# in different groups, so that no failure hides another.
TOGETHER = (
    ("artifact",),
    ("comparison with runs before this one", "comparison with the champion", "explanations of MODEL",
     "diagrams of the networks", "figures"),
    ("comparison with RUN", "paired comparison with the champion, MODEL of RUN", "saliency maps of MODEL", "layers of MODEL",
     "figure", "reason"),
    ("promotion to champion", "robustness of MODEL", "progress", "removing temporary files"),
)  # fmt: skip


class Heard:
    """Replacement for the logger of `optional_parts` that records the name of each part that begins."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def debug(self, text: str, part: str, **_: object) -> None:
        if text.startswith("optional"):
            self.parts.append(part)


def kind(part: str) -> str:
    """Return the kind of a part: its name without the names of runs, models and artifacts."""
    if part.split(maxsplit=1)[0] in {"figure", "artifact", "progress", "reason"}:
        return part.split(maxsplit=1)[0]
    text = re.sub(r"(run )?\d{8}-\d{6}-[a-z]+-[a-z]+", "RUN", part)
    return re.sub(r"\b(plain|batch_norm)\b", "MODEL", text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("optional")


@pytest.fixture(scope="module")
def toml(folder: Path) -> str:
    return str(data.make(folder / "mirror", {"train": 600, "test": 20}).toml())


Run = Callable[..., tuple[RunResult, list[str]]]


@pytest.fixture
def run(folder: Path, toml: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the flow in this process.

    The data and the trainings are cached; the steps that are passed to it are computed again.
    """
    monkeypatch.setattr(flow, "open_workers", in_threads)

    def once(*again: str, seed: int = 1) -> tuple[RunResult, list[str]]:
        root = folder / "root"
        for path in (path for name in again for path in root.glob(f"records/{name}-*.json")):
            path.unlink()
        # The champion and the previous run always have other models.
        for path in (*root.glob("champions/*/00000[2-9].json"), *sorted(root.glob("runs/*/run.json"))[1:]):
            path.unlink()
        heard = Heard()
        monkeypatch.setattr(optional_parts, "_LOGGER", heard)
        options: dict[str, Any] = {"recipe": recipes.pair(folder), "robustness": True, "gate": False}
        return flow.mnist(dataset=toml, root=str(root), seed=seed, **options), heard.parts

    return once


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes one kind of part raise an error."""

    def planted(which: str) -> None:
        module, name, _ = KINDS[which]
        sound, calls = getattr(module, name), count()

        def failing(*arguments: Any, **named: Any) -> Any:
            if name == "_remove_stale_files" and next(calls) % 2 == 0:  # the removal before a run is not optional
                return sound(*arguments, **named)
            raise RuntimeError("planted")

        monkeypatch.setattr(module, name, failing)

    return planted


@pytest.fixture
def before(folder: Path, run: Run) -> None:
    """Create two runs: the champion, which later runs are compared with, and a run whose steps are cached."""
    if not (folder / "root" / "runs").exists():
        run(seed=2)
        run()


def record_of(result: RunResult) -> RunRecord:
    return find_run(Path(result.root), result.run)


def page_of(result: RunResult) -> str:
    return (Path(result.root) / result.report["html"]).read_text()


@pytest.mark.usefixtures("before")
def test_a_sound_run_leaves_nothing_out_and_each_kind_of_part_is_known(run: Run) -> None:
    result, parts = run(*STEPS)
    assert result.omitted == ()
    assert result.compared_with
    assert "left out" not in page_of(result)
    assert {kind(part) for part in parts} == {*KINDS, "comparison with RUN of MODEL"}
    found = {word for path in (PROJECT / "tasks", PROJECT / "flows") for word in words(path)}
    assert found > ELSEWHERE
    assert found - ELSEWHERE <= {part.split()[0] for part in parts}


def words(folder: Path) -> Iterator[str]:
    """Yield the first word of each name that a module passes to `optional`."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "optional":
                first = node.args[0]
                start = first.values[0] if isinstance(first, ast.JoinedStr) else first
                if isinstance(start, ast.Constant):
                    yield str(start.value).split()[0]


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("together", TOGETHER, ids=[together[0] for together in TOGETHER])
def test_parts_that_fail_are_left_out_and_no_others(
    together: tuple[str, ...], run: Run, plant: Callable[[str], None]
) -> None:
    for which in together:
        plant(which)
    again = {KINDS[which][2] for which in together} - {""}
    result, _ = run(*again)
    parts = [one.part for one in result.omitted]
    assert {kind(part) for part in parts} == {which for which in together if not which.startswith(ONLY_LOGGED)}
    assert {one.why for one in result.omitted} <= {"RuntimeError: planted"}
    assert record_of(result).omitted == result.omitted
    assert page_of(result).count("left out: ") == len(parts)
    if not again:  # in the first group, before any of these steps has failed
        assert {"describe plain", "draw", "explain plain", "stress plain"} <= set(result.cached)


def test_every_kind_of_part_fails_in_one_group() -> None:
    assert sorted(which for together in TOGETHER for which in together) == sorted(KINDS)


@pytest.mark.usefixtures("before")
def test_a_run_without_any_optional_part_finishes_and_the_next_has_all(run: Run, plant: Callable[[str], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for which, (module, name, _) in KINDS.items():
            patch.setattr(module, name, getattr(module, name))  # restored at the end
            if which != "comparison with RUN":  # without earlier runs, there is no comparison
                plant(which)
        result, _ = run(*STEPS)
    assert len(result.omitted) > 10
    assert not result.promoted
    assert record_of(result).omitted == result.omitted
    again, _ = run()
    assert again.omitted == ()
    assert "left out" not in page_of(again)
    assert not {"describe plain", "draw", "explain plain", "stress plain"} & set(again.cached), (
        "what failed is made again"
    )
