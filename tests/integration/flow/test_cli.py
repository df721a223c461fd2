"""Test the command as a user runs it: in a separate process, on tiny real data, with a separate server."""

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from flows.cli.outcome import summary_line
from tasks.storage.folders import BY_CONTENT, MARK
from tests.support import data
from tests.support.command import Mnist
from tests.support.plans import named, require_agreement
from tests.support.terminal import run_on_terminal

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
    return data.make(folder / "mirror", data.FEW).toml()


@pytest.fixture(scope="module")
def options(folder: Path, toml: Path) -> list[str]:
    return ["--dataset", str(toml), "--root", str(folder / "[/a] rööt"), "--epochs", "1"]


@pytest.fixture(scope="module")
def first(options: list[str], folder: Path) -> dict[str, Any]:
    """Return the result of a run that has a name and a tag, and draws bars on a terminal."""
    named = ["--flow-run-name", "First: ä/1\n[b]", "--tag", "[b]trial"]
    done = run_on_terminal([MNIST, "run", *options, *named, "--json", "--log-file", folder / "run.log"], columns=160)
    bar = r"train plain +━+ epoch 1/1, loss [\d.]+, accuracy [\d.]+%, [\d,]+ images/s, \d+ s left"
    assert re.search(bar, done.stderr), done.stderr
    return result(done)


@pytest.fixture(scope="module")
def other(mnist: Mnist, first: dict[str, Any], options: list[str]) -> dict[str, Any]:
    """Return the result of a quiet run with another seed."""
    done = mnist("run", *options, "--seed", "7", "--no-gate", "--json", "--quiet")
    assert done.stderr == ""
    return result(done)


STEPS = [
    *(f"download {name}" for names in data.NAMES.values() for name in names),
    *("decode train", "decode test", "profile", "measure test"),
    *("train plain", "train batch_norm", "evaluate plain on test", "evaluate batch_norm on test"),
    *(
        "attribute plain",
        "attribute batch_norm",
        "select",
        "explain plain",
        "explain batch_norm",
        "describe plain",
        "describe batch_norm",
        "analyze",
        "draw",
    ),
]


def test_one_json_document_and_files_that_exist(first: dict[str, Any]) -> None:
    assert set(first) == {"schema_version", "run", "url", "needs_serve", "tags",
                          "root", "seconds", "dataset", "models", "verdict", "comparisons",
                          "decision", "promoted", "report", "cached", "steps", "compared_with", "omitted"}  # fmt: skip
    assert (first["compared_with"], first["omitted"]) == (None, [])
    assert first["promoted"]
    assert re.fullmatch(r"\d{8}-\d{6}-first-a-1-b", first["run"])
    assert first["tags"] == ["[b]trial", "dataset:tiny", "recipe:post", "line:main"]
    assert (first["url"][:36], first["needs_serve"]) == ("http://127.0.0.1:4200/runs/flow-run/", True)
    (comparison,) = first["comparisons"]
    assert f"{100 * abs(comparison['difference']['value']):.2f} points" in first["verdict"]
    assert first["cached"] == []
    root = Path(first["root"])
    for name, parameters in (("plain", 272_234), ("batch_norm", 272_330)):
        model = first["models"][name]
        assert set(model) == {"accuracy", "errors", "loss", "parameters", "epochs", "fit_seconds", "model",
                              "model_sha256", "predictions"}  # fmt: skip
        assert (model["parameters"], model["epochs"]) == (parameters, 1)
        assert model["errors"] == round(data.FEW["test"] * (1 - model["accuracy"]))
        assert hashlib.sha256((root / model["model"]).read_bytes()).hexdigest() == model["model_sha256"]
        assert (root / model["predictions"]).is_file()
    for form in ("html", "markdown", "json"):
        assert (root / first["report"][form]).stat().st_size > 10_000
    page = (root / first["report"]["html"]).read_text()
    titles = re.findall(r'<title id="network-\d-wide-t">([^<]+)</title>', page)
    assert titles == ["The layers of plain", "The layers of batch_norm", "The layers of VGG-16"]
    assert first["url"] in page
    assert "Tags: [b]trial, dataset:tiny" in page
    assert not list(root.glob("scratch/*"))
    others = {MARK, "champions", "locks", "made", "records", "runs", "scratch", "unfinished"}
    assert {path.name for path in root.iterdir()} - others <= set(BY_CONTENT), "what no run needs any more would stay"


