"""Let ten clients use `mnist serve` at once, while its worker is killed and its queue is full.

Each client behaves like a user with the UI open: it reads runs, logs and artifacts, starts and cancels runs, and holds
the socket of events. All loops end after a time limit and a number of steps.
"""

import json
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from flows.server.credential import authorization
from tests.reliability.table import Row, say
from tests.reliability.world import CREDENTIAL
from tests.support import data
from tests.support.serving import ENDED, QUICK, Api, Serving, serving, until

_COUNTS = {"train": 60, "test": 20}
_PAUSE = (0.2, 1.0)  # seconds between two requests of a client; the UI polls less often
_OPEN_RUNS = 2  # of each client, so that the queue is full but ends
_SEEDS = 3  # runs with an earlier seed are answered from the cache
_KILL_SECONDS = 75.0  # between two kills of the worker
_SAMPLE_SECONDS = 2.0
_END_SECONDS = 300.0  # for the runs that have started when the clients stop
_STOP_SECONDS = 5.0
_MEMORY_GROWTH = 1.5  # of the server, from the second quarter of the trial to the last one
_BUSY = (408, 429, 503)  # statuses after which Prefect's clients and UI repeat a request
_STEPS_PER_MINUTE = 300  # more than a client can make


class Client:
    """A user of the server: its requests, the answers, and the flow runs that the server has accepted."""

    def __init__(self, number: int, api: Api, dataset: Path) -> None:
        self.random, self.dataset = random.Random(number), dataset
        self.http = httpx.Client(base_url=api.url, headers=authorization(CREDENTIAL), timeout=60)
        self.on_demand = api.deployment("on-demand")["id"]
        self.runs: list[str] = []
        self.seconds: list[float] = []
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Send a request, and record its time and status; return the JSON, or None if the server refuses it."""
        began = time.monotonic()
        try:
            response = self.http.request(method, path, json=body or None)
        except httpx.HTTPError as error:
            self.faults.append(f"{method} {path}: {type(error).__name__}")
            return None
        self.seconds.append(time.monotonic() - began)
        self.answers[response.status_code] += 1
        if response.is_success:
            return response.json()
        if response.status_code not in _BUSY:
            self.faults.append(f"{method} {path}: HTTP {response.status_code} {response.text[:200]}")
        return None

    def open_runs(self, *without: str) -> list[str]:
        """Return the client's flow runs that have not ended and are in no state of a type `without`."""
        found = self.ask("POST", "flow_runs/filter", flow_runs={"id": {"any_": self.runs}}) if self.runs else []
        return [run["id"] for run in found or () if run["state_type"] not in {*ENDED, *without}]

    def start(self) -> None:
        """Start a run of the tiny dataset, unless enough of the client's runs are open."""
        if len(self.open_runs()) >= _OPEN_RUNS:
            return
        parameters = {"dataset": str(self.dataset), "epochs": 1, "seed": self.random.randrange(_SEEDS), "gate": False}
        made = self.ask("POST", f"deployments/{self.on_demand}/create_flow_run", parameters=parameters)
        self.runs += [made["id"]] if made else []

    def cancel(self) -> None:
        """Cancel one of the client's open runs, as the UI does."""
        if found := self.open_runs():
            self.cancel_run(self.random.choice(found))

    def cancel_run(self, identity: str) -> None:
        """Cancel a run."""
        self.ask("POST", f"flow_runs/{identity}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})

    def look(self) -> None:
        """Read what the UI's dashboard and the page of a run show."""
        self.ask("POST", "flow_runs/filter", sort="START_TIME_DESC", limit=50)
        self.ask("POST", "flow_runs/count", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
        self.ask("POST", "work_pools/filter")
        for identity in self.random.sample(self.runs, min(1, len(self.runs))):
            chosen = {"id": {"any_": [identity]}}
            self.ask("GET", f"flow_runs/{identity}")
            self.ask("POST", "task_runs/filter", flow_runs=chosen, limit=200)
            self.ask("POST", "logs/filter", logs={"flow_run_id": {"any_": [identity]}})
            self.ask("POST", "artifacts/filter", flow_runs=chosen)

    def act(self, deadline: float, steps: int) -> None:
        """Do random things of a user until the deadline."""
        for _ in range(steps):
            if time.monotonic() > deadline:
                return
            (choice,) = self.random.choices((self.look, self.start, self.cancel), (40, 8, 1))
            choice()
            time.sleep(self.random.uniform(*_PAUSE))


class EventSocket:
    """The socket on which the UI receives events; a closed one is opened again."""

    def __init__(self, api: Api) -> None:
        self.url = f"{api.url.replace('http', 'ws', 1)}events/out"
        self.events, self.opened, self.over = 0, 0, threading.Event()

    def listen(self, limit: float) -> None:
        """Count events until the server has ended or the time limit is over."""
        while not self.over.is_set() and time.monotonic() < limit:
            with (
                suppress(OSError, WebSocketException, TimeoutError),
                connect(self.url, subprotocols=["prefect"]) as socket,
            ):
                socket.send(json.dumps({"type": "auth", "token": CREDENTIAL}))
                socket.recv(30)
                since = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
                socket.send(json.dumps({"type": "filter", "filter": {"occurred": since}}))
                self.opened += 1
                while not self.over.is_set() and time.monotonic() < limit:
                    with suppress(TimeoutError):
                        socket.recv(1)
                        self.events += 1
            self.over.wait(1)


@contextmanager
def open_sockets(sockets: list[EventSocket], limit: float) -> Iterator[None]:
    """Hold the sockets open during the block, each in a thread of its own."""
    with ThreadPoolExecutor(len(sockets)) as pool:
        for one in sockets:
            pool.submit(one.listen, limit)
        try:
            yield
        finally:
            for one in sockets:
                one.over.set()


class Memory:
    """Samples of the resident memory of the server's process, in MB."""

    def __init__(self, served: Serving) -> None:
        self.process = next(p for p in served.processes() if "flows.server.serving" in p.cmdline())
        self.samples: list[float] = []

    def sample(self) -> None:
        """Take a sample."""
        self.samples.append(self.process.memory_info().rss / 1e6)

    def quarter(self, number: int) -> float:
        """Return the mean of a quarter of the samples."""
        size = max(1, len(self.samples) // 4)
        return statistics.mean(self.samples[(number - 1) * size : number * size or None])


def kill_workers(served: Serving, memory: Memory, deadline: float) -> tuple[int, int]:
    """Kill the worker again and again until the deadline; return the kills, and how often another worker started."""
    kills = starts = 0
    due = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        memory.sample()
        time.sleep(_SAMPLE_SECONDS)
        if due < time.monotonic() < deadline - _KILL_SECONDS:
            kills += 1
            starts += is_replaced_after_kill(served)
            due = time.monotonic() + _KILL_SECONDS
    return kills, starts


def is_replaced_after_kill(served: Serving) -> bool:
    """Kill the worker, and return whether another worker starts."""
    killed = served.worker()
    killed.kill()
    with suppress(AssertionError):
        return bool(until(lambda: served.worker() != killed, "another worker", 60))
    return False


def end_runs(clients: list[Client]) -> list[str]:
    """Cancel the runs that wait, and return those that have not ended within the time limit."""
    for client in clients:
        for identity in client.open_runs("RUNNING"):
            client.cancel_run(identity)
    limit = time.monotonic() + _END_SECONDS
    while (left := [run for client in clients for run in client.open_runs()]) and time.monotonic() < limit:
        time.sleep(_SAMPLE_SECONDS)
    return left


class Trial(NamedTuple):
    """What the clients saw, and how the server ended."""

    clients: list[Client]
    sockets: list[EventSocket]
    memory: Memory
    kills: int
    starts: int
    left: list[str]
    states: Counter[str]
    seconds_to_end: float
    processes: int


def use(served: Serving, dataset: Path, minutes: float, count: int) -> Trial:
    """Let the clients use a server, then end it while their sockets are open."""
    deadline = time.monotonic() + 60 * minutes
    clients = [Client(number, served.api, dataset) for number in range(count)]
    sockets = [EventSocket(served.api) for _ in range(count)]
    memory = Memory(served)
    with open_sockets(sockets, deadline + 2 * _END_SECONDS):
        with ThreadPoolExecutor(count) as pool:
            acting = [pool.submit(client.act, deadline, int(minutes * _STEPS_PER_MINUTE)) for client in clients]
            kills, starts = kill_workers(served, memory, deadline)
            for acted in acting:
                acted.result()
        left = end_runs(clients)
        memory.sample()
        states = Counter(str(served.api.run(run)["state_name"]) for client in clients for run in client.runs)
        began = time.monotonic()
        processes = served.stop()
        seconds = time.monotonic() - began
    return Trial(clients, sockets, memory, kills, starts, left, states, seconds, len(processes))


def rows_of(trial: Trial) -> Iterator[Row]:
    """Print the figures of a trial, and yield its rows."""
    faults = [fault for client in trial.clients for fault in client.faults]
    times = sorted(second for client in trial.clients for second in client.seconds)
    answers = sum((client.answers for client in trial.clients), Counter[int]())
    early, late, count = trial.memory.quarter(2), trial.memory.quarter(4), len(trial.sockets)
    say(f"{len(times):,} requests; statuses {dict(answers)}; faults {Counter(faults).most_common(10)}")
    say(
        f"median {statistics.median(times):.3f} s, 95 % within {times[int(0.95 * len(times))]:.2f} s, at most {times[-1]:.1f} s"
    )
    say(f"flow runs: {dict(trial.states)}; events received: {sum(one.events for one in trial.sockets):,}")
    say(
        f"memory: {early:.0f} MB in the second quarter, {late:.0f} MB in the last, at most {max(trial.memory.samples):.0f} MB"
    )
    say(f"ended in {trial.seconds_to_end:.2f} s; processes left: {trial.processes}")
    ended = trial.seconds_to_end < _STOP_SECONDS and not trial.processes
    runs = sum(trial.states.values())
    asked = len(times) + sum("HTTP" not in fault for fault in faults)
    yield Row(f"requests of {count} clients at once", asked, asked - len(faults))
    yield Row("accepted flow runs: each one ends", runs, runs - len(trial.left))
    yield Row("sockets of events", count, sum(one.opened > 0 for one in trial.sockets))
    yield Row("SIGKILL to the worker: another one starts", trial.kills, trial.starts)
    yield Row("memory of the server does not grow", 1, int(late < _MEMORY_GROWTH * early))
    yield Row(f"the server ends within {_STOP_SECONDS:.0f} s while {count} sockets are open", 1, int(ended))


def main(minutes: float, count: int) -> Iterator[Row]:
    """Run `mnist serve`, let the clients use it, and check its messages."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mnist-reliability-")))
        messages = stack.enter_context((folder / "messages").open("w+"))
        dataset = data.make(folder / "mirror", _COUNTS).toml()
        running = stack.enter_context(serving(folder / "home", folder / "root", CREDENTIAL, messages=messages, **QUICK))
        yield from rows_of(use(running, dataset, minutes, count))
        yield from messages_row(messages)


def messages_row(messages: IO[str]) -> Iterator[Row]:
    """Yield the row about the server's messages, and show those that repeat."""
    messages.seek(0)
    lines = messages.read().splitlines()
    for line in lines:
        say(f"serve: {line}")
    tracebacks = sum("Traceback (most recent call last)" in line for line in lines)
    yield Row("messages of the server: no traceback", len(lines), len(lines) - tracebacks)
