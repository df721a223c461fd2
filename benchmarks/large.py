"""Measure a whole run on millions of images: `python -m benchmarks.large`.

It measures the time of each step and the memory of each process. The dataset consists of repeated and shifted MNIST
images. The command is `mnist run` for both models and one epoch.
"""

import gzip
import hashlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import psutil
from isal import igzip
from numpy.typing import NDArray

from benchmarks.post import FILES, MIRROR
from tasks.storage.output_files import rewrite_file

SAMPLE_SECONDS = 0.5
SIDE = 28
COUNTS = {"train": 60_000, "test": 10_000}
STEPS = 9  # shifts in each direction, which make 81 distinct copies


def shifted(images: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return images, (n, rows, columns), rolled by up to four pixels in each direction."""
    down, right = divmod(number % STEPS**2, STEPS)
    return np.roll(images, (down - STEPS // 2, right - STEPS // 2), axis=(1, 2))


def archive(split: str, kind: str, times: int) -> Iterator[bytes]:
    """Yield the members of a gzip file: the header, then the items `times` times."""
    rank = 3 if kind == "images" else 1
    content = gzip.decompress((MIRROR / FILES[split].format(kind, rank)).read_bytes())
    header, items = content[: 4 + 4 * rank], np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    yield gzip.compress(header[:4] + struct.pack(">I", COUNTS[split] * times) + header[8:])
    for number in range(times):
        moved = shifted(items.reshape(-1, SIDE, SIDE), number) if kind == "images" else items
        yield igzip.compress(moved.tobytes(), 1)


def make(folder: Path, times: int) -> Path:
    """Write the archives and the dataset file that pins them, and return its path."""
    lines = [
        f'name = "times_{times}"',
        'title = "MNIST, repeated and shifted"',
        'license = "as MNIST"',
        "shape = [28, 28]",
    ]
    lines += [f"classes = {json.dumps([str(label) for label in range(10)])}"]
    for split, count in COUNTS.items():
        lines += [f"[{split}]", f"count = {count * times}"]
        for kind in ("images", "labels"):
            path, digest = folder / f"{split}-{kind}.gz", hashlib.sha256()
            with path.open("wb") as stream:
                for part in archive(split, kind, times):
                    digest.update(part)
                    stream.write(part)
            lines += [f"[{split}.{kind}]", f'urls = ["{path.as_uri()}"]', f"bytes = {path.stat().st_size}"]
            lines += [f'sha256 = "{digest.hexdigest()}"']
    path = folder / "large.toml"
    path.write_text("\n".join(lines))
    return path


class Watch:
    """Largest resident set of each process of a process tree, in bytes, by process id and kind of process."""

    def __init__(self, pid: int) -> None:
        self.process, self.over, self.peaks = psutil.Process(pid), threading.Event(), dict[tuple[int, str], int]()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        """Sample the processes until stopped."""
        while not self.over.wait(SAMPLE_SECONDS):
            try:
                for one in (self.process, *self.process.children(recursive=True)):
                    key = one.pid, what(one)
                    self.peaks[key] = max(self.peaks.get(key, 0), one.memory_info().rss)
            except psutil.Error:
                continue  # a process has ended in the meantime


def what(process: psutil.Process) -> str:
    """Return the kind of a process of a run."""
    line = " ".join(process.cmdline())
    if "spawn_main" in line:
        return "worker"
    return "flow" if "flows.cli.app" in line else "server" if "uvicorn" in line or "server" in line else "other"


@click.command()
@click.option("--times", default=100, show_default=True, help="Number of repetitions of MNIST.")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("docs/benchmarks"),
    show_default=True,
    help="Folder for the results.",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder to work in; the run stays there.")
def main(times: int, to: Path, keep: Path | None) -> None:
    """Make the dataset, run the pipeline, print two tables, and write large.json."""
    with TemporaryDirectory(prefix="mnist-large-") as name:
        folder = keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        dataset = make(folder, times)
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "flows.cli.app",
            "run",
            "--dataset",
            dataset,
            "--epochs",
            "1",
            "--no-gate",
        ]
        command += ["--root", folder / "root", "--json"]
        with (folder / "run.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            watch = Watch(process.pid)
            output, _ = process.communicate()
            watch.over.set()
            watch.thread.join()
        if process.returncode:
            raise SystemExit(
                f"mnist run failed with exit code {process.returncode}: {(folder / 'run.log').read_text()[-2000:]}"
            )
        result = json.loads(output)
        files = sorted(path.name for path in (folder / "root" / "splits").iterdir())
    found = {
        "images": {split: count * times for split, count in COUNTS.items()},
        "seconds": result["seconds"],
        "steps": {step["name"]: step["origin"]["seconds"] for step in result["steps"]},
        "peak_mib": {
            kind: round(max(peak for (_, one), peak in watch.peaks.items() if one == kind) / 2**20)
            for kind in sorted({one for _, one in watch.peaks})
        },
        "files": len(files),
    }
    click.echo("| step | seconds |\n|---|---:|")
    for step, seconds in found["steps"].items():
        click.echo(f"| {step} | {seconds:,.1f} |")
    click.echo("\n| process | peak MiB |\n|---|---:|")
    for kind, peak in found["peak_mib"].items():
        click.echo(f"| {kind} | {peak:,} |")
    to.mkdir(parents=True, exist_ok=True)
    with rewrite_file(to / "large.json") as stream:
        stream.write(json.dumps(found, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
