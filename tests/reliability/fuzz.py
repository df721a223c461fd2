"""Define fuzz targets for all inputs from outside; Hypothesis draws valid examples and breaks them.

For each kind of input, one function must either accept an input or reject it with one of the project's own errors. It
may use one second of processor time, and memory for twice the input plus a constant.
"""

import gzip
import io
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tasks.config.dataset import Archive, load_dataset
from tasks.config.recipe import load_recipe
from tasks.config.toml_loader import BUILTIN
from tasks.data.archive_reader import read_archive_blocks
from tasks.data.idx import DTYPES, Header, read_blocks, read_header
from tasks.engine.cache import CacheMiss, Key, look_up_record
from tasks.errors import ChecksumError, DecodeError, InputError, MnistError, PictureError, StorageError
from tasks.history.champions import champion_history
from tasks.history.run_store import read_run
from tasks.images.decoding import FORMATS
from tasks.images.digit_preprocessing import read_character
from tasks.schemas.records import Origin, PredictionsRecord, SplitRecord
from tasks.schemas.runs import RunRecord
from tasks.storage.checksummed_json import add_checksum
from tasks.storage.folders import Folder
from tests.support.samples import FILE
from tests.support.written import write_idx

SECONDS = 1.0  # processor time instead of wall time, because the machine may be busy
CONSTANT = 32 << 20  # bytes for the buffers of the reader: for images, some arrays of 512 x 512 floats

BYTE = np.dtype(np.uint8)
ARRAYS = [np.arange(np.prod(shape or (1,)), dtype=dtype).reshape(shape)
          for dtype in DTYPES.values() for shape in ((), (0,), (3,), (2, 3, 4), (5, 28, 28))]  # fmt: skip
IDX = [write_idx(array) for array in ARRAYS]
GZIP = [gzip.compress(content, 1, mtime=0) for content in IDX]
RECIPES = [(BUILTIN / "recipes" / f"{name}.toml").read_bytes() for name in ("post", "onecycle")]
DATASET = (BUILTIN / "datasets" / "mnist.toml").read_bytes()
SPLIT = SplitRecord(
    name="train", file=FILE, count=1, shape=(2, 2), classes=("0", "1"), pixels_sha256="0" * 64, archives=("a", "b"),
    origin=Origin(step="decode train", kind="decode", run="r", at="2026-01-01T00:00:00Z", seconds=1.0, why=""),
)  # fmt: skip
PREDICTED = PredictionsRecord(model="m", split="test", file=FILE, count=1, errors=0, accuracy=1.0, loss=0.0)
RUN = RunRecord(run="r", began="2026-01-01T00:00:00Z", dataset="d", recipe=load_recipe("post"), train=SPLIT, test=SPLIT,
                models=(), predictions=(PREDICTED,), libraries={}, code="")  # fmt: skip

NASTY = [
    b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"[" * 2000, b"{" * 2000, b'"', b"'''", b"\n", b"=", b"nan", b"1e999",
    b"9" * 5000, b"-1", b"1979-05-27", b"http://[", b"\xed\xa0\x80", b"../", b"null", b"~x/", b"\x1f\x8b\x08",
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn, sound: list[bytes]) -> bytes:
    """Draw one of the valid examples, after up to four cuts, insertions, replacements or repetitions."""
    content = draw(st.sampled_from(sound))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        piece = draw(st.sampled_from(NASTY) | st.binary(max_size=8) | st.just(content[start:end] * 3))
        content = content[:start] + piece + content[end:]
    return content


class Target(NamedTuple):
    """A kind of input: its strategy, its reader, and the errors with which the reader may reject it."""

    inputs: st.SearchStrategy[bytes]
    read: Callable[[bytes, Path], Any]
    errors: tuple[type[MnistError], ...]


def read_idx(content: bytes, _folder: Path) -> None:
    """Read an IDX file as the decoder does: the header, then all items."""
    stream = io.BytesIO(content)
    for _ in read_blocks(stream, read_header(stream), 100):
        pass