def test_the_log_file_has_the_records_of_the_flow_and_of_its_workers(first: dict[str, Any], folder: Path) -> None:
    lines = [line.split(" | ", 3) for line in (folder / "run.log").read_text().splitlines() if line.startswith("20")]
    assert {level.strip() for _, level, _, _ in lines} >= {"DEBUG", "INFO"}
    trained = [process for _, _, process, text in lines if "parameters, trained in" in text]
    flow = {process for _, _, process, text in lines if "Beginning flow run" in text}
    assert len(trained) == len(first["models"])
    assert len(flow) == 1
    assert not flow & set(trained), "the trainings run in processes of their own"


def test_a_second_run_computes_nothing_and_reports_again(first: dict[str, Any], options: list[str]) -> None:
    plan = result(run(*options, "--json", "--dry-run"))
    second = result(run(*options, "--json", command=(sys.executable, "-m", "flows.mnist")))
    require_agreement(plan, second["steps"])
    assert second["cached"] == STEPS
    assert second["models"] == first["models"]
    assert second["run"] != first["run"]
    assert (second["promoted"], second["decision"]["unchanged"]) == (False, True), "the champion stays"
    report = json.loads((Path(second["root"]) / second["report"]["json"]).read_text())
    assert {step["origin"]["run"] for step in report["provenance"]["steps"]} == {first["run"]}


def test_an_altered_model_is_trained_again_and_is_what_it_was(
    mnist: Mnist, first: dict[str, Any], options: list[str]
) -> None:
    model = Path(first["root"]) / first["models"]["plain"]["model"]
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    plan = mnist.result("run", *options, "--dry-run")
    assert named(plan, "compute") == {"train plain"}
    found = mnist.result("run", *options)
    require_agreement(plan, found["steps"])
    assert [step for step in STEPS if step not in found["cached"]] == ["train plain"]
    kept = {name: {**model, "fit_seconds": 0} for name, model in found["models"].items()}
    assert kept == {name: {**model, "fit_seconds": 0} for name, model in first["models"].items()}


def test_another_seed_trains_again_and_decodes_nothing(first: dict[str, Any], other: dict[str, Any]) -> None:
    assert other["cached"] == STEPS[: STEPS.index("train plain")]
    assert other["models"]["plain"]["model_sha256"] != first["models"]["plain"]["model_sha256"]


def test_two_runs_are_compared(mnist: Mnist, first: dict[str, Any], other: dict[str, Any]) -> None:
    root = first["root"]
    found = mnist.result("compare", first["run"], other["run"], "--root", root)
    assert [model["now"] for model in found["models"]] == ["plain", "batch_norm"]
    one = found["models"][0]["comparison"]
    wrong = (first["models"]["plain"]["errors"], other["models"]["plain"]["errors"])
    assert (one["only_second"] + one["both_wrong"], one["only_first"] + one["both_wrong"]) == wrong
    assert {"name": "recipe seed", "before": "1", "now": "7"} in found["settings"]
    page = (Path(root) / found["report"]).read_text()
    assert page.count("data:image/png") >= min(12, one["only_first"]) + min(12, one["only_second"])
    said = mnist("compare", f"{first['run']}:plain", f"{other['run']}:batch_norm", "--root", root)
    assert "batch_norm minus plain" in " ".join(said.stdout.replace("│", " ").split())
    report = json.loads((Path(root) / other["report"]["json"]).read_text())
    assert report["changes"]["now"] == other["run"]
    assert report["changes"]["images"] == data.FEW["test"]


def test_compare_fails_on_a_worse_run_with_fail_if_worse(
    mnist: Mnist, first: dict[str, Any], other: dict[str, Any]
) -> None:
    both = (f"{first['run']}:plain", f"{other['run']}:plain", "--root", first["root"], "--fail-if-worse")
    assert mnist("compare", *both, "--margin", "100").returncode == 0
    done = mnist("compare", *both, "--margin", "0.001")  # too few images to prove that it is not inferior
    assert done.returncode == 1
    assert f"not inferior to plain of {first['run']} by 0.001 points or more: no" in done.stderr
    assert done.stderr.count("\n") == 1


