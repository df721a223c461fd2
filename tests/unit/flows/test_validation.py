"""Test that invalid input is reported completely before anything is started or written."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flows.cli.outcome import run_outcome
from flows.config import require_allowed_runner, validate_run
from flows.server.configured_server import require_any_server, require_configured_server
from tasks.errors import Checks, InputError, ServerError, StorageError
from tests.support import recipes
from tests.support.serving import free_port
from tests.tools.console_blocks import PROJECT, shown

DATASETS = "emnist_digits, emnist_letters, fashion_mnist, kmnist, mnist"
RECIPES = "augmented, barred, best, cycled, dropout, ema, onecycle, post, smoothed, specked, wide"
NAME_RULE = "must be a lowercase letter followed by lowercase letters, digits and _"
OR_FILE = "or the path of a .toml file"
RUNNER_RULE = "must be process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT"
WRONG: list[tuple[str, list[str]]] = [
    ("run --recipe nope", [f"unknown recipe 'nope': give {RECIPES}, {OR_FILE}"]),
    (
        "run --recipe onecycl",
        [f"unknown recipe 'onecycl': did you mean onecycle? Otherwise, give {RECIPES}, {OR_FILE}"],
    ),
    ("run --dataset mnst", [f"unknown dataset 'mnst': did you mean mnist? Otherwise, give {DATASETS}, {OR_FILE}"]),
    ("run --epochs 0", ["--epochs must be at least 1, got 0"]),
    ("run --epochs three", ["--epochs must be an integer, got 'three'"]),
    ("run --seed x", ["--seed must be an integer or date, got 'x'"]),
    ("run --seed -1", ["--seed must be at least 0, got -1"]),
    (
        "run --validation 2",
        ["--validation must be at most 0.5, got 2.0"],
    ),
    ("run --runner foo", ["--runner must be process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, got 'foo'"]),
    ("run --mirror ftp://x", ["--mirror 'ftp://x' is neither an http, https or file URL nor a folder"]),
    (
        "run --champion-line=",
        [
            f"--champion-line {NAME_RULE}, got ''",
        ],
    ),
    (
        "run --dataset nope --recipe nope --epochs 0",
        [
            "--epochs must be at least 1, got 0",
            f"unknown recipe 'nope': give {RECIPES}, {OR_FILE}",
            f"unknown dataset 'nope': give {DATASETS}, {OR_FILE}",
        ],
    ),
    (
        "run --epochs three --seed x --validation y --mirror a --mirror b --runner foo",
        [
            "--epochs must be an integer, got 'three'",
            "--seed must be an integer or date, got 'x'",
            "--validation must be a number, got 'y'",
            "--mirror 'a' is neither an http, https or file URL nor a folder",
            "--mirror 'b' is neither an http, https or file URL nor a folder",
            "--runner must be process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, got 'foo'",
        ],
    ),
    ("run --flow-run-name ...", ["--flow-run-name '...' is not a name: use letters from a to z or digits"]),
    ("study --tag=", ["--tag '' is not a tag: use 1 to 100 printable characters"]),
    (
        "run --tag line:main --flow-run-name= --epochs 0",
        [
            "--tag 'line:main' begins with line:, and each run gets this tag from its line",
            "--flow-run-name '' is not a name: use letters from a to z or digits",
            "--epochs must be at least 1, got 0",
        ],
    ),
    ("study --seeds 1", ["--seeds must be an integer from 2 to 1,000, got 1: a single seed has no variance"]),
    ("study --seeds x", ["--seeds must be an integer, got 'x'"]),
    (
        "study --recipe a --recipe b --epochs 0",
        [
            "--epochs must be at least 1, got 0",
            f"unknown recipe 'a': give {RECIPES}, {OR_FILE}",
            f"unknown recipe 'b': give {RECIPES}, {OR_FILE}",
        ],
    ),
    (
        "study --recipe post --recipe post",
        ["recipes to compare must have different names, but these are called post, post"],
    ),
    ("run --mirror=", ["--mirror '' is neither an http, https or file URL nor a folder"]),
    ("run --mirror http://", ["--mirror 'http://' has no valid host"]),
    ("run --mirror http://h:99999/", ["--mirror 'http://h:99999/' has an invalid host or port"]),
    ("run --mirror https://h:0/", ["--mirror 'https://h:0/' has the port 0"]),
    ("run --mirror file://", ["--mirror 'file://' has no path"]),
    ("run --runner dask://h:99999", [f"--runner {RUNNER_RULE}, got 'dask://h:99999'"]),
    ("run --runner tls://h:0", [f"--runner {RUNNER_RULE}, got 'tls://h:0'"]),
    ("study --runner ray://", [f"--runner {RUNNER_RULE}, got 'ray://'"]),
    ("run --line A", [f"--champion-line {NAME_RULE}, got 'A'"]),
    ("serve --port 0", ["--port must be an integer from 1 to 65,535, got 0"]),
    (
        "serve --port x --host 300.1.1.1 --allowed-host h:99999",
        [
            "--port must be an integer from 1 to 65,535, got 'x'",
            "--host must be an address or the name of this machine, got '300.1.1.1': Name or service not known",
            "--allowed-host must be HOST or HOST:PORT, such as mnist.example.org, got 'h:99999'",
        ],
    ),
    ("serve --host=", ["--host must be an address or the name of this machine, got an empty string"]),
    (
        "worker --pool a/b --limit 0 --allow-runner foo",
        [
            "--pool must have printable characters, except / % & < >, got 'a/b'",
            "--limit must be an integer of at least 1, got 0",
            "--allow-runner must be process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, got 'foo'",
            "a worker needs a Prefect server: set PREFECT_API_URL, or use `mnist serve`, which starts a server",
        ],
    ),
    (
        "serve --host fe80::1%lo --allowed-host a/b --root gs://bucket",
        [
            "--host fe80::1%lo: an address with a zone can't be part of a URL; give :: or another address",
            "--allowed-host must be HOST or HOST:PORT, such as mnist.example.org, got 'a/b'",
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


@pytest.mark.parametrize("command", ["run", "study", "worker"])
@pytest.mark.parametrize(
    "url", ["nonsense", "http://", "http://h:99999/api", "ftp://h/api", "http://user:canary/@h/api", "http://[::1"]
)
def test_an_invalid_address_of_the_server_is_reported_before_anything_is_started(
    command: str, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    (found,) = faults_of(command)
    assert "is not an address such as http://HOST:4200/api" in found
    assert "canary" not in found
    assert not [*folder.parent.glob("prefect")]


@pytest.mark.parametrize("command", ["run", "study", "worker"])
def test_a_server_that_can_not_be_reached_is_reported_with_the_other_faults(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    wrong, unreachable = faults_of(command, *(["--limit", "0"] if command == "worker" else ["--epochs", "0"]))
    assert wrong.startswith("--")
    assert unreachable.startswith("no Prefect server answers at PREFECT_API_URL=http://127.0.0.1:")
    assert "(Connection refused); start it" in unreachable
    assert not [*folder.parent.glob("prefect")]


def test_a_server_behind_a_proxy_is_left_to_the_client_of_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    monkeypatch.setattr("flows.server.configured_server.getproxies", lambda: {"http": "http://proxy:3128"})
    monkeypatch.setattr("flows.server.configured_server.proxy_bypass", lambda _host: False)
    require_configured_server()


def test_a_worker_reads_the_server_from_a_settings_file(folder: Path) -> None:
    with pytest.raises(ServerError, match="a worker needs a Prefect server"):
        require_any_server()
    (folder / "prefect.toml").touch()
    require_any_server()


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
        f"the recipe {recipe}: batch must be at least 1, got 0",
        f"the recipe {recipe}: learning_rate must be a number, got 'high'",
        f"the recipe {recipe}: speed is not a known key: did you mean seed?",
    ]
    places = [f"{split}.{kind}.sha256" for split in ("train", "test") for kind in ("images", "labels")]
    assert [line.removeprefix(f"the dataset {dataset}: ").split()[0].rstrip(":") for line in found[3:]] == places


def test_a_misspelled_key_is_one_fault_even_if_the_key_is_required(folder: Path) -> None:
    recipe = folder / "wrong.toml"
    layer = '{ layer = "conv", filter = 8, kernel = 3 }'
    recipe.write_text(f'base = "post"\nname = "wrong"\nepoch = 1\n[[models]]\nname = "one"\nlayers = [{layer}]\n')
    assert faults_of("run", "--recipe", recipe) == [
        f"the recipe {recipe}: models.0.layers.0.conv.filter is not a known key: did you mean filters?",
        f"the recipe {recipe}: epoch is not a known key: did you mean epochs?",
    ]


@pytest.mark.parametrize("base", ['"pots"', "1", '"missing.toml"'])
def test_a_wrong_base_does_not_hide_the_other_faults_of_a_recipe(base: str, folder: Path) -> None:
    recipe = folder / "wrong.toml"
    recipe.write_text(f'base = {base}\nname = "wrong"\nbatch = 0\n')
    _, fault = faults_of("run", "--recipe", recipe)
    assert fault == f"the recipe {recipe}: batch must be at least 1, got 0"


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
    assert [line.split()[0] for line in caught.value.fault_lines] == ["epochs", "seed", "gate"]


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
