"""Measure the time of commands and the total memory of all their processes."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

SAMPLE_SECONDS = 0.2


class Taken(NamedTuple):
    """Wall time, peak memory in bytes, standard output of commands, and standard error of the last command.

    The peak is the largest sum of resident sets; shared libraries count in each process.
    """

    seconds: float
    peak: int
    output: str
    errors: str


def run(commands: Sequence[Sequence[str | Path]], env: Mapping[str, str], folder: Path, *, code: int = 0) -> Taken:
    """Run commands, which must exit with `code`, one after the other and return one measurement of all of them."""
    began, peak, output = time.perf_counter(), 0, []
    for number, command in enumerate(commands):
        with (
            (folder / f"{number}.err").open("wb") as errors,
            subprocess.Popen(
                command, env=os.environ | env, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            sampler = Sampler(process.pid)
            out, _ = process.communicate()
            peak = max(peak, sampler.end())
        if process.returncode != code:
            log = (folder / f"{number}.err").read_text()[-2000:]
            raise SystemExit(f"{' '.join(map(str, command))} failed with exit code {process.returncode}: {log}")
        output.append(out)
    seconds = time.perf_counter() - began
    return Taken(seconds, peak, "".join(output), (folder / f"{len(commands) - 1}.err").read_text())


def import_seconds(errors: str) -> float:
    """Return the total time of all imports, from the output of `python -X importtime`."""
    times = (re.match(r"import time: +(\d+) \|", line) for line in errors.splitlines())
    return sum(int(found[1]) for found in times if found) / 1e6


class Sampler:
    """Sampler that reads the memory of a process and all its descendants a few times a second."""

    def __init__(self, pid: int) -> None:
        self.process, self.over, self.peak = psutil.Process(pid), threading.Event(), 0
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        """Take samples until stopped."""
        while True:
            self.peak = max(self.peak, resident(self.process))
            if self.over.wait(SAMPLE_SECONDS):
                return

    def end(self) -> int:
        """Stop sampling and return the largest sum in bytes."""
        self.over.set()
        self.thread.join()
        return self.peak


def resident(process: psutil.Process) -> int:
    """Return the sum of the resident sets of a process and its descendants in bytes."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:
        pass  # a process has ended in the meantime
    return total
