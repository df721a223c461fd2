"""Test that invalid input is reported completely before anything is started or written."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flows.cli.run import run_outcome
from flows.config import require_allowed_runner, validate_run
from tasks.errors import Checks, InputError, StorageError
from tests.support import recipes
from tests.tools.console_blocks import PROJECT, shown

DATASETS = "emnist_digits, emnist_letters, fashion_mnist, kmnist, mnist"
RECIPES = "augmented, barred, best, cycled, dropout, ema, onecycle, post, smoothed, specked, wide"
NAME_RULE = "must be a lowercase letter followed by lowercase letters, digits and _"
OR_FILE = "or the path of a .toml file"
WRONG: list[tuple[str, list[str]]] = [
    ("run --recipe nope", [f"unknown recipe 'nope': give {RECIPES}, {OR_FILE}"]),
    (
        "run --recipe onecycl",
        [f"unknown recipe 'onecycl': did you mean onecycle? Otherwise, give {RECIPES}, {OR_FILE}"],
    ),
    ("run --dataset mnst", [f"unknown dataset 'mnst': did you mean mnist? Otherwise, give {DATASETS}, {OR_FILE}"]),
    ("run --epochs 0", ["the parameters of the run: epochs: Input should be greater than or equal to 1, not 0"]),
    ("run --epochs three", ["Invalid value for '--epochs': 'three' is not a valid integer."]),
    ("run --seed x", ["Invalid value for '--seed': 'x' is not a valid integer."]),
    ("run --seed -1", ["the parameters of the run: seed: Input should be greater than or equal to 0, not -1"]),
    (
        "run --validation 2",
        ["the parameters of the run: validation: Input should be less than or equal to 0.5, not 2.0"],
    ),
    ("run --runner foo", ["runner must be process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, not 'foo'"]),
    ("run --mirror ftp://x", ["mirror 'ftp://x' is neither an http, https or file URL nor a folder"]),
    (
        "run --champion-line=",
        [
            f"the parameters of the run: line: {NAME_RULE}, not ''",
        ],
    ),
    (
        "run --dataset nope --recipe nope --epochs 0",
        [
            "the parameters of the run: epochs: Input should be greater than or equal to 1, not 0",
            f"unknown recipe 'nope': give {RECIPES}, {OR_FILE}",
            f"unknown dataset 'nope': give {DATASETS}, {OR_FILE}",
        ],
    ),
    (
        "run --epochs three --seed x --validation y --mirror a --mirror b --runner foo",
        [
            "Invalid value for '--epochs': 'three' is not a valid integer.",
            "Invalid value for '--seed': 'x' is not a valid integer.",
            "Invalid value for '--validation': 'y' is not a valid float.",
            "mirror 'a' is neither an http, https or file URL nor a folder",
            "mirror 'b' is neither an http, https or file URL nor a folder",
            "runner must be process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, not 'foo'",
        ],
    ),
    (
        "run --flow-run-name ...",
        ["Invalid value for '--flow-run-name': '...' is not a name: use letters from a to z or digits"],
    ),
    ("study --tag=", ["Invalid value for '--tag': '' is not a tag: use 1 to 100 printable characters"]),
    (
        "run --tag line:main --flow-run-name= --epochs 0",
        [
            "Invalid value for '--tag': 'line:main' begins with line:, and each run gets this tag from its line",
            "Invalid value for '--flow-run-name': '' is not a name: use letters from a to z or digits",
            "the parameters of the run: epochs: Input should be greater than or equal to 1, not 0",
        ],
    ),
    ("study --seeds 1", ["seeds must be a number from 2 to 1,000, not 1: a single seed has no variance"]),
    ("study --seeds x", ["Invalid value for '--seeds': 'x' is not a valid integer."]),
    (
        "study --recipe a --recipe b --epochs 0",
        [
            "the parameters of the study: epochs: Input should be greater than or equal to 1, not 0",
            f"unknown recipe 'a': give {RECIPES}, {OR_FILE}",
            f"unknown recipe 'b': give {RECIPES}, {OR_FILE}",
        ],
    ),
    (
        "study --recipe post --recipe post",
        ["recipes to compare must have different names, but these are called post, post"],
    ),
    (
        "worker --pool a/b --limit 0 --allow-runner foo",
        [
            "Invalid value for '--pool': 'a/b' is not a name: use printable characters except / % & < >",
            "Invalid value for '--limit': 0 is not in the range x>=1.",
            "runner must be process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, not 'foo'",
        ],
    ),
    (
        "serve --host fe80::1%lo --allowed-host a/b --root gs://bucket",
        [
            "--host fe80::1%lo: an address with a zone can't be part of a URL; give :: or another address",
            "--allowed-host takes HOST or HOST:PORT, such as mnist.example.org, not 'a/b'",
            "can't use the root gs://bucket: give a folder, or s3://BUCKET/PREFIX",
        ],
    ),
]


def start_nothing(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a server was started")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, which is empty and has no root."""
    for name in ("MNIST_ROOT", "MNIST_RUNNERS", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setattr("flows.server.local_server.start_server", start_nothing)
    monkeypatch.setattr("flows.cli.serve._listening", start_nothing)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def faults_of(*arguments: str | Path) -> list[str]:
    code, lines = run_outcome([*map(str, arguments)])
    assert code == 2
    return lines.splitlines()


@pytest.mark.parametrize(("command", "lines"), WRONG, ids=[command for command, _ in WRONG])
def test_all_faults_are_reported_before_anything_is_started_or_written(
    command: str, lines: list[str], folder: Path
) -> None:
    before = sorted(folder.parent.rglob("*"))
    assert faults_of(*command.split()) == lines
    assert sorted(folder.parent.rglob("*")) == before


def test_the_documentation_shows_the_answer_to_wrong_input() -> None:
    (example,) = (one for one in shown(PROJECT / "docs/commands.md") if one.output.startswith("mnist: "))
    lines = faults_of(*example.command.split()[1:])
    assert example.output.splitlines() == [f"mnist: {line}" for line in lines]


def test_each_fault_is_a_line_of_its_own(folder: Path) -> None:
    command = [sys.executable, "-m", "flows.cli.app", "run", "--epochs", "0", "--recipe", "onecycl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["mnist", "mnist"]
    assert not [*folder.iterdir()]


def test_all_faults_of_a_recipe_and_of_a_dataset_file_are_reported(folder: Path) -> None:
    recipe = folder / "wrong.toml"
    recipe.write_text('base = "post"\nname = "wrong"\nbatch = 0\nlearning_rate = "high"\nspeed = 1\n')
    dataset = folder / "bad.toml"
    text = (PROJECT / "tasks/config/builtin/datasets/mnist.toml").read_text()
    hashes = [line for line in text.splitlines() if "sha256" in line]
    assert hashes
    dataset.write_text(text.replace('sha256 = "', 'sha256 = "z'))
    found = faults_of("run", "--recipe", recipe, "--dataset", dataset)
    assert found[:3] == [
        f"the recipe {recipe}: batch: Input should be greater than or equal to 1, not 0",
        f"the recipe {recipe}: learning_rate: Input should be a valid number, not 'high'",
        f"the recipe {recipe}: speed: Extra inputs are not permitted",
    ]
    places = [f"{split}.{kind}.sha256" for split in ("train", "test") for kind in ("images", "labels")]
    assert [line.removeprefix(f"the dataset {dataset}: ").split(": ")[0] for line in found[3:]] == places


def test_a_file_with_many_faults_is_reported_in_a_few_lines(folder: Path) -> None:
    recipe = folder / "other.toml"
    recipe.write_text("".join(f"key_{number} = 1\n" for number in range(50)))
    found = faults_of("run", "--recipe", recipe)
    assert len(found) == 8
    assert found[-1].endswith(" more)")


def test_layers_that_do_not_fit_are_reported_before_a_server_starts(folder: Path) -> None:
    recipe = folder / "deep.toml"
    recipe.write_text(
        recipes.PAIR.replace('{ layer = "flatten" }', '{ layer = "max_pool", size = 40 },\n{ layer = "flatten" }')
    )
    found = faults_of("run", "--recipe", recipe)
    assert [line.split(" (")[0].split(":")[0] for line in found] == [
        f"the layers of model '{name}' don't fit images of 28 x 28 pixels" for name in ("plain", "batch_norm")
    ]


def test_an_ensemble_without_enough_seeds_for_a_date_is_reported(folder: Path) -> None:
    recipe = folder / "many.toml"
    recipe.write_text('base = "post"\nname = "many"\n[[ensembles]]\nname = "all"\nmembers = ["plain"]\nseeds = 51\n')
    (found,) = faults_of("run", "--recipe", recipe, "--seed", "date")
    assert "an ensemble of 51 seeds would share seeds" in found


@pytest.mark.parametrize("command", ["run", "study", "serve"])
def test_a_root_that_can_not_be_used_is_reported_and_not_created(command: str, folder: Path) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "thesis.txt").touch()
    before = sorted(folder.rglob("*"))
    for root, says in (
        ("theirs", "is not a root of mnist and is not empty: it holds thesis.txt"),
        ("theirs/thesis.txt", "thesis.txt: Not a directory"),
        ("theirs/thesis.txt/root", "thesis.txt/root: Not a directory"),
        ("s3://", "can't use the root s3://: give a folder, or s3://BUCKET/PREFIX"),
        ("s3://user:canary@bucket", "must not hold credentials"),
        ("~nobody-such/x", "no home directory is known for ~nobody-such"),
    ):
        (found,) = faults_of(command, "--root", root)
        assert says in found
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("inside", ["", "new/root"])
def test_a_folder_that_can_not_be_written_is_reported(
    inside: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    (found,) = faults_of("run", "--root", folder / inside)
    assert (
        found == f"can't write under the root {folder / inside}: Permission denied; give another --root or MNIST_ROOT"
    )


def test_a_name_that_is_not_utf_8_is_reported_with_the_other_faults() -> None:
    found = faults_of("run", "--recipe", "\udcff", "--epochs", "0")
    assert found[0].startswith("can't use the recipe ")
    assert "epochs" in found[1]


def test_a_runner_whose_library_is_missing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.config.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"--runner ray needs prefect_ray: pip install 'mnist-error-analysis\[ray\]'"):
        require_allowed_runner("ray://host:10001")


def test_a_run_that_is_submitted_in_the_ui_is_validated_by_the_same_function(folder: Path) -> None:
    given: dict[str, Any] = {
        "dataset": "mnist", "recipe": "post", "epochs": None, "seed": "date", "validation": None, "gate": True,
        "robustness": False, "line": "main", "root": str(folder / "root"), "mirrors": [], "runner": "process",
    }  # fmt: skip
    at = datetime(2026, 11, 27, 2, tzinfo=UTC)
    config = validate_run(at=at, **given)
    assert (config.recipe.seed, config.dataset.name, config.gate) == (2026112700, "mnist", True)
    assert not (folder / "root").exists()
    with pytest.raises(InputError) as caught:
        validate_run(at=at, **given | {"gate": "maybe", "epochs": "three", "seed": -1})
    assert [line.split(": ")[1] for line in caught.value.fault_lines] == ["epochs", "seed", "gate"]


def test_the_error_of_a_single_check_is_raised_as_it_is() -> None:
    def refuse() -> None:
        raise StorageError("can't write")

    checks = Checks()
    checks.run(refuse)
    with pytest.raises(StorageError, match="can't write"):
        checks.raise_faults()


def test_the_same_fault_of_two_checks_is_reported_once() -> None:
    def refuse(text: str) -> None:
        raise InputError(text)

    checks = Checks()
    for text in ("one", "two", "one"):
        checks.run(refuse, text)
    with pytest.raises(InputError) as caught:
        checks.raise_faults()
    assert caught.value.fault_lines == ("one", "two")
    assert str(caught.value) == "one\ntwo"
