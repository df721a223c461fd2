"""Test which variables apply: the table itself, and each library in a process with a hostile environment."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tasks.data.attempt_limits import MirrorError
from tasks.data.http_source import append_chunks
from tasks.engine.cache import key_of
from tasks.safety import environment
from tasks.safety.environment import PINNED, apply_number_settings, effective_environment, for_own_server
from tasks.safety.imports import PROJECT
from tasks.steps.train import train

HERE = "/here"


def called(here: Path, code: str, *options: str, **variables: str) -> str:
    """Return the output of Python code in a folder, with only these variables; standard error must be empty."""
    env = {"PATH": os.defpath, "HOME": str(here), **variables}
    done = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=here, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_to_decide_twice_changes_nothing() -> None:
    given = {
        "KERAS_HOME": "/theirs",
        "NO_PROXY": "a.example",
        "ALL_PROXY": "socks5://x",
        "SSL_CERT_FILE": "none.pem",
        "PREFECT_HOME": "p",
        "PYTHONPATH": ":a",
    }
    once = effective_environment(given, HERE)
    assert effective_environment(once, "/elsewhere") == once


def test_a_clean_environment_stays_as_it_is() -> None:
    given = {"HOME": "/root", "PATH": "/bin", "PREFECT_API_URL": "https://server.example/api", "MNIST_ROOT": "r"}
    after = effective_environment(given, HERE)
    assert after.keys() - given.keys() == {*PINNED, "NO_PROXY", "no_proxy", "TF_ENABLE_ONEDNN_OPTS"}
    assert given.items() <= after.items()


@pytest.mark.parametrize(
    "name",
    [
        "KERAS_BACKEND",
        "KERAS_MAX_EPOCHS",
        "KERAS_MAX_STEPS_PER_EPOCH",
        "KERAS_NNX_ENABLED",
        "TF_USE_LEGACY_KERAS",
        "TF_XLA_FLAGS",
        "TF_DETERMINISTIC_OPS",
        "TF_ENABLE_AUTO_MIXED_PRECISION",
        "TF_CONFIG",
        "XLA_FLAGS",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        "ONEDNN_VERBOSE",
        "DNNL_MAX_CPU_ISA",
        "NVIDIA_TF32_OVERRIDE",
        "SCIPY_ARRAY_API",
        "SKLEARN_ASSUME_FINITE",
        "PANDAS_COPY_ON_WRITE",
        "MPLBACKEND",
        "SOURCE_DATE_EPOCH",
        "SSLKEYLOGFILE",
        "OTEL_PROPAGATORS",
        "OTEL_PYTHON_CONTEXT",
        "WEBSOCKETS_MAX_LOG_SIZE",
        "PYTHONOPTIMIZE",
        "PYTHONINSPECT",
        "PREFECT_TASKS_DEFAULT_RETRIES",
        "PREFECT_TASK_DEFAULT_RETRIES",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT",
        "PREFECT_TEST_MODE",
        "PREFECT_CLIENT_METRICS_ENABLED",
    ],
)
def test_what_may_change_numbers_or_break_a_process_is_cleared(name: str) -> None:
    assert name not in effective_environment({name: "1"}, HERE)


@pytest.mark.parametrize("value", ["", "0", "1", "-80", "²", "٨٠", "80.5", "wide", "9" * 5000])
def test_a_terminal_s_size_that_cannot_be_one_is_cleared(value: str) -> None:
    assert effective_environment({"COLUMNS": value, "LINES": value}, HERE).keys().isdisjoint({"COLUMNS", "LINES"})


def test_a_terminal_s_size_stays() -> None:
    given = {"COLUMNS": "20", "LINES": "24"}
    assert given.items() <= effective_environment(given, HERE).items()


@pytest.mark.parametrize(
    ("given", "lower", "upper"),
    [
        ({}, "127.0.0.1,localhost,::1", "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a, b"}, "a,b,127.0.0.1,localhost,::1", "a,b,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b,localhost"}, "a,127.0.0.1,localhost,::1", "b,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "*"}, "*", "*"),
    ],
)
def test_loopback_is_never_proxied(given: Mapping[str, str], lower: str, upper: str) -> None:
    after = effective_environment(given, HERE)
    assert (after["no_proxy"], after["NO_PROXY"]) == (lower, upper)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("PREFECT_HOME", ".prefect", "/here/.prefect"),
        ("PREFECT_HOME", "/p", "/p"),
        ("PREFECT_PROFILES_PATH", "profiles.toml", "/here/profiles.toml"),
        ("PREFECT_LOGGING_SETTINGS_PATH", "$PREFECT_HOME/logging.yml", "$PREFECT_HOME/logging.yml"),
        ("PREFECT_HOME", "~nosuchuser/p", "~nosuchuser/p"),
        ("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///p.db", "sqlite+aiosqlite:////here/p.db"),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///a/p.db?x=1", "sqlite+aiosqlite:////here/a/p.db?x=1"),
        ("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////p.db", "sqlite+aiosqlite:////p.db"),
        ("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///:memory:", "sqlite+aiosqlite:///:memory:"),
        ("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("PYTHONPATH", ":lib:/abs", "/here/lib:/abs"),
    ],
)  # fmt: skip
def test_paths_hold_in_other_folders_too(name: str, given: str, expected: str) -> None:
    assert effective_environment({name: given}, HERE)[name] == expected


@pytest.mark.parametrize(
    "value", ["http://proxy:3128", "http://me:secret@10.0.0.1:3128/", "https://[::1]:8080", "proxy.example:3128", ""]
)
def test_a_proxy_that_can_be_used_stays(value: str) -> None:
    after = effective_environment({"HTTPS_PROXY": value}, HERE)
    assert after["HTTPS_PROXY"] == value
    assert environment.SET_ASIDE not in after


@pytest.mark.parametrize(
    "value",
    [
        "socks5://me:secret@127.0.0.1:1080",
        "http://",
        "http://[::1",
        "no proxy",
        "ftp://x",
        "http://u:secret#@h:1",
        "http://u:secret?@h:1",
        "http://u:1/secret@h:1",
        "http://u:1@secret@h",
    ],
)
def test_an_unusable_proxy_is_ignored_and_its_value_is_not_printed(value: str) -> None:
    after = effective_environment({"all_proxy": value}, HERE)
    assert "all_proxy" not in after
    assert after[environment.SET_ASIDE].startswith("all_proxy ")
    assert "secret" not in after[environment.SET_ASIDE]


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_unusable_certificates_stop_only_requests_that_need_them(
    tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    (tmp_path / "archive").write_bytes(b"bytes")
    for name, value in effective_environment({"SSL_CERT_FILE": str(file)}, HERE).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(MirrorError, match=f"SSL_CERT_FILE={file}: .*; correct the variable, or unset it"):
        append_chunks("https://127.0.0.1:9/archive", tmp_path / "got", 5)
    append_chunks((tmp_path / "archive").as_uri(), tmp_path / "got", 5)
    assert (tmp_path / "got").read_bytes() == b"bytes"


@pytest.mark.timeout(20)
def test_certificates_are_not_read_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    found = effective_environment({"SSL_CERT_FILE": str(pipe)}, HERE)
    assert found[environment.SET_ASIDE] == f"SSL_CERT_FILE={pipe}: it is not a regular file"


def test_a_proxy_that_was_set_aside_is_not_gone_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.SET_ASIDE, "ALL_PROXY is not a proxy URL such as http://HOST:PORT")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(MirrorError, match="ALL_PROXY is not a proxy"):
        append_chunks("http://mirror.invalid/archive", tmp_path / "got", 5)
    with pytest.raises(MirrorError, match="refused"):
        append_chunks("http://127.0.0.1:9/archive", tmp_path / "got", 5)


def test_numbers_of_the_user_s_win_and_are_a_part_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = ("keras", "tensorflow")
    for name in environment.NUMBERS:
        monkeypatch.delenv(name, raising=False)
    clean = key_of(train.fn, {}, libraries)
    assert "environment" not in clean.parts
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert effective_environment(os.environ, HERE)["TF_ENABLE_ONEDNN_OPTS"] == "0"
    changed = key_of(train.fn, {}, libraries)
    assert changed.parts["environment"] == {"TF_ENABLE_ONEDNN_OPTS": "0"}
    assert changed.name != clean.name
    assert key_of(train.fn, {}, ("pyarrow",)).parts.keys() == clean.parts.keys()


@pytest.mark.parametrize(("value", "expected"), [(None, "1"), ("", "1"), ("0", "0"), ("1", "1")])
def test_the_processor_does_not_decide_about_onednn(value: str | None, expected: str) -> None:
    given = {} if value is None else {"TF_ENABLE_ONEDNN_OPTS": value}
    assert effective_environment(given, HERE)["TF_ENABLE_ONEDNN_OPTS"] == expected


def test_an_empty_number_counts_as_unset() -> None:
    assert "ONEDNN_MAX_CPU_ISA" not in effective_environment({"ONEDNN_MAX_CPU_ISA": ""}, HERE)


def test_a_worker_computes_as_its_flow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", sys.modules[__name__])
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    for name in environment.NUMBERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    apply_number_settings({"TF_ENABLE_ONEDNN_OPTS": "0", "OPENBLAS_CORETYPE": "Haswell"})
    found = {name: os.environ[name] for name in environment.NUMBERS if name in os.environ}
    assert found == {"TF_ENABLE_ONEDNN_OPTS": "0"}  # NumPy is already imported, so its setting can't change


def test_a_server_of_our_own_gets_the_home_the_profile_and_the_database_alone() -> None:
    given = {
        "PATH": "/bin",
        "PREFECT_HOME": "/p",
        "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite:////p.db",
        "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "1",
        "PREFECT_LOGGING_SETTINGS_PATH": "/none",
        "PREFECT_UI_ENABLED": "1",
    }
    assert for_own_server(given).keys() == {"PATH", "PREFECT_HOME", "PREFECT_API_DATABASE_CONNECTION_URL"}


KERAS = """
from tasks.training.keras_runtime import import_keras
import_keras()
import keras, json
from keras.src.backend import config
print(json.dumps([keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(), keras.config.backend(),
    keras.config.max_epochs(), config.keras_home()]))
