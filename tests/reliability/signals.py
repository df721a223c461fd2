"""Send SIGINT or SIGTERM to a command at a moment that a seeded generator draws, and repeat the command.

After each signal, the command ends in time, with the signal's exit code and one line. No process is left, and no file
with a final name is incomplete. The same command then succeeds with the results of an undisturbed command, and leaves
no temporary files.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import portalocker

from flows.server.credential import authorization
from tests.reliability.table import Row, say
from tests.reliability.world import MNIST, SECONDS, World, all_gone, incomplete, left_over, made, processes, world
from tests.support.mirrors import listening, says_nothing
from tests.support.serving import free_port

LONGEST = 5.0  # seconds from the signal to the end
LONGEST_SERVE = 15.0  # if a run is in progress
AT_ONCE = 2.0  # after a second signal
CREDENTIAL = "mnist:signals"  # of the server that `serve` starts
LOOKING_BACK = {"compare", "verify", "predict", "prune"}  # commands that need finished runs
TERM = 1 << (signal.SIGTERM - 1)


class Trial(NamedTuple):
    """A command: its arguments, additional environment variables, and limits; `same` makes its output comparable."""

    arguments: list[str]
    env: Mapping[str, str] = {}
    same: Callable[[str], object] = bool
    longest: float = LONGEST
    ends: bool = True  # whether it ends by itself, so that it can be repeated


class Ended(NamedTuple):
    """How a command ended.

    `seconds` is the time since the last signal; `reached` is false if the command ended before the signal.
    """

    code: int
    seconds: float
    said: str
    printed: str
    reached: bool


def signaled(trial: Trial, env: Mapping[str, str], after: float, number: int, again: float | None) -> Ended:
    """Start a command, and send it one signal or two.

    The time `after` starts when the command has set its handlers, about 30 ms after its start.
    """
    with subprocess.Popen(
        [MNIST, *trial.arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        while process.poll() is None and not listens(process.pid):
            time.sleep(0.005)
        output: list[str] = []
        reading = threading.Thread(target=lambda: output.extend(process.communicate()))
        reading.start()
        reading.join(after)
        reached, began = process.poll() is None, time.monotonic()
        send(process, number)
        if again is not None and reached:
            reading.join(again)
            began = time.monotonic()
            send(process, number)
        reading.join(60)
        seconds = time.monotonic() - began
        if reading.is_alive():
            process.kill()
            reading.join()
    return Ended(process.returncode, seconds, output[1], output[0], reached)


def send(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal; SIGINT goes to the whole process group, as from a terminal."""
    if number == signal.SIGINT and process.poll() is None:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def listens(pid: int) -> bool:
    """Return whether a process handles SIGTERM, according to /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    return any(line.startswith("SigCgt:") and int(line.split()[1], 16) & TERM for line in status.splitlines())


def faults(trial: Trial, ended: Ended, number: int, again: float | None, mark: str) -> Iterator[str]:
    """Yield everything that is wrong with how a command ended."""
    if not ended.reached:
        return  # it ended before the signal
    longest = trial.longest if again is None else AT_ONCE
    if ended.seconds > longest:
        yield f"the command took {ended.seconds:.1f} s to end"
    lines = [line for line in ended.said.splitlines() if line.startswith("mnist: ") and "warning" not in line]
    if ended.code == 0 and trial.ends:
        if not ended.printed:
            yield "exit code 0 without a result"
    elif ended.code != 128 + number:
        yield f"the command ended with exit code {ended.code}: {ended.said[-2000:]}"
    elif len(lines) != 1 or ended.said.splitlines()[-1] != lines[0]:
        yield f"the reason is not the only and last line: {ended.said[-2000:]}"
    if "Traceback" in ended.said:
        yield f"a traceback: {ended.said[-3000:]}"
    if left := processes(mark):
        yield f"processes still running: {[' '.join(one.cmdline()) for one in left]}"
        all_gone(mark)


@contextmanager
def silent() -> Iterator[str]:
    """Run a server that accepts connections and sends nothing; yield its URL."""
    with listening(says_nothing) as port:
        yield f"http://127.0.0.1:{port}"


def finished_root(place: World) -> Path:
    """Return a root with two runs for the commands that need finished runs."""
    root = place.folder / "finished"
    for seed in ("1", "2"):
        done = subprocess.run([MNIST, *run_of(place, root, "--seed", seed).arguments], env=place.env("first"),
                              capture_output=True, text=True, timeout=SECONDS, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return root


def run_of(place: World, root: Path, *options: str) -> Trial:
    """Return the command of a run with one epoch."""
    given = [
        "run",
        "--dataset",
        str(place.dataset),
        "--root",
        str(root),
        "--epochs",
        "1",
        "--no-gate",
        "--json",
        *options,
    ]
    return Trial(given, same=lambda text: made(json.loads(text)))


def pinning(place: World, root: Path) -> Trial:
    """Return the command that pins a copy of the dataset file under the root."""
    root.mkdir(parents=True, exist_ok=True)
    lines = place.dataset.read_text().splitlines()
    path = root / "unpinned.toml"
    if not path.exists():
        path.write_text("\n".join(line for line in lines if not line.startswith(("bytes", "sha256"))))
    return Trial(["dataset", "pin", str(path)], same=lambda _: path.read_text())


def looking_back(place: World, root: Path, name: str, folder: Path) -> Trial:
    """Return a command that needs finished runs."""
    shutil.copytree(folder, root, dirs_exist_ok=True)
    first, second = sorted(path.name for path in (root / "runs").iterdir())
    image = str(Path(__file__).parents[2] / "docs" / "errors.png")
    arguments = {
        "compare": ["compare", first, second],
        "verify": ["verify", second],
        "predict": ["predict", image],
        "prune": ["prune", "--keep", "1"],
    }[name]
    return Trial([*arguments, "--root", str(root), "--json"])


def trial_of(name: str, place: World, root: Path, finished: Path, nobody: str) -> Trial:
    """Return a command by its name; `nobody` is a server that never answers."""
    if name == "study":
        given = ["--dataset", str(place.dataset), "--seeds", "2", "--epochs", "1", "--root", str(root), "--json"]
        return Trial(["study", *given], same=lambda text: json.loads(text)["verdict"])
    if name == "serve":
        arguments = ["serve", "--port", str(free_port()), "--root", str(root), "--json"]
        return Trial(arguments, longest=LONGEST_SERVE, ends=False)
    if name == "pin":
        return pinning(place, root)
    if name in LOOKING_BACK:
        return looking_back(place, root, name, finished)
    waits: dict[str, Trial] = {
        "run": run_of(place, root),
        "run, a silent mirror": run_of(place, root, "--mirror", nobody)._replace(ends=False),
        "run, a silent server": run_of(place, root)._replace(env={"PREFECT_API_URL": f"{nobody}/api"}, ends=False),
        "run, a silent store": run_of(place, root)._replace(env=store_at(nobody), ends=False),
        "prune, a root at work": Trial(["prune", "--keep", "1", "--root", str(root)], ends=False),
    }
    return waits[name]


def store_at(address: str) -> dict[str, str]:
    """Return the environment that sets an object store's address."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    return keys | {"AWS_ENDPOINT_URL": address}


