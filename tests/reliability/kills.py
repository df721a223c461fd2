"""Send SIGKILL to processes of a run at a moment that a seeded generator draws, and repeat the run.

After each kill, no process is left, and no file with a final name is incomplete. The next run succeeds with the results
of an undisturbed run, and leaves no temporary files.
"""

import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.reliability.table import Row, say
from tests.reliability.world import World, all_gone, incomplete, left_over, made, processes, result, world

VICTIMS = {"the flow": 6, "a worker": 6, "all at once": 4, "the server": 1}  # with the weight of each
LONGEST = 1.0  # seconds between a line of the log and the kill; usually more than until the next line


class Kill(NamedTuple):
    """The killed process, the last line of the log before the kill, and the fault in how the run ended, if any."""

    victim: str
    line: str
    fault: str


def kill(place: World, trial: str, root: Path, rng: random.Random, lines: int) -> Kill:
    """Start a run and kill one or all of its processes."""
    (victim,) = rng.choices(list(VICTIMS), list(VICTIMS.values()))
    line, delay = rng.randrange(lines), rng.choice([0, rng.uniform(0, LONGEST)])
    own = victim == "the server"
    with subprocess.Popen(
        place.command(root), env=place.env(trial, own_server=own), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr
        said = [text.strip() for _, text in zip(range(line), process.stderr, strict=False)]
        time.sleep(delay)
        for one in victims(victim, process, trial):
            one.kill()
        after = process.stderr.read()
        code = process.wait(180)
    good = {"a worker": {0, 2, -9}, "the server": {0, -9}}.get(victim, {0, -9})
    fault = "" if code in good and "Traceback" not in after else f"the run ended with exit code {code}: {after[-2000:]}"
    return Kill(victim, said[-1] if said else "the start", fault)


def victims(victim: str, process: subprocess.Popen[str], trial: str) -> list[psutil.Process]:
    """Return the processes to kill; if the chosen process does not exist yet or any longer, return the flow."""
    children = [one for one in processes(trial) if one.pid != process.pid]
    chosen = {
        "the flow": [],
        "a worker": [one for one in children if "spawn_main" in " ".join(one.cmdline())][:1],
        "the server": [one for one in children if "flows.server.local_server" in one.cmdline()],
        "all at once": [psutil.Process(process.pid), *children],
    }[victim]
    return chosen or [psutil.Process(process.pid)]


def trials(times: int, seed: int) -> Iterator[tuple[Kill, str]]:
    """Kill `times` runs; yield the details of each kill, and its losses or an empty string."""
    with world() as place:
        undisturbed = place.run(place.folder / "undisturbed")
        expected, lines = made(result(undisturbed)), undisturbed.stderr.count("\n")
        for number in range(times):
            root, trial = place.folder / f"root-{number}", f"{seed}-{number}"
            killed = kill(place, trial, root, random.Random(f"{seed} {number}"), lines)
            yield killed, "; ".join(lost(place, trial, root, expected, killed))
            shutil.rmtree(root, ignore_errors=True)


def lost(place: World, trial: str, root: Path, expected: object, killed: Kill) -> Iterator[str]:
    """Yield the effects of a kill other than the end of the run."""
    if killed.fault:
        yield killed.fault
    left = all_gone(trial)
    if left:
        yield f"processes still running: {[' '.join(one.cmdline()) for one in left]}"
    if root.exists() and (broken := incomplete(root)):
        yield f"incomplete files: {broken}"
    again = place.run(root, trial=f"{trial}-again")
    if again.returncode:
        yield f"the next run ended with exit code {again.returncode}: {again.stderr[-2000:]}"
        return
    if made(result(again)) != expected:
        yield "the next run's results are others"
    if remains := left_over(root):
        yield f"files left over: {remains}"
    if left := all_gone(f"{trial}-again"):
        yield f"processes of the next run still running: {[one.pid for one in left]}"


def main(times: int, seed: int) -> Iterator[Row]:
    """Kill, print the result of each trial, and yield a row for each kind of victim."""
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for number, (killed, loss) in enumerate(trials(times, seed)):
        tried[killed.victim] += 1
        failed[killed.victim] += bool(loss)
        say(f"{number}: {killed.victim}, after: {killed.line[:100]}{f' LOST {loss}' if loss else ''}")
    for victim in VICTIMS:
        if tried[victim]:
            yield Row(f"SIGKILL to {victim}", tried[victim], tried[victim] - failed[victim])