def read_archive(content: bytes, folder: Path) -> None:
    """Read an archive that should contain 5 images, as the decoder does."""
    path = folder / "archive.gz"
    path.write_bytes(content)
    for _ in read_archive_blocks(
        path, Archive(name="archive.gz", bytes=1, sha256="0" * 64), Header(BYTE, (5, 28, 28)), 2
    ):
        pass


def read_toml(load: Callable[[str], Any]) -> Callable[[bytes, Path], None]:
    """Return a reader of a TOML file of the user."""

    def read(content: bytes, folder: Path) -> None:
        path = folder / "file.toml"
        path.write_bytes(content)
        load(str(path))

    return read


def read_record(content: bytes, folder: Path) -> None:
    """Look up a record as a step does; a broken record must be a cache miss."""
    key = Key({"step": "decode"}, "decode-0")
    path = key.path(folder)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert isinstance(look_up_record(key, SplitRecord, folder), CacheMiss)


def read_run_record(content: bytes, folder: Path) -> None:
    """Read the record of a run, as the commands on finished runs do."""
    path = folder / "run.json"
    path.write_bytes(content)
    assert isinstance(read_run(path), RunRecord | ChecksumError)


def read_champion(content: bytes, folder: Path) -> None:
    """Read the history of champions, as the gate does."""
    path = folder / Folder.CHAMPIONS / "line" / "000001.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    champion_history(folder, "line")


def pictures() -> list[bytes]:
    """Return a small image in each format."""
    image = Image.new("L", (40, 60), 255)
    ImageDraw.Draw(image).line([(5, 5), (30, 5), (12, 50)], 0, width=4)
    found = []
    for kind in FORMATS:
        stream = io.BytesIO()
        image.save(stream, kind)
        found.append(stream.getvalue())
    return found


RECORD = b'{"key": {"step": "decode"}, "record": ' + SPLIT.model_dump_json().encode() + b"}"
RUN_JSON = RUN.model_dump_json().encode()
BODIES = broken([RECORD, RUN_JSON])

TARGETS = {
    "IDX": Target(broken(IDX) | st.binary(max_size=64), read_idx, (DecodeError,)),
    "archives": Target(broken(GZIP) | st.binary(max_size=64), read_archive, (DecodeError,)),
    "dataset files": Target(broken([DATASET]), read_toml(load_dataset), (InputError,)),
    "recipe files": Target(broken(RECIPES), read_toml(load_recipe), (InputError,)),
    "pictures": Target(
        broken(pictures()) | st.binary(max_size=64),
        lambda content, _: read_character(content, (28, 28)),
        (PictureError,),
    ),
    "records of steps": Target(BODIES | BODIES.map(add_checksum) | broken([add_checksum(RECORD)]), read_record, ()),
    "records of runs": Target(
        BODIES | BODIES.map(add_checksum) | broken([add_checksum(RUN_JSON)]), read_run_record, ()
    ),
    "champions": Target(BODIES | BODIES.map(add_checksum), read_champion, (StorageError,)),
}


def check(target: Target, content: bytes, folder: Path) -> None:
    """Pass an input to a target twice, to measure its time and its memory, and raise an error if anything is wrong.

    Tracing memory makes some readers two hundred times slower, so it must be off while time is measured.
    """
    began = time.thread_time()
    hand_over(target, content, folder)
    seconds = time.thread_time() - began
    tracemalloc.start()
    try:
        hand_over(target, content, folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < SECONDS, f"it took {seconds:.1f} s"
    assert peak < 2 * len(content) + CONSTANT, f"it took {peak:,} bytes for {len(content):,}"


def hand_over(target: Target, content: bytes, folder: Path) -> None:
    """Let a target read an input or reject it with one of its errors."""
    with suppress(*target.errors):
        target.read(content, folder)
