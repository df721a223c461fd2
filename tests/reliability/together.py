"""Start ten runs with the same inputs at once, and ten with different inputs."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tests.reliability.table import Row, say
from tests.reliability.world import MNIST, World, all_gone, left_over, made, result, world


def at_once(place: World, root: str, options: Sequence[Sequence[str]]) -> tuple[list[dict[str, Any]], str]:
    """Start a run for each of the options at the same moment; return the results, and the logs of all runs."""
    runs = [
        subprocess.Popen(
            place.command(place.folder / root, *one), env=place.env(root), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for one in options
    ]  # fmt: skip
    ended = [(run.communicate(timeout=900), run.returncode) for run in runs]
    found = [result(subprocess.CompletedProcess([], code, *said)) for said, code in ended]
    return found, "\n".join(said for (_, said), _ in ended)


def faults_of(place: World, root: str, found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield everything that is wrong under a root after concurrent runs."""
    if remains := left_over(place.folder / root):
        yield f"files left over: {remains}"
    if left := all_gone(root):
        yield f"processes still running: {[one.pid for one in left]}"
    for run in found:
        checked = subprocess.run(
            [MNIST, "verify", run["run"], "--root", place.folder / root, "--json"], capture_output=True, check=False
        )
        if not json.loads(checked.stdout)["sound"]:
            yield f"{run['run']} has missing or altered files"


def main(count: int) -> Iterator[Row]:
    """Start `count` runs at once with the same inputs, and again with different inputs."""
    with world() as place:
        alone = made(result(place.run(place.folder / "alone")))
        found, said = at_once(place, "same", [()] * count)
        makers = Counter(
            step["name"] for run in found for step in run["steps"] if not step["cached"] and not step["always_runs"]
        )
        faults = [*faults_of(place, "same", found), *(f"{name} made {n} times" for name, n in makers.items() if n > 1)]
        faults += ["a result is another"] * sum(made(run) != alone for run in found)
        say(f"computed steps: {dict(makers)}; lines that name the lock holder: {said.count('waiting for run ')}")
        yield row(f"{count} runs of the same inputs at once: each step made once", count, faults)
        found, _ = at_once(place, "different", [("--seed", str(seed)) for seed in range(1, count + 1)])
        faults = list(faults_of(place, "different", found))
        hashes = {model["model_sha256"] for run in found for model in run["models"].values()}
        faults += ["models are shared"] * (len(hashes) != 2 * count) + ["seed 1 differs"] * (made(found[0]) != alone)
        yield row(f"{count} runs of different inputs at once", count, faults)


def row(fault: str, count: int, faults: Sequence[str]) -> Row:
    """Return one row; every fault counts as a run that did not survive."""
    for one in faults:
        say(f"LOST {one}")
    return Row(fault, count, max(0, count - len(faults)))