"""


@pytest.mark.parametrize("own", [True, False])
def test_keras_takes_no_settings_of_another_project(tmp_path: Path, own: bool) -> None:
    """Keras's settings are the project's, and downloads of a user's function have their usual place."""
    home = tmp_path / ("theirs" if own else ".keras")
    home.mkdir()
    hostile = {"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "torch"}
    (home / "keras.json").write_text(json.dumps(hostile))
    variables = {"KERAS_HOME": str(home)} if own else {}
    said = called(tmp_path, KERAS, KERAS_BACKEND="jax", KERAS_MAX_EPOCHS="1", **variables)
    assert json.loads(said) == ["float32", 1e-7, "channels_last", "tensorflow", None, str(home)]


def test_keras_writes_nothing_to_the_home_folder(tmp_path: Path) -> None:
    called(tmp_path, KERAS)
    assert not list(tmp_path.iterdir())


DRAWN = """
import tasks, hashlib, io, matplotlib
from matplotlib.figure import Figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
figure = Figure()
figure.subplots().set_title("Title")
out = io.BytesIO()
FigureCanvasAgg(figure).print_png(out)
print(hashlib.sha256(out.getvalue()).hexdigest())
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    return called(tmp_path_factory.mktemp("clean"), DRAWN)


@pytest.mark.parametrize(
    "content", [b"text.usetex: True\nsavefig.dpi: 7", b"no settings", b"\xff\xfe", b"backend: nosuch"]
)
@pytest.mark.parametrize("place", ["here", "MATPLOTLIBRC", "home"])
def test_pictures_are_the_same_whatever_matplotlibrc_says(
    tmp_path: Path, clean: str, content: bytes, place: str
) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    for folder in (here / ".config" / "matplotlib", other):
        folder.mkdir(parents=True)
    folder = {"here": here, "MATPLOTLIBRC": other, "home": here / ".config" / "matplotlib"}[place]
    (folder / "matplotlibrc").write_bytes(content)
    variables = {"MATPLOTLIBRC": str(other / "matplotlibrc")} if place == "MATPLOTLIBRC" else {}
    assert called(here, DRAWN, MPLBACKEND="nosuch", MPLCONFIGDIR="/dev/null/none", **variables) == clean


@pytest.mark.parametrize("how", ["-c", "PYTHONPATH"])
def test_no_module_of_the_current_folder_or_of_another_project_stands_in_for_ours(tmp_path: Path, how: str) -> None:
    shadow = "raise SystemExit('shadow')"
    other = tmp_path / "other"
    other.mkdir()
    for name in ("artifacts", "tasks", "deployments"):
        (other / f"{name}.py").write_text(shadow)
    for name in ("numpy", "random", "queue", "prefect", "keras"):
        (tmp_path / f"{name}.py").write_text(shadow)
    code = "import flows, tasks.engine.cache, artifacts, random, queue, numpy, prefect; print(tasks.__file__)"
    path = str(other) if how == "PYTHONPATH" else ":"
    assert called(tmp_path, code, PYTHONPATH=path) == str(Path(PROJECT, "tasks", "__init__.py"))


def test_a_library_that_adds_the_current_folder_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadow')")
    assert called(tmp_path, "import sys, flows; sys.path.insert(0, '.'); import numpy; print(sys.path[-1])") == "."


def test_a_child_process_finds_no_module_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('shadow')")
    code = (
        "import tasks, multiprocessing as m\n"
        "pool = m.get_context('spawn').Pool(1); print(pool.apply(abs, (-1,))); pool.terminate()"
    )
    script = tmp_path.parent / "spawns.py"
    script.write_text(f"if __name__ == '__main__':\n    {code.replace(chr(10), chr(10) + '    ')}")
    assert called(tmp_path, f"import tasks, subprocess, sys; subprocess.run([sys.executable, {str(script)!r}])") == "1"


def test_a_warning_is_no_error(tmp_path: Path) -> None:
    code = "import tasks, warnings; warnings.warn('old', DeprecationWarning); print(__import__('sys').warnoptions)"
    assert called(tmp_path, code, PYTHONWARNINGS="error") == "[]"
