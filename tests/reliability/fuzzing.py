"""Pass many drawn inputs to every reader of files from others."""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.reliability.fuzz import TARGETS, Target, check
from tests.reliability.table import Row, say


def main(times: int, drawn_by: int) -> Iterator[Row]:
    """Draw `times` inputs in total, in equal parts for each target."""
    warnings.simplefilter("ignore")
    each = -(-times // len(TARGETS))
    for name, target in TARGETS.items():
        tried = fuzzed(target, each, drawn_by)
        say(f"{name}: {tried:,} inputs")
        yield Row(f"broken {name}", tried, tried)


def fuzzed(target: Target, times: int, drawn_by: int) -> int:
    """Draw `times` inputs for one target, and return the number of inputs.

    The first input that is handled wrongly is shrunk and raises its error.
    """
    tried = 0

    @seed(drawn_by)
    @settings(
        max_examples=times, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(target.inputs)
    def run(content: bytes) -> None:
        nonlocal tried
        tried += 1
        check(target, content, Path(folder))

    with tempfile.TemporaryDirectory() as folder:
        run()
    return tried
