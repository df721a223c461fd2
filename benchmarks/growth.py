"""Measure whether memory is constant and time linear in the number of images: `python -m benchmarks.growth`.

MNIST is repeated 1, 10 and 100 times, up to 6 million images. Decoding and prediction run in separate processes, and so
does a training of one epoch, once in windows and once with all images in memory.
"""

import gzip
import hashlib
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from matplotlib.figure import Figure as Canvas

from benchmarks.grown import Grown
from benchmarks.measure import run
from benchmarks.post import FILES, MIRROR
from tasks.storage.output_files import rewrite_file

IMAGES = 60_000
SIZE = 28 * 28
COLORS = {"decode": "#4477aa", "predict": "#228833", "train": "#cc3311", "train-in-memory": "#aa3377"}


def repeated(folder: Path, times: int) -> Path:
    """Write archives with MNIST's training split repeated `times` times, and return the dataset file that names them.

    The training archives are gzip files with one member for each repetition.
    """
    folder.mkdir()
    lines = [f'name = "times_{times}"', 'title = "MNIST, repeated"', 'license = "as MNIST"', "shape = [28, 28]"]
    lines += [f"classes = {json.dumps([str(label) for label in range(10)])}", f'mirrors = ["{folder.as_uri()}"]']
    for split, count in (("train", IMAGES * times), ("test", 10_000)):
        lines += [f"[{split}]", f"count = {count}"]
        for kind, shape in (("images", (count, 28, 28)), ("labels", (count,))):
            name = FILES[split].format(kind, len(shape))
            content = (MIRROR / name).read_bytes()
            if split == "train":
                header = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)
                items = gzip.decompress(content)[len(header) :]
                content = gzip.compress(header) + gzip.compress(items, 6) * times
            (folder / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            lines += [f"[{split}.{kind}]", f'name = "{name}"', f"bytes = {len(content)}", f'sha256 = "{digest}"']
    path = folder / "repeated.toml"
    path.write_text("\n".join(lines))
    return path


def draw(found: Sequence[Grown], path: Path) -> None:
    """Draw time and memory against the number of images."""
    canvas = Canvas(figsize=(9, 3.6), layout="constrained")
    panels = (("seconds", [one.seconds for one in found]), ("peak memory, MiB", [one.peak / 2**20 for one in found]))
    for axes, (what, values) in zip(canvas.subplots(1, 2), panels, strict=True):
        for step, color in COLORS.items():
            line = [(one.images, value) for one, value in zip(found, values, strict=True) if one.step == step]
            if line:
                axes.plot(*zip(*line, strict=True), "o-", color=color, label=step)
        axes.set_xscale("log")
        axes.set_xlabel("images")
        axes.set_title(what)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.axes[0].set_yscale("log")
    canvas.axes[0].legend(frameon=False)
    canvas.axes[1].set_ylim(bottom=0)
    with rewrite_file(path) as stream:
        canvas.savefig(stream, format="svg", metadata={"Date": None})


@click.command()
@click.option(
    "--times",
    multiple=True,
    type=int,
    default=(1, 10, 100),
    show_default=True,
    help="Number of repetitions of MNIST; can be given several times.",
)
@click.option("--train", default=10, show_default=True, help="Largest number of repetitions to train on.")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("docs/benchmarks"),
    show_default=True,
    help="Folder for the results.",
)
def main(times: Sequence[int], train: int, to: Path) -> None:
    """Measure, print a table, and write growth.json and growth.svg."""
    found: list[Grown] = []
    click.echo("| step | images | seconds | µs per image | peak MiB |\n|---|---:|---:|---:|---:|")
    for each in times:
        with TemporaryDirectory(prefix="mnist-growth-") as name:
            folder = Path(name)
            dataset = repeated(folder / "mirror", each)
            for step in COLORS if each <= train else ("decode", "predict"):
                command: list[str | Path] = [sys.executable, "-m", "benchmarks.grown", step, dataset, folder / "root"]
                one = Grown(*json.loads(run([command], {"TF_CPP_MIN_LOG_LEVEL": "3"}, folder).output))
                found.append(one)
                click.echo(
                    f"| {one.step} | {one.images:,} | {one.seconds:.2f} | {1e6 * one.seconds / one.images:.2f} "
                    f"| {one.peak / 2**20:,.0f} |"
                )
    to.mkdir(parents=True, exist_ok=True)
    with rewrite_file(to / "growth.json") as stream:
        stream.write(json.dumps([one._asdict() for one in found], indent=1).encode() + b"\n")
    draw(found, to / "growth.svg")


if __name__ == "__main__":
    main()
