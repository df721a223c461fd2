"""Each optional part of a run raises in turn; the run finishes, registers, says so in one line, and the next tries again."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import mnist as flow
from flows.workers import Workers
from tasks import optional
from tasks.results import RunResult
from tasks.runs import RunRecord, find_run
from tests import data

pytestmark = pytest.mark.usefixtures("prefect", "one_thread")

PROJECT = Path(__file__).parents[2]
ONLY_LOGGED = ("progress", "removing", "why")  # of these parts, nothing is missing afterwards
ELSEWHERE = {"notification"}  # only of runs that fail: tests/flows/test_events.py
KINDS = (
    *("comparison with RUN", "comparison with earlier runs", "comparison with the champion"),
    *("comparison with the champion, MODEL of RUN, image by image", "promotion to champion"),
    *("explanations of MODEL", "focus of MODEL", "robustness of MODEL", "figures", "figure", "artifact", "progress"),
    *("removing temporary files", "why"),
)


class InThreads(Workers):
    """Workers that are one thread of this process, in which a test can plant faults."""

    def __init__(self, runner: ThreadPoolTaskRunner[Any]) -> None:
        super().__init__(alone=True)
        self.runner = runner

    def send(self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]) -> PrefectFuture[Any]:
        return self.runner.submit(task, parameters, dependencies=edges)

    def end(self) -> None:
        """Leave the thread to the runner."""


@contextmanager
def in_threads(*_: object, **__: object) -> Iterator[Workers]:
    with ThreadPoolTaskRunner(max_workers=1) as runner:
        yield InThreads(runner)


class Planted:
    """Takes the place of the mechanism's logger, which hears of each part as it begins; raises where the part is to fail."""

    def __init__(self, fails: Callable[[str], bool]) -> None:
        self.fails = fails
        self.parts: list[str] = []

    def debug(self, text: str, part: str, **_: object) -> None:
        if text.startswith("optional"):
            self.parts.append(part)
            if self.fails(part):
                raise RuntimeError("planted")


def kind(part: str) -> str:
    """A part without the names of what it belongs to."""
    if part.split(maxsplit=1)[0] in {"figure", "artifact", "progress", "why"}:
        return part.split(maxsplit=1)[0]
    text = re.sub(r"(run )?\d{8}-\d{6}-[a-z]+-[a-z]+", "RUN", part)
    return re.sub(r"\b(plain|batch_norm)\b", "MODEL", text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("optional")


@pytest.fixture(scope="module")
def toml(folder: Path) -> str:
    return str(data.make(folder / "mirror", {"train": 600, "test": 20}).toml())


@pytest.fixture
def run(folder: Path, toml: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RunResult, Sequence[str]]]:
    """Run the flow in this process: the data and the trainings are found, all that is optional is made again."""
    monkeypatch.setattr(flow, "workers_of", in_threads)

    def once(fails: Callable[[str], bool] = lambda _: False, seed: int = 1) -> tuple[RunResult, Sequence[str]]:
        root = folder / "root"
        for name in ("explain", "draw", "stress"):
            for path in root.glob(f"records/{name}-*.json"):
                path.unlink()
        planted = Planted(fails)
        monkeypatch.setattr(optional, "LOGGER", planted)
        options: dict[str, Any] = {"epochs": 1, "robustness": True, "gate": False}
        result = flow.mnist(dataset=toml, root=str(root), seed=seed, **options)
        return result, planted.parts

    return once


@pytest.fixture
def before(folder: Path, run: Callable[..., Any]) -> None:
    """A run to compare with, which is the champion."""
    if not (folder / "root" / "runs").exists():
        run(seed=2)


def record_of(result: RunResult) -> RunRecord:
    return find_run(Path(result.root), result.run)


@pytest.mark.usefixtures("before")
def test_a_sound_run_leaves_nothing_out_and_each_kind_of_part_is_known(run: Callable[..., Any]) -> None:
    result, parts = run()
    assert result.omitted == ()
    assert result.compared_with
    assert {kind(part) for part in parts} == {*KINDS, "comparison with RUN of MODEL"}
    found = {word for path in (PROJECT / "tasks", PROJECT / "flows") for word in words(path)}
    assert found - ELSEWHERE <= {part.split()[0] for part in parts}


def words(folder: Path) -> Iterator[str]:
    """The first word of each part that a module names."""
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "optional":
                (first,) = node.args[:1]
                start = first.values[0] if isinstance(first, ast.JoinedStr) else first
                if isinstance(start, ast.Constant):
                    yield str(start.value).split()[0]


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("which", KINDS)
def test_a_part_that_fails_is_left_out_and_said_so(which: str, run: Callable[..., Any]) -> None:
    failed: list[str] = []

    def fails(part: str) -> bool:
        if failed and failed[0] != part:
            return False
        if kind(part) == which:
            failed.append(part)
            return True
        return False

    result, _ = run(fails)
    assert failed
    page = (Path(result.root) / result.report["html"]).read_text()
    expected = [] if which.startswith(ONLY_LOGGED) else [(failed[0], "RuntimeError: planted")]
    assert [(one.part, one.why) for one in result.omitted] == expected
    assert record_of(result).omitted == result.omitted
    assert page.count("left out: ") == len(expected)


@pytest.mark.usefixtures("before")
def test_a_run_without_any_optional_part_finishes_and_the_next_has_all(run: Callable[..., Any]) -> None:
    result, _ = run(lambda _: True, seed=3)
    assert len(result.omitted) > 10
    assert not result.promoted
    assert record_of(result).omitted == result.omitted
    again, _ = run(seed=3)
    assert again.omitted == ()
    page = (Path(again.root) / again.report["html"]).read_text()
    assert "left out" not in page