def test_runs_are_listed(mnist: Mnist, first: dict[str, Any]) -> None:
    assert first["run"] in mnist("runs", "--root", first["root"]).stdout
    assert first["run"] in {
        run["run"] for run in json.loads(mnist("runs", "--root", first["root"], "--json").stdout)["runs"]
    }


def test_champions_are_listed_and_rolled_back(mnist: Mnist, first: dict[str, Any], folder: Path) -> None:
    root = first["root"]
    (champions,) = json.loads(mnist("champion", "list", "--root", root, "--json").stdout)["lines"].values()
    assert champions[0]["run"] == first["run"]
    assert first["run"] in mnist("champion", "list", "--root", root).stdout
    done = mnist("champion", "rollback", "--lift", "--root", root)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is in effect" in done.stderr
    done = mnist("champion", "rollback", "--root", str(folder / "empty"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "nope", "last"),
        ("compare", "last:plain", "last"),
        ("compare", "last"),
        ("verify", "nope"),
        ("prune",),
        ("prune", "--keep", "0"),
    ],
)
def test_runs_that_cannot_be_compared_are_reported_in_one_line(
    mnist: Mnist, first: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    done = mnist(*arguments, "--root", first["root"])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_run_is_verified_and_a_changed_file_is_named(
    mnist: Mnist, first: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    sound = mnist("verify", first["run"], "--root", first["root"])
    assert sound.returncode == 0, sound.stderr
    assert "files, all unchanged" in sound.stdout
    root = tmp_path / "copy"
    shutil.copytree(first["root"], root)
    (page,) = root.glob(f"runs/{first['run']}/report.html")
    page.write_bytes(page.read_bytes().replace(b"a", b"b", 1))
    done = mnist("verify", first["run"], "--root", root, "--json")
    assert done.returncode == 1
    assert not json.loads(done.stdout)["sound"]
    assert f"failed verification at report: {page} was altered" in done.stderr
    assert done.stderr.count("\n") == 1
    record = page.with_name("run.json")
    record.write_bytes(record.read_bytes().replace(b"a", b"b", 1))
    done = mnist("verify", first["run"], "--root", root)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"the record of run {first['run']} is invalid: " in done.stderr
    listed = mnist("runs", "--root", root)
    assert f"skipped: {record}: it was altered" in listed.stderr


def test_runs_are_pruned_but_for_the_last_and_the_champions(
    mnist: Mnist, first: dict[str, Any], tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(first["root"], root)
    count = len(json.loads(mnist("runs", "--root", root, "--json").stdout)["runs"])
    planned = json.loads(mnist("prune", "--keep", "1", "--dry-run", "--root", root, "--json").stdout)
    assert len(planned["runs"]) == count - len(planned["kept"]) > 0
    assert first["run"] in planned["kept"], "the champion's"
    assert not planned["removed"]
    assert all((root / path).exists() for path in planned["files"])
    done = mnist("prune", "--keep", "1", "--root", root)
    assert re.search(rf"removed {len(planned['runs'])} runs? and {len(planned['files']):,} other files?,", done.stdout)
    assert not any((root / path).exists() for path in planned["files"])
    assert len(json.loads(mnist("runs", "--root", root, "--json").stdout)["runs"]) == len(planned["kept"])
    for run in planned["kept"]:
        assert mnist("verify", run, "--root", root).returncode == 0


def test_predict_classifies_pictures_and_skips_unreadable_files(
    mnist: Mnist, first: dict[str, Any], tmp_path: Path
) -> None:
    for number, image in enumerate(data.first(data.NAMES["test"][0], 3)):
        Image.fromarray(255 - image).resize((140, 140)).save(tmp_path / f"{number}.png")
    good = mnist("predict", tmp_path, "--root", first["root"], "--run", first["run"], "--json")
    found = json.loads(good.stdout)
    assert good.returncode == 0, good.stderr
    assert [Path(one["path"]).name for one in found["pictures"]] == ["0.png", "1.png", "2.png"]
    for one in found["pictures"]:
        assert set(one["guesses"]) == {"plain", "batch_norm"}
        for guess in one["guesses"].values():
            assert sum(guess["probabilities"].values()) == pytest.approx(1, abs=1e-4)
            assert guess["probabilities"][guess["label"]] == guess["probability"]
    assert Path(found["page"]).read_text().count("data:image/png") == 3
    (tmp_path / "bad.png").write_bytes(b"hello")
    some = mnist("predict", tmp_path, tmp_path / "none.jpg", "--root", first["root"], "--csv")
    assert some.returncode == 1
    assert len(some.stdout.splitlines()) == 1 + 3 * 2
    assert some.stdout.startswith("path,model,label,0,1,2")
    *left_out, last = some.stderr.splitlines()
    assert last == "mnist: 2 of 5 images skipped; the lines above say why"
    assert left_out == [
        f"skipped: {tmp_path / 'bad.png'}: it is not a readable picture",
        f"skipped: {tmp_path / 'none.jpg'}: No such file or directory",
    ]


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_predict_accepts_any_file_name_and_reports_doubtful_predictions_and_skipped_files(
    form: str, first: dict[str, Any], tmp_path: Path
) -> None:
    digits = [255 - image for image in data.first(data.NAMES["test"][0], 7)]
    names = (b"\xff\xfe.png", b"[b] :smile:.png", b"escape\x1b[2J.png", "turned\u202e.png".encode(), b"two\nlines.png")
    for name, image in zip((b"one.png", *names), digits, strict=False):
        Image.fromarray(image).resize((140, 140)).save(tmp_path / "new.png")
        (tmp_path / "new.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    Image.fromarray(np.hstack([digits[0], digits[1]])).resize((280, 140)).save(tmp_path / "two.png")
    for name in ("._one.png", "Thumbs.db", ".DS_Store", "notes.txt"):
        (tmp_path / name).write_bytes(b"\0")
    command = [MNIST, "predict", ".", "--root", first["root"], "--run", first["run"], *([form] if form else [])]
    colored = os.environ | {"FORCE_COLOR": "1", "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, cwd=tmp_path, env=colored, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode("latin-1").splitlines() == [
        "skipped, because hidden or not named like an image: 4 (.DS_Store, ._one.png, Thumbs.db, ...)"
    ]
    said = done.stdout.decode("latin-1")
    assert not set(said) & set("\x1b\u202e")
    reason = "it shows more than one character"
    if form == "--json":
        found = json.loads(said)
        doubts = {one["path"]: one["doubts"] for one in found["pictures"]}
        assert list(doubts) == [
            *("[b] :smile:.png", "escape\x1b[2J.png", "one.png", "turned\u202e.png", "two\nlines.png", "two.png"),
            r"\xff\xfe.png",
        ]  # fmt: skip
        assert doubts["one.png"] == []
        assert doubts["two.png"] == [reason]
        assert found["skipped"] == 4
        assert f"two.png; doubtful: {reason}" in Path(found["page"]).read_text()
    else:
        for name in ("[b] :smile:.png", r"escape\x1b[2J.png", r"turned\u202e.png", r"two\nlines.png", r"\xff\xfe.png"):
            assert name in said
    if form == "--csv":
        doubts = {line["path"]: line["doubts"] for line in csv.DictReader(said.splitlines())}
        assert (doubts["one.png"], doubts["two.png"]) == ("", reason)
    elif not form:
        assert "doubtful" in said
        assert "more than one" in said


@pytest.fixture(scope="module")
def strict(folder: Path) -> Path:
    """Return a recipe whose floor no model reaches."""
    text = (Path(__file__).parents[3] / "tasks/config/builtin/recipes/post.toml").read_text()
    path = folder / "strict.toml"
    path.write_text(text.replace("[gates.mnist]", "[gates.tiny]").replace("floor = 0.95", "floor = 0.998"))
    return path


def test_a_failed_gate_fails_the_run_after_its_report(
    mnist: Mnist, first: dict[str, Any], options: list[str], strict: Path
) -> None:
    root = Path(first["root"])
    champions = set((root / "champions").rglob("*"))
    failed = mnist("run", *options, "--recipe", strict, "--line", "strict", "--json")
    assert failed.returncode == 1
    found = json.loads(failed.stdout)
    assert not found["promoted"]
    assert "above the floor" in (root / found["report"]["markdown"]).read_text()
    assert failed.stderr.splitlines()[-1].startswith("mnist: the gate failed: ")
    assert "Traceback" not in failed.stderr
    passed = mnist.result("run", *options, "--recipe", strict, "--line", "strict", "--no-gate")
    assert not passed["promoted"]
    assert set((root / "champions").rglob("*")) == champions


USAGE = [
    (["--no-such-option"], "No such option"),
    (["--epochs", "three"], "must be an integer"),
    (["--root", "~nobody-such/x"], "can't use the root ~nobody-such/x: no home directory is known for ~nobody-such;"),
]


@pytest.mark.parametrize(("arguments", "says"), USAGE)
def test_wrong_usage_is_reported_in_one_line(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_account_without_a_home_is_told_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(RuntimeError) as caught:
        Path.home()  # Prefect does this when it is imported
    assert summary_line(caught.value) == "this account has no home directory: set HOME to a folder that it can write to"


def test_bad_input_ends_in_one_line_without_traceback(options: list[str]) -> None:
    done = run(*options, "--recipe", "nope")
    assert done.returncode == 2
    names = "augmented, barred, best, cycled, dropout, ema, onecycle, post, smoothed, specked, wide"
    said = f"mnist: unknown recipe 'nope': give {names}, or the path of a .toml file"
    assert done.stderr.splitlines()[-1] == said
    assert "Traceback" not in done.stderr
    assert "ERROR" not in done.stderr
    assert done.stdout == ""


def test_a_full_disk_ends_in_one_line_and_leaves_no_file(options: list[str], tmp_path: Path) -> None:
    # A limit on the size of a file, as `ulimit -f` sets it, acts like a full disk and needs no root privileges.
    limited = ("bash", "-c", f'ulimit -f 8; trap "" XFSZ; exec "{MNIST}" run "$@"', "mnist")
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
    assert whole <= {MARK, "archives", "records", "locks", "unfinished", "made", "runs"}, (
        "the claim of the name is whole"
    )


@pytest.mark.parametrize("named_in", ["the environment", "a profile"])
def test_a_server_that_does_not_answer_is_named(options: list[str], tmp_path: Path, named_in: str) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('active = "far"\n[profiles.far]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')
    env = {
        "the environment": {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
        "a profile": {"PREFECT_PROFILES_PATH": str(profiles)},
    }
    done = subprocess.run(
        [MNIST, "run", *options],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | env[named_in],
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "mnist: no Prefect server answers at PREFECT_API_URL=http://127.0.0.1:9"
    )


@pytest.fixture
def training(
    options: list[str], tmp_path: Path, all_cores: None
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Yield a run in the middle of its trainings, with all the processes that it has started."""
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
    assert said.splitlines()[-1] == "mnist: interrupted; run the same command to continue"
    assert "Traceback" not in said
    assert gone(children) == []


def test_a_killed_run_leaves_no_process(training: tuple[subprocess.Popen[str], list[psutil.Process]]) -> None:
    process, children = training
    process.kill()
    assert gone(children) == []


def test_a_folder_of_others_is_refused_before_a_server_starts(options: list[str], tmp_path: Path) -> None:
    thesis = tmp_path / "scratch" / "thesis"
    thesis.mkdir(parents=True)
    home = tmp_path.with_name(f"{tmp_path.name}-home")
    done = subprocess.run(
        [MNIST, "run", *options, "--root", tmp_path], env=os.environ | {"PREFECT_HOME": str(home)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"such as --root {tmp_path}/mnist" in done.stderr
    assert not home.exists()
    assert [*tmp_path.rglob("*")] == [tmp_path / "scratch", thesis]


def test_a_current_folder_that_was_removed_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, contextlib.chdir(tmp_path):
        tmp_path.rmdir()
        Path("root").absolute()
    assert summary_line(caught.value) == "the current folder was removed; change to another folder"
