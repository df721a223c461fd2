"""Test a corpus of inputs that were once handled wrongly or may be, and some drawn inputs.

`python -m tests.reliability fuzz` draws many more.
"""

import gzip
import struct
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.storage.checksummed_json import add_checksum
from tests.reliability.fuzz import DATASET, GZIP, IDX, NASTY, RECIPES, RECORD, TARGETS, check, pictures

IMAGES = struct.pack(">HBB3I", 0, 8, 3, 5, 28, 28)

CORPUS: dict[str, list[bytes]] = {
    "IDX": [
        *NASTY,
        struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1),  # declares a size that exceeds any memory
        struct.pack(">HBB255I", 0, 8, 255, *[1] * 255),
        struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 0, 28),  # many images without pixels
        *(content[:-1] for content in IDX),
        *(content + b"\0" for content in IDX),
    ],
    "archives": [
        *NASTY,
        *GZIP,
        gzip.compress(IMAGES + b"\0" * (100 << 20)),  # a decompression bomb: 100 MB behind a header of 4 kB
        gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**31, 28, 28)),
        gzip.compress(IMAGES) + b"rubbish",
        gzip.compress(IMAGES)[:-4],
        gzip.compress(b"") * 10_000,  # members without content
    ],
    "dataset files": [
        *NASTY,
        *(DATASET.replace(b"https://ossci-datasets.s3.amazonaws.com/mnist/", piece) for piece in NASTY),
        *(DATASET.replace(b"60000", piece) for piece in NASTY),
        *(DATASET.replace(b"[28, 28]", piece) for piece in (b"[28]", b"[0, 28]", b"[1e9, 1]", b"[[28]]", b'"28"')),
    ],
    "recipe files": [
        *NASTY,
        *(
            recipe.replace(value, piece)
            for recipe, value in zip(RECIPES, (b"512", b"0.2"), strict=True)
            for piece in NASTY
        ),
        RECIPES[0] + b"\n[[models]]\n" * 1000,
    ],
    "pictures": [*NASTY, *pictures(), *(content[: len(content) // 2] for content in pictures())],
    "records of steps": [*NASTY, RECORD, *(add_checksum(piece) for piece in NASTY), add_checksum(b"[" * 100_000)],
    "records of runs": [*NASTY, *(add_checksum(piece) for piece in NASTY), add_checksum(b"[" * 100_000)],
    "champions": [*NASTY, *(add_checksum(piece) for piece in NASTY)],
}


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_inputs_are_accepted_or_rejected_in_one_line(name: str, tmp_path: Path) -> None:
    for content in CORPUS[name]:
        check(TARGETS[name], content, tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_random_inputs_are_accepted_or_rejected_in_one_line(name: str, tmp_path: Path) -> None:
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TARGETS[name].inputs | st.sampled_from(CORPUS[name]))
    def run(content: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(TARGETS[name], content, tmp_path)

    run()
