"""Compare a complete run in an environment that is hostile in every respect with a run in a clean environment."""

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.safety.environment import NUMBERS
from tests.support import data

MNIST = Path(sys.executable).with_name("mnist")
SHADOW = "raise SystemExit('shadow')"
# Variables that other projects, shells and administrators may have set.
HOSTILE = {
    "KERAS_BACKEND": "torch",
    "KERAS_MAX_EPOCHS": "0",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_NNX_ENABLED": "true",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_CONFIG": "{",
    "TF_CPP_MAX_VLOG_LEVEL": "3",
    "TF_DETERMINISTIC_OPS": "0",
    "TF_ENABLE_AUTO_MIXED_PRECISION": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    "XLA_FLAGS": "--nonsense",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ONEDNN_VERBOSE": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "SCIPY_ARRAY_API": "1",
    "SKLEARN_ASSUME_FINITE": "1",
    "PANDAS_COPY_ON_WRITE": "warn",
    "MPLBACKEND": "nonsense",
    "MPLCONFIGDIR": "/dev/null/none",
    "OTEL_PROPAGATORS": "nonsense",
    "OTEL_PYTHON_CONTEXT": "nonsense",
    "WEBSOCKETS_MAX_LOG_SIZE": "nonsense",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONWARNINGS": "error",
    "LC_ALL": "C",
    "TZ": "Asia/Tokyo",
    "all_proxy": "socks5://127.0.0.1:9",
    "NO_PROXY": "example.com",
    "SOURCE_DATE_EPOCH": "nonsense",
    "SSLKEYLOGFILE": "/dev/null/keys",
    "SSL_CERT_FILE": "/dev/null/ca.pem",
    "REQUESTS_CA_BUNDLE": "/dev/null/ca.pem",
    "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///prefect.db",
    "PREFECT_HOME": ".prefect",
    "PREFECT_API_KEY": "pnu_key",
    "PREFECT_API_REQUEST_TIMEOUT": "0.001",
    "PREFECT_API_SSL_CERT_FILE": "/dev/null/ca.pem",
    "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "1",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Basic eA=="}',
    "PREFECT_CLIENT_METRICS_ENABLED": "1",
    "PREFECT_DEBUG_MODE": "1",
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/none",
    "PREFECT_FLOWS_DEFAULT_RETRIES": "1",
    "PREFECT_LOGGING_SETTINGS_PATH": "/dev/null/logging.yml",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "1",
    "PREFECT_SERVER_API_AUTH_STRING": "me:mine",
    "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "1",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "0",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "0",
    "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
    "PREFECT_TASKS_DEFAULT_RETRIES": "2",
    "PREFECT_TASKS_REFRESH_CACHE": "1",
    "PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS": "1",
    "PREFECT_TEST_MODE": "1",
    # Names that libraries compose of a prefix and another name.
    "TQDM_MININTERVAL": "nonsense",
    "FSSPEC_S3": "{",
    "DOCKET_NAME": "",
    "UVICORN_WORKERS": "nonsense",
}
# The names of the variables that a library reads.
READ = re.compile(r"""(?:environ(?:\.get)?\s*[\[(]|getenv\()\s*["']([A-Z][A-Z0-9_]+)["']""")
# They have a meaning for every program, or are above with values of their own.
MEANT = re.compile(
    r"(HOME|LANG|LC_ALL|PATH|TERM|TMPDIR|TZ)|(AWS|COVERAGE|LD|MNIST|PREFECT|PYTHON|SSL|XDG)_?.*|.*_(PROXY|CA_BUNDLE)"
)


def read_by_libraries() -> set[str]:
    """Return the names of the variables that the installed libraries read, except for those that users mean for them."""
    found = set()
    for path in Path(sysconfig.get_path("purelib")).rglob("*.py"):
        source = path.read_text("utf-8", "ignore")
        if "environ" in source or "getenv" in source:
            found |= set(READ.findall(source))
    assert {"JOBLIB_START_METHOD", "LOKY_PICKLER", "WEB_CONCURRENCY"} < found
    return {name for name in found - NUMBERS.keys() if not MEANT.fullmatch(name)}


def run(here: Path, toml: Path, root: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Run in the folder `here`, which is also the home folder, with only these variables, and return the result."""
    command = [MNIST, "run", "--dataset", toml, "--root", root, "--epochs", "1", "--no-gate", "--json"]
    env = {"PATH": os.defpath, "HOME": str(here), **variables}
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["omitted"] == []
    return result


@pytest.fixture
def silent_proxy() -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def hostile(here: Path, proxy: str) -> dict[str, str]:
    """Fill a folder with the files of other projects, and return an environment that names some of them."""
    other = here / "other"
    (here / "flows").mkdir(parents=True)
    for folder in (other, here / ".keras"):
        folder.mkdir()
        settings = {"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "torch"}
        (folder / "keras.json").write_text(json.dumps(settings))
    for name in ("flows/__init__", "tasks", "artifacts", "random", "numpy", "queue", "prefect", "keras"):
        (here / f"{name}.py").write_text(SHADOW)
    for name in ("tasks", "artifacts"):
        (other / f"{name}.py").write_text(SHADOW)
    (here / ".config" / "fsspec").mkdir(parents=True)
    (here / ".config" / "fsspec" / "conf.json").write_text("[1]")
    for folder in (here, other):
        (folder / "matplotlibrc").write_bytes(b"text.usetex: True\nbackend: nonsense\n\xff\xfe\n")
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), proxy)
    named = {"KERAS_HOME": str(other), "MATPLOTLIBRC": str(other / "matplotlibrc"), "PYTHONPATH": str(other)}
    return dict.fromkeys(read_by_libraries(), "nonsense") | HOSTILE | proxies | named


def models(result: Mapping[str, Any]) -> dict[str, str]:
    return {name: model["model_sha256"] for name, model in result["models"].items()}


def drawn(root: Path) -> list[str]:
    """Return the names of the files of the figures, which are derived from their content."""
    return sorted(path.name for path in (root / "figures").iterdir())


def test_a_run_with_hostile_variables_and_files_writes_the_same_files_and_does_not_affect_a_later_run(
    tmp_path: Path, silent_proxy: str
) -> None:
    toml = data.make(tmp_path / "mirror", {"train": 600, "test": 12}).toml()
    home = tmp_path / "home"
    home.mkdir()
    clean = run(home, toml, tmp_path / "clean", {})
    assert not (home / ".keras").exists()
    variables = hostile(tmp_path / "hostile", silent_proxy)
    found = run(tmp_path / "hostile", toml, tmp_path / "root", variables)
    assert models(found) == models(clean)
    assert drawn(tmp_path / "root") == drawn(tmp_path / "clean")
    later = run(home, toml, tmp_path / "root", {})
    assert models(later) == models(clean)
    cached = {step["name"]: step["cached"] for step in later["steps"]}
    assert all(cached[f"train {name}"] for name in clean["models"])


def test_a_command_without_docstrings_and_assertions_answers(tmp_path: Path) -> None:
    # Not in the run above: a process with PYTHONOPTIMIZE compiles every library again, for half a minute.
    command = [sys.executable, "-OO", "-m", "flows.cli.app", "runs", "--root", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["runs"] == []