# Latest moment of a signal, in seconds: a little longer than the command takes, or than it needs before it waits.
COMMANDS = {
    "run": 40.0, "study": 40.0, "serve": 30.0, "pin": 2.0, "predict": 12.0, "compare": 3.0, "verify": 2.0, "prune": 2.0,
    "run, a silent mirror": 15.0, "run, a silent server": 8.0, "run, a silent store": 12.0, "prune, a root at work": 3.0,
}  # fmt: skip
OWN_SERVER = {"run", "study", "run, a silent mirror", "run, a silent store"}


@contextmanager
def at_work_elsewhere(name: str, root: Path) -> Iterator[None]:
    """Hold the lock of the root while the block runs, if the command is one that waits for the root."""
    if name != "prune, a root at work":
        yield
        return
    path = root / "locks" / "root.lock"
    path.parent.mkdir(parents=True)
    with path.open("a+") as stream:
        portalocker.lock(stream, portalocker.LockFlags.SHARED)
        yield


def trials(names: list[str], times: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Try each command `times` times; yield the signals and the faults of each trial."""
    with world() as place, silent() as nobody:
        finished = finished_root(place) if LOOKING_BACK & {*names} else place.folder
        expected: dict[str, object] = {}
        for name in names:
            for number in range(times):
                rng = random.Random(f"{seed} {name} {number}")
                root, mark = place.folder / f"{name[:3]}-{number}", f"{seed}-{name}-{number}"
                yield name, *one(name, place, root, finished, nobody, rng, mark, expected)
                shutil.rmtree(root, ignore_errors=True)


def one(
    name: str,
    place: World,
    root: Path,
    finished: Path,
    nobody: str,
    rng: random.Random,
    mark: str,
    expected: dict[str, Any],
) -> tuple[str, str]:
    """Run one trial; return the signals with their times, and the faults."""
    sent, after = rng.choice([signal.SIGINT, signal.SIGTERM]), rng.uniform(0, COMMANDS[name])
    again = rng.choice([None, None, None, rng.uniform(0.2, 1)])
    with at_work_elsewhere(name, root):
        trial = trial_of(name, place, root, finished, nobody)
        env = place.env(mark, own_server=name in OWN_SERVER) | trial.env
        if name == "run, a silent store":
            trial.arguments[trial.arguments.index("--root") + 1] = f"s3://bucket/{root.name}"
        if name == "serve":
            env.pop("PREFECT_API_URL")
            env |= {"PREFECT_HOME": str(root.with_suffix(".home")), "PREFECT_SERVER_API_AUTH_STRING": CREDENTIAL}
            threading.Thread(target=start_a_run, args=(trial.arguments[2], place.dataset), daemon=True).start()
        ended = signaled(trial, env, after, sent, again)
    wrong = list(faults(trial, ended, sent, again, mark))
    if root.exists() and name not in {"pin", "serve"}:
        wrong += [f"incomplete files: {broken}" for broken in incomplete(root)]
    if name == "serve":
        wrong += [f"still Running in the history: {run}" for run in running(root.with_suffix(".home"))]
    if trial.ends:
        wrong += same_again(name, trial, env, root, expected)
    told = "" if again is None else f", and again {again:.1f} s later"
    return f"{sent.name} after {after:.1f} s{told}: {ended.code} in {ended.seconds:.1f} s", "; ".join(wrong)


def same_again(name: str, trial: Trial, env: Mapping[str, str], root: Path, expected: dict[str, Any]) -> Iterator[str]:
    """Repeat the same command until it ends, and yield the faults."""
    done = subprocess.run(
        [MNIST, *trial.arguments], env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    # The prediction only has to succeed; its result is not compared.
    if done.returncode:
        yield f"the same command then ended with exit code {done.returncode}: {done.stderr[-2000:]}"
        return
    found = trial.same(done.stdout)
    if expected.setdefault(name, found) != found:
        yield "its results then are others"
    if remains := left_over(root):
        yield f"files left over: {remains}"


def start_a_run(port: str, dataset: Path) -> None:
    """Start a long run on a server as soon as the server answers."""
    import httpx

    limit = time.monotonic() + COMMANDS["serve"]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/", headers=authorization(CREDENTIAL), timeout=5) as client:
        while time.monotonic() < limit:
            with suppress(httpx.TransportError):
                found = client.get("deployments/name/mnist/on-demand")
                if found.is_success:
                    parameters = {"dataset": str(dataset), "epochs": 1000}
                    path = f"deployments/{found.json()['id']}/create_flow_run"
                    client.post(path, json={"parameters": parameters}).raise_for_status()
                    return
            time.sleep(0.3)


def running(home: Path) -> list[str]:
    """Return the names of the runs that are in progress according to a server's database."""
    if not (home / "prefect.db").exists():
        return []
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        return [name for (name,) in database.execute("SELECT name FROM flow_run WHERE state_type = 'RUNNING'")]


def main(times: int, seed: int, only: str = "") -> Iterator[Row]:
    """Send signals, print the result of each trial, and yield a row for each command."""
    say(f"seed {seed}")
    names = [name for name in COMMANDS if only in name]
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for name, sent, wrong in trials(names, times, seed):
        tried[name] += 1
        failed[name] += bool(wrong)
        say(f"{name}, {sent}{f' LOST {wrong}' if wrong else ''}")
    for name in names:
        yield Row(f"a signal to {name}", tried[name], tried[name] - failed[name])
