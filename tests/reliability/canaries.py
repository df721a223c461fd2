"""Put a distinct secret, a canary, in every place where a user can put one, and search all that the commands leave.

The search covers the output of a command, its JSON, every file under the root and Prefect's home (databases as raw
bytes, archives decompressed), and the arguments of every process that the command starts. It does not cover the user's
own text: the arguments of the command itself and the dataset file.
"""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.reliability.table import Row, say
from tests.reliability.world import PYTHON, SECONDS
from tests.support import data, mirrors
from tests.support.serving import without_prefect

NOWHERE = "127.0.0.1:9"  # nothing listens there
UNPACKED = 16 << 20  # limit of the decompressed bytes to search


class Trial(NamedTuple):
    """A command, its additional environment variables, and whether it must succeed."""

    name: str
    arguments: Sequence[str]
    env: Mapping[str, str] = {}
    succeeds: bool = False


class Leak(NamedTuple):
    """A secret and the place where it was found."""

    secret: str
    place: str


class Canaries:
    """Unique secrets, one for each place."""

    def __init__(self) -> None:
        self.mark = f"canary{uuid.uuid4().hex[:12]}"

    def __call__(self, place: str) -> str:
        """Return the secret of a place."""
        return f"{self.mark}-{place}"

    def found_in(self, content: bytes) -> set[str]:
        """Return the secrets in some bytes, in plain text, quoted, or encoded for HTTP Basic authentication."""
        pattern = re.escape(self.mark.encode()) + rb"-[\w.-]+"
        found = {match.decode() for match in re.findall(pattern, content, re.IGNORECASE)}
        coded = base64.b64encode(f"me:{self.mark}".encode()).rstrip(b"=")[:-1]
        return found | ({"in base64"} if coded in content else set())


def environment(canary: Canaries, home: Path) -> dict[str, str]:
    """Return an environment with a secret in every variable that can hold one."""
    return without_prefect(os.environ) | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
        "PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps({"Authorization": f"Bearer {canary('header')}"}),
        "PREFECT_API_KEY": canary("key"),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "httpx,httpcore",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "MNIST_WEBHOOK": f"http://{NOWHERE}/hooks/{canary('webhook')}?token={canary('webhook-query')}",
        "AWS_ACCESS_KEY_ID": canary("aws-id"),
        "AWS_SECRET_ACCESS_KEY": canary("aws-secret"),
        "AWS_SESSION_TOKEN": canary("aws-session"),
        "HTTP_PROXY": f"http://me:{canary('proxy')}@{NOWHERE}",
        "HTTPS_PROXY": f"http://me:{canary('proxy')}@{NOWHERE}",
        "NO_PROXY": "127.0.0.1,localhost",
        "PREFECT_REDIS_MESSAGING_PASSWORD": canary("redis"),
    }


def mirror(canary: Canaries, host: str, place: str) -> str:
    """Return a mirror's URL with a secret in its user info and another in its query."""
    return f"http://me:{canary(place)}@{host}/mnist/?sig={canary(place)}-query"


