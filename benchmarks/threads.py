"""Compare a second thread with a second concurrent training: `python -m benchmarks.threads`.

Each training runs in a separate process, as in a run. Times are per image, over training steps on one batch that stays
in memory.
"""

import os
import subprocess
import sys
import time

import click

from flows.runners.base import thread_settings

WARM_UP = 5  # training steps that include compilation and are not measured
MODELS = ("plain", "batch_norm")
PYTHON = (sys.executable, "-m", "benchmarks.threads")


def learn(model: str, batch: int, images: int) -> float:
    """Train one of the post's models and return the microseconds per image."""
    import numpy as np  # after the parent process has set the threads

    from tasks.config.recipe import load_recipe
    from tasks.training.keras_runtime import seed_everything
    from tasks.training.network import build, compile_for, compile_network

    (training,) = (one for one in load_recipe("post").trainings() if one.network.name == model)
    seed_everything(training.seed)
    steps = images // batch
    network = build(training.network, (28, 28), 10)
    compile_for(training, network, steps)
    learned = compile_network(network.train_step, (28, 28), 10)
    rng = np.random.default_rng(0)
    seen, labels = rng.integers(0, 256, (batch, 28, 28), np.uint8), rng.integers(0, 10, batch, np.uint8)
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            began = time.perf_counter()
        learned((seen, labels))
    return (time.perf_counter() - began) / steps / batch * 1e6


def at_once(models: tuple[str, ...], threads: int, *options: str) -> list[float]:
    """Train models concurrently with `threads` threads each, and return the microseconds per image of each model."""
    processes = [
        subprocess.Popen(  # runs this module
            [*PYTHON, "--learn", model, *options],
            env=os.environ | thread_settings(threads),
            stdout=subprocess.PIPE,
            text=True,
        )
        for model in models
    ]
    return [float(process.communicate()[0]) for process in processes]


@click.command()
@click.option("--batch", default=512, show_default=True, help="Batch size.")
@click.option("--images", default=40_000, show_default=True, help="Images that each training processes.")
@click.option("--learn", "model", type=click.Choice(MODELS), hidden=True)
def main(batch: int, images: int, model: str | None) -> None:
    """Measure both models concurrently with a share of the cores each, and one after the other with 1 to 8 threads."""
    if model:
        click.echo(learn(model, batch, images))
        return
    options = ("--batch", f"{batch}", "--images", f"{images}")
    cores = len(os.sched_getaffinity(0))
    click.echo(
        "| trainings | threads each | plain, µs per image | batch norm, µs per image | both, seconds per epoch |"
    )
    click.echo("|---|---:|---:|---:|---:|")
    counts = [count for count in (1, 2, 4, 8) if count <= cores]
    for threads in counts:
        plain, batch_norm = (at_once((one,), threads, *options)[0] for one in MODELS)
        row(f"one after the other | {threads}", plain, batch_norm, plain + batch_norm)
    if cores > 1:
        plain, batch_norm = at_once(MODELS, cores // 2, *options)
        row(f"concurrent | {cores // 2}", plain, batch_norm, max(plain, batch_norm))


def row(what: str, plain: float, batch_norm: float, both: float) -> None:
    """Print one row of the table; an epoch has 60,000 images."""
    click.echo(f"| {what} | {plain:.0f} | {batch_norm:.0f} | {both * 0.06:.1f} |")


if __name__ == "__main__":
    main()
