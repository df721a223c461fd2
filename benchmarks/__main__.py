"""Measure the speed of the pipeline: `python -m benchmarks`, or `make bench`.

Each round runs every arm once; the figures are ratios of the arms' times.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.arms import ARMS, Bench, Sample
from benchmarks.figures import FIGURES, Figure, table, value
from benchmarks.picture import draw
from benchmarks.post import MIRROR
from tasks.storage.output_files import rewrite_file
from tests.support.serving import without_prefect


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Number of times to run each arm.")
@click.option("--only", default="", metavar="NAME,NAME", help="Measure only these figures.")
@click.option("--dataset", default="mnist", show_default=True, help="Dataset name or TOML file.")
@click.option(
    "--mirror",
    type=click.Path(exists=True, path_type=Path),
    default=MIRROR,
    help="Folder with the archives of the dataset.",
)
@click.option(
    "--epochs",
    default=(3, 10),
    show_default=True,
    type=(int, int),
    help="Epochs of the arms that do the same work, and of the post's best model.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("docs/benchmarks"),
    show_default=True,
    help="Folder for the results.",
)
def main(rounds: int, only: str, dataset: str, mirror: Path, epochs: tuple[int, int], to: Path) -> None:
    """Measure the figures, print them as a table, and write benchmarks.json and benchmarks.svg."""
    names = only.split(",") if only else list(FIGURES)
    if unknown := set(names) - set(FIGURES):
        raise click.UsageError(f"no such figure: {', '.join(sorted(unknown))}; the figures are {', '.join(FIGURES)}")
    figures = {name: figure for name, figure in FIGURES.items() if name in names}
    samples: dict[str, list[Sample]] = {
        name: [] for name in ARMS if any(name in each.arms for each in figures.values())
    }
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="mnist-bench-") as folder:
        env = {"PREFECT_HOME": f"{folder}/prefect", "TF_CPP_MIN_LOG_LEVEL": "3", "MNIST_ROOT": f"{folder}/root"}
        bench = Bench(Path(folder), dataset, mirror.absolute(), epochs, without_prefect(os.environ) | env)
        for number in range(rounds):
            for name, found in samples.items():
                place = Path(folder) / f"{number}"
                place.mkdir(exist_ok=True)
                found.append(ARMS[name](bench, place))
                click.echo(f"round {number + 1}/{rounds}  {name}: {found[-1].seconds:.2f} s", err=True)
    machine = {"cores": len(os.sched_getaffinity(0)), "load_before": load, "python": sys.version.split()[0]}
    click.echo(table(figures, samples, machine))
    write(to, figures, samples, machine)


def write(to: Path, figures: dict[str, Figure], samples: dict[str, list[Sample]], machine: dict[str, object]) -> None:
    """Write the figures and the samples behind them as JSON, and the figures as SVG."""
    to.mkdir(parents=True, exist_ok=True)
    whole = {
        "machine": machine,
        "figures": {name: value(figure, samples)._asdict() for name, figure in figures.items()},
        "samples": {name: [sample._asdict() for sample in found] for name, found in samples.items()},
    }
    with rewrite_file(to / "benchmarks.json") as stream:
        stream.write(json.dumps(whole, indent=1).encode() + b"\n")
    draw(figures, samples, to / "benchmarks.svg")


if __name__ == "__main__":
    main()