def quick_trials(canary: Canaries, folder: Path, host: str) -> Iterator[Trial]:
    """Yield commands that need no training, most of which fail; `host` is a server that has the archives."""
    files = data.make(folder / "archives", data.FEW)
    alone = dataset(files, [mirror(canary, NOWHERE, "own"), mirror(canary, "host.invalid", "own-proxied")])
    run = ("run", "--no-gate", "--epochs", "1", "--root", str(folder / "root"))
    yield Trial(
        "a run whose mirrors all fail", (*run, "--dataset", str(alone), "--mirror", mirror(canary, NOWHERE, "given"))
    )
    yield Trial(
        "a mirror of another scheme", (*run, "--mirror", f"ftp://me:{canary('ftp')}@host/?k={canary('ftp-query')}")
    )
    yield Trial("a mirror without its scheme", (*run, "--mirror", f"me:{canary('bare')}@host/x"))
    yield Trial("a runner", (*run, "--runner", f"dask://me:{canary('runner')}@host:8786"))
    yield Trial("a root", ("run", "--root", f"s3://KEY:{canary('root')}@bucket/prefix"))
    yield Trial("a data set's address", (*run, "--dataset", f"http://me:{canary('dataset')}@host/x.toml"))
    yield Trial(
        "a study's runner", ("study", "--root", str(folder / "root"), "--runner", f"ray://me:{canary('ray')}@host:1")
    )
    api = f"http://me:{canary('api')}@{NOWHERE}/api?k={canary('api-query')}"
    yield Trial("an API that does not answer", run, {"PREFECT_API_URL": api})
    database = f"postgresql+asyncpg://me:{canary('database')}@{NOWHERE}/prefect"
    yield Trial("a database that does not answer", run, {"PREFECT_API_DATABASE_CONNECTION_URL": database})
    yield Trial("headers that are no JSON", run, {"PREFECT_CLIENT_CUSTOM_HEADERS": canary("no-json")})
    auth = {"PREFECT_API_URL": f"http://{NOWHERE}/api", "PREFECT_API_AUTH_STRING": f"me:{canary('auth')}"}
    yield Trial("authentication", run, auth)
    yield Trial(
        "a proxy that is none", (*run, "--dataset", str(alone)), {"HTTP_PROXY": f"http://me:{canary('bad-proxy')}/@x:y"}
    )
    for place, where in (("pin", host), ("pin-fails", NOWHERE)):
        own = unpinned(files, [mirror(canary, NOWHERE, f"{place}-first"), mirror(canary, where, place)], place)
        yield Trial(f"a {place.replace('-', ' that ')}", ("dataset", "pin", str(own), "--json"), succeeds=where == host)
    for place in ("compare", "predict", "verify"):
        given = f"http://me:{canary(place)}@host/x"
        yield Trial(f"what {place} is given", (place, *([given, given] if place == "compare" else [given])))


def long_trials(canary: Canaries, folder: Path, host: str) -> Iterator[Trial]:
    """Yield complete runs and a study, with mirrors that fail before the mirror that works."""
    given = ("--mirror", mirror(canary, NOWHERE, "first"), "--mirror", mirror(canary, host, "second"))
    own = dataset(data.make(folder / "archives", data.FEW), [mirror(canary, NOWHERE, "own-last")])
    common = ("--dataset", str(own), "--epochs", "1", "--root", str(folder / "root"), *given, "--json")
    yield Trial("a run", ("run", "--no-gate", *common), succeeds=True)
    yield Trial("a run that finds all", ("run", "--no-gate", *common), succeeds=True)
    yield Trial("a study", ("study", "--seeds", "2", *common), succeeds=True)


def dataset(files: data.Files, addresses: list[str]) -> Path:
    """Write a dataset file with the given mirrors; the file belongs to the user and is not searched."""
    path = files.toml(mirrors=tuple(addresses))
    return shutil.move(path, path.with_name(f"{uuid.uuid4().hex}.toml"))


def unpinned(files: data.Files, addresses: list[str], name: str) -> Path:
    """Write a dataset file without sizes and hashes."""
    path = files.toml(mirrors=tuple(addresses))
    text = re.sub(r"^(bytes|sha256) = .*\n?", "", path.read_text(), flags=re.MULTILINE)
    other = path.with_name(f"{name}.toml")
    other.write_text(text)
    return other


def tried(trial: Trial, canary: Canaries, folder: Path, seconds: float = SECONDS) -> tuple[int, list[Leak]]:
    """Run a command, stop it after `seconds`, and return its exit code and every secret that it leaked."""
    env = environment(canary, folder / "home") | trial.env
    arguments: set[str] = set()
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [PYTHON, "-m", "flows.cli.app", *trial.arguments],
            env=env,
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
        ) as process,
    ):
        watch = threading.Thread(target=collect_arguments, args=(process, arguments), daemon=True)
        watch.start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        watch.join()
        said.seek(0)
        printed = said.read()
    leaks = [Leak(secret, "the terminal") for secret in canary.found_in(printed)]
    leaks += [Leak(one, "a process's arguments") for one in canary.found_in("\n".join(arguments).encode())]
    return process.returncode, [*leaks, *leaks_in(canary, [folder / "root", folder / "home"])]


