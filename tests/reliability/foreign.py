"""Create foreign files under every name that the project uses, and check that every byte of them survives.

Foreign files are created beside and inside a root, and behind links in it. Then follow a run, a study, a run that is killed,
more foreign files beside what that run has left, another run, comparisons, a rollback, a dry run of prune, prune
itself, and verify.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tasks.storage.folders import MARK, Folder
from tests.reliability.kills import victims
from tests.reliability.table import Row, say
from tests.reliability.world import MNIST, World, left_over, result, world
from tests.support import data
from tests.support.foreign import Seeds, behind_links, seed

LAST = ("--no-gate",)


class Trial:
    """A root, its foreign files, and the faults that were found."""

    def __init__(self, place: World, name: str) -> None:
        self.place, self.name = place, name
        self.root, self.outside = place.folder / name / "root", place.folder / name / "outside"
        self.seeds, self.faults = Seeds(), list[str]()

    def does(self, what: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command that must end with an exit code and leave all foreign files unchanged."""
        done = subprocess.run(
            [MNIST, *arguments, "--root", self.root],
            env=self.place.env(self.name),
            capture_output=True,
            text=True,
            check=False,
        )
        self.look(what, done.returncode == code, done.stderr)
        return done

    def look(self, what: str, went_well: bool, said: str) -> None:
        """Record the lost files and a wrong outcome after a command."""
        say(f"    {what}: {len(self.seeds.seen)} foreign paths, {len(lost := self.seeds.lost())} lost")
        self.faults += [f"after {what}: {path}" for path in lost]
        if not went_well:
            self.faults.append(f"{what} ended unexpectedly: {said[-2000:]}")

    def runs(self, seed: int) -> str:
        """Run the flow with a seed, and return the name of the run."""
        done = self.place.run(self.root, *LAST, "--seed", str(seed), trial=self.name)
        self.look(f"run {seed}", done.returncode == 0, done.stderr)
        return str(result(done)["run"])

    def is_killed(self) -> None:
        """Start a run, and kill all its processes in the middle of a training."""
        with subprocess.Popen(
            self.place.command(self.root, "--epochs", "2000"), env=self.place.env(self.name), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stderr
            any("epoch 3/2000" in line for line in process.stderr)
            for one in victims("all at once", process, self.name):
                one.kill()
            process.stderr.read()
        time.sleep(1)
        self.look("kill", process.returncode == -9, "")

    def is_pruned(self) -> None:
        """Prune, and check that a dry run changes nothing and lists the paths that prune removes."""
        before = paths_in(self.root)
        planned = json.loads(self.does("prune --dry-run", "prune", "--keep", "1", "--dry-run", "--json").stdout)
        if paths_in(self.root) != before:
            self.faults.append("a dry run has changed something")
        self.does("prune", "prune", "--keep", "1", "--json")
        gone = before - paths_in(self.root)
        if gone != set(planned["paths"]):
            self.faults.append(f"prune removed other paths than planned: {sorted(gone ^ set(planned['paths']))[:10]}")


def paths_in(root: Path) -> set[str]:
    """Return every path under a root, without the contents of linked folders."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def whole(trial: Trial) -> Trial:
    """Run all commands on a root."""
    first = trial.runs(1)
    seed(trial.root, trial.outside, trial.seeds)
    second = trial.runs(2)
    larger = data.make(trial.place.folder / "larger", data.FEW).toml()
    trial.does("study", "study", "--dataset", str(larger), "--seeds", "2", "--epochs", "1")
    trial.is_killed()
    seed(trial.root, trial.outside, trial.seeds)
    third = trial.runs(3)
    mine = trial.root / Folder.COMPARISONS / f"{first}..{third}.html"
    trial.seeds.add(mine)
    for one in (first, second):
        trial.does("compare", "compare", one, third)
        trial.does("compare again", "compare", one, third)
    trial.does("champion rollback", "champion", "rollback")
    trial.is_pruned()
    trial.does("verify", "verify", third)
    trial.does("runs", "runs")
    return trial


def linked(trial: Trial) -> Trial:
    """Run all commands on a root whose folders are links: those that write name a link in one line and write nothing."""
    first, second = trial.runs(1), trial.runs(2)
    behind_links(trial.root, trial.outside, trial.seeds)
    before = paths_in(trial.outside)
    run = trial.place.run(trial.root, *LAST, "--seed", "3", trial=trial.name)
    trial.look("run 3", run.returncode == 2, run.stderr)
    for command in (f"compare {first} {second}", "champion rollback", "prune --keep 1"):
        run = trial.does(command, *command.split(), code=2)
        if "is a symbolic link" not in run.stderr or "Traceback" in run.stderr:
            trial.faults.append(f"{command}: {run.stderr[-500:]}")
    for command in (f"verify {second}", "runs", "champion list"):
        trial.does(command, *command.split())
    if paths_in(trial.outside) != before:
        trial.faults.append(f"written: {paths_in(trial.outside) ^ before}")
    return trial


REFUSED = ("run", "study", "serve", "prune --keep 1", "prune --keep 1 --dry-run", "compare a b", "runs", "verify",
           "champion list", "champion rollback", "predict picture.png")  # fmt: skip


def refused(trial: Trial) -> Trial:
    """Run every command on a folder that is not a root: each proposes another folder in one line and writes nothing."""
    for folder in ("scratch/thesis", "runs/exp1", "locks", "records", "models", ".git", "src"):
        trial.seeds.add(trial.root / folder / "thesis.txt")
    before = paths_in(trial.root)
    for command in REFUSED:
        done = trial.does(command, *command.split(), code=2)
        last = (done.stderr.splitlines() or [""])[-1]
        if f"--root {trial.root}/mnist" not in last or "Traceback" in done.stderr:
            trial.faults.append(f"{command}: {done.stderr[-500:]}")
    if paths_in(trial.root) != before:
        trial.faults.append(f"written: {paths_in(trial.root) - before}")
    return trial


def row(what: str, trial: Trial, extra: Sequence[str] = ()) -> Row:
    """Return one row, in which each foreign path is a trial."""
    faults = [*trial.faults, *extra]
    for fault in faults:
        say(f"LOST {fault}")
    return Row(what, len(trial.seeds.seen), max(0, len(trial.seeds.seen) - len(faults)))


def inside_of(place: World) -> Row:
    """Test a root with foreign paths everywhere."""
    inside = whole(Trial(place, "inside"))
    foreign = {
        path.relative_to(inside.root).parts[:2] for path in inside.seeds.seen if path.is_relative_to(inside.root)
    }
    own = [f"files left over: {name}" for name in left_over(inside.root) if Path(name).parts[:2] not in foreign]
    return row("foreign paths beside, inside and linked from every folder of a root", inside, own)


TRIALS: dict[str, Callable[[World], Row]] = {
    "inside": inside_of,
    "linked": lambda place: row("foreign paths in folders that links stand for", linked(Trial(place, "linked"))),
    "refused": lambda place: row(f"paths of folders without {MARK}, refused by {len(REFUSED)} commands",
                                 refused(Trial(place, "refused"))),
}  # fmt: skip


def main(only: str = "") -> Iterator[Row]:
    """Run the trials, and yield a row for each."""
    with world() as place:
        for name, trial in TRIALS.items():
            if only in {"", name}:
                say(name)
                yield trial(place)
