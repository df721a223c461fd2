"""The command as a user has it: in a process of its own, on tiny real data, with a server of its own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import data

MNIST = Path(sys.executable).with_name("mnist")
SECONDS = 240


def run(*arguments: str | Path, command: Sequence[str | Path] = (MNIST, "run")) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def toml(folder: Path) -> Path:
    return data.make(folder / "mirror").toml()


@pytest.fixture(scope="module")
def options(folder: Path, toml: Path) -> list[str]:
    return ["--dataset", str(toml), "--root", str(folder / "a rööt"), "--epochs", "1", "--json"]


@pytest.fixture(scope="module")
def first(options: list[str]) -> dict[str, Any]:
    return result(run(*options))


STEPS = [
    *(f"download-{name}" for names in data.NAMES.values() for name in names),
    *("decode-train", "decode-test", "profile"),
    *("train-plain", "train-batch_norm", "evaluate-plain", "evaluate-batch_norm", "analyse"),
]


def test_one_json_document_and_files_that_exist(first: dict[str, Any]) -> None:
    assert set(first) == {"run", "root", "seconds", "dataset", "models", "report", "cached"}
    assert first["cached"] == []
    root = Path(first["root"])
    for name, parameters in (("plain", 272_234), ("batch_norm", 272_330)):
        model = first["models"][name]
        assert set(model) == {"accuracy", "errors", "loss", "parameters", "epochs", "fit_seconds", "model",
                              "model_sha256", "predictions"}  # fmt: skip
        assert (model["parameters"], model["epochs"]) == (parameters, 1)
        assert model["errors"] == round(300 * (1 - model["accuracy"]))
        assert hashlib.sha256((root / model["model"]).read_bytes()).hexdigest() == model["model_sha256"]
        assert (root / model["predictions"]).is_file()
    for form in ("html", "markdown", "json"):
        assert (root / first["report"][form]).stat().st_size > 10_000
    assert not list((root / "scratch").iterdir())


def test_a_second_run_computes_nothing_and_reports_again(first: dict[str, Any], options: list[str]) -> None:
    second = result(run(*options, command=(sys.executable, "-m", "flows.mnist")))
    assert second["cached"] == STEPS
    assert second["models"] == first["models"]
    assert second["run"] != first["run"]
    report = json.loads((Path(second["root"]) / second["report"]["json"]).read_text())
    assert {step["origin"]["run"] for step in report["provenance"]["steps"]} == {first["run"]}


def test_an_altered_model_is_trained_again_and_only_what_depends_on_it(
    first: dict[str, Any], options: list[str]
) -> None:
    model = Path(first["root"]) / first["models"]["plain"]["model"]
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    found = result(run(*options))
    assert [step for step in STEPS if step not in found["cached"]] == ["train-plain", "evaluate-plain", "analyse"]
    assert found["models"]["plain"]["accuracy"] == first["models"]["plain"]["accuracy"]
    assert found["models"]["batch_norm"] == first["models"]["batch_norm"]


def test_another_seed_trains_anew_and_decodes_nothing(first: dict[str, Any], options: list[str]) -> None:
    found = result(run(*options, "--seed", "7"))
    assert found["cached"] == STEPS[: STEPS.index("train-plain")]
    assert found["models"]["plain"]["model_sha256"] != first["models"]["plain"]["model_sha256"]


USAGE = [
    (["--no-such-option"], "No such option"),
    (["--epochs", "three"], "not a valid integer"),
]


@pytest.mark.parametrize(("arguments", "says"), USAGE)
def test_bad_usage_is_said_in_one_line(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_bad_input_ends_in_one_line_without_traceback(options: list[str]) -> None:
    done = run(*options, "--recipe", "nope")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "mnist: unknown recipe 'nope': give post, or the path of a .toml file"
    assert "Traceback" not in done.stderr
    assert "ERROR" not in done.stderr
    assert done.stdout == ""


def test_a_full_disk_ends_in_one_line_and_leaves_no_file(options: list[str], tmp_path: Path) -> None:
    # A limit on the size of a file, as `ulimit -f` sets it, is the full disk that needs no administrator.
    limited = ("bash", "-c", f'ulimit -f 40; trap "" XFSZ; exec "{MNIST}" run "$@"', "mnist")
    home = {"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///:memory:"}
    done = subprocess.run(
        [*limited, *options, "--root", str(tmp_path / "root")],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | home,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mnist: can't write ")
    assert "File too large" in last
    assert "Traceback" not in done.stderr
    whole = {path.relative_to(tmp_path / "root").parts[0] for path in (tmp_path / "root").rglob("*") if path.is_file()}
    assert whole <= {"archives", "records"}


def test_a_server_that_does_not_answer_is_named(options: list[str]) -> None:
    done = subprocess.run(
        [MNIST, "run", *options],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "mnist: no Prefect server answers at PREFECT_API_URL=http://127.0.0.1:9"
    )


@pytest.fixture
def training(options: list[str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A run in the middle of its trainings, with all the processes that it has started."""
    with subprocess.Popen(
        [MNIST, "run", *options, "--root", str(tmp_path / "root"), "--epochs", "2000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "epoch 2/2000" in line:
                break
        yield process, psutil.Process(process.pid).children(recursive=True)
        process.kill()


def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=40)[1]


def test_ctrl_c_ends_the_workers_and_the_server(
    training: tuple[subprocess.Popen[str], list[psutil.Process]],
) -> None:
    process, children = training
    assert len(children) >= 3
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "mnist: interrupted"
    assert "Traceback" not in said
    assert gone(children) == []


def test_a_killed_run_leaves_no_process(training: tuple[subprocess.Popen[str], list[psutil.Process]]) -> None:
    process, children = training
    process.kill()
    assert gone(children) == []