def collect_arguments(process: subprocess.Popen[bytes], arguments: set[str]) -> None:
    """Record the arguments of all processes that a process starts, until it ends."""
    while process.poll() is None:
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    arguments.add(" ".join(child.cmdline()))
        time.sleep(0.1)


def leaks_in(canary: Canaries, folders: Sequence[Path]) -> list[Leak]:
    """Return every secret in the names and contents of the files of some folders."""
    leaks = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        contents = [str(path).encode(), *(readable(path) if path.is_file() else ())]
        leaks += [Leak(secret, str(path)) for content in contents for secret in sorted(canary.found_in(content))]
    return leaks


def readable(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, and the decompressed bytes if it is compressed."""
    try:
        raw = path.read_bytes()
    except OSError:
        return
    yield raw
    if raw.startswith(b"\x1f\x8b"):
        with suppress(OSError, EOFError, zlib.error), gzip.open(path) as stream:
            yield stream.read(UNPACKED)
    elif zipfile.is_zipfile(path):
        with suppress(zipfile.BadZipFile, RuntimeError, zlib.error), zipfile.ZipFile(path) as files:
            for name in files.namelist():
                yield name.encode() + files.read(name)[:UNPACKED]


def rows(trials: str, folder: Path) -> Iterator[Row]:
    """Try the commands of one kind, "quick" or "long", and print each leak."""
    canary = Canaries()
    served = data.make(folder / "served", data.FEW)
    with mirrors.Server(mirrors.whole, served.folder) as server:
        host = f"127.0.0.1:{server.server_port}"
        for trial in (quick_trials if trials == "quick" else long_trials)(canary, folder, host):
            say(trial.name)
            code, leaks = tried(trial, canary, folder)
            for leak in leaks:
                say(f"  {leak.secret} in {leak.place}")
            if (code == 0) != trial.succeeds:
                say(f"  ended with {code}")
            kept = not leaks and (code == 0) == trial.succeeds
            yield Row(f"secrets: {trial.name}", 1, int(kept), ", ".join(sorted({leak.secret for leak in leaks})))
        server.shutdown()


def main(server: str, folders: Sequence[Path]) -> Iterator[Row]:
    """Try all commands; with a `server`, instead start a run through its API and search the given folders."""
    if server:
        yield from at_server(server, folders)
        return
    with tempfile.TemporaryDirectory(prefix="mnist-canaries-") as folder:
        for kind in ("quick", "long"):
            yield from rows(kind, Path(folder))


def at_server(server: str, folders: Sequence[Path]) -> Iterator[Row]:
    """Start a run with secrets on a server, and search its records on the server and the folders after its end."""
    os.environ["PREFECT_API_URL"] = f"{server.rstrip('/').removesuffix('/api')}/api"
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        FlowRunFilter,
        FlowRunFilterId,
        LogFilter,
        LogFilterFlowRunId,
    )

    canary = Canaries()
    given: dict[str, Any] = {"mirrors": [mirror(canary, NOWHERE, "ui")], "epochs": 1, "gate": False}
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("mnist/on-demand")
        run = client.create_flow_run_from_deployment(deployment.id, parameters=given)
        say(f"waiting for {run.name}")
        while not (state := client.read_flow_run(run.id).state) or not state.is_final():
            time.sleep(1)
        this = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=200)
        artifacts = client.read_artifacts(flow_run_filter=this, artifact_filter=ArtifactFilter())
        tasks = client.read_task_runs(flow_run_filter=this)
        known = {
            "the run": client.read_flow_run(run.id),
            "its logs": logs,
            "its artifacts": artifacts,
            "its task runs": tasks,
        }
    for name, found in known.items():
        yield Row(f"secrets of a run started in the UI: {name}", 1, int(not canary.found_in(str(found).encode())))
    for folder in folders:
        leaks = leaks_in(canary, [folder])
        for leak in leaks:
            say(f"  {leak.secret} in {leak.place}")
        yield Row(f"secrets of a run started in the UI: the files under {folder}", 1, int(not leaks))
