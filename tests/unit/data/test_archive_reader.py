import gzip
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.config.dataset import Archive, load_dataset
from tasks.data.archive_reader import BYTE, read_archive_blocks
from tasks.data.idx import Header
from tasks.data.pin_dataset import pin_archives
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.errors import ArchiveError, ContentError, DecodeError, IdxFormatError, StorageError
from tasks.schemas.records import SplitRecord
from tasks.storage.content_files import require_valid
from tests.conftest import decoded
from tests.support import data, odd
from tests.support.written import write_idx

IMAGES, LABELS = data.NAMES["test"]


def repacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda archive: gzip.compress(change(gzip.decompress(archive)), mtime=0)


def label_99(unpacked: bytes) -> bytes:
    return unpacked[:18] + b"\x63" + unpacked[19:]


CORRUPTIONS = [
    ("truncated gzip", IMAGES, lambda b: b[:-100], ArchiveError, "not a complete gzip file"),
    ("bytes behind gzip", IMAGES, lambda b: b + b"more", ArchiveError, "bytes follow the end of its gzip data"),
    ("behind two parts", LABELS, lambda b: b + b + b"\x1f", ArchiveError, "bytes follow the end of its gzip data"),
    ("no gzip at all", IMAGES, lambda b: b"PK" + b[2:], ArchiveError, "not a complete gzip file"),
    ("a wrong check sum", IMAGES, lambda b: b[:-8] + b"\0\0\0\0" + b[-4:], ArchiveError, "not a complete gzip file"),
    (
        "broken deflate data",
        IMAGES,
        lambda b: b[:2000] + bytes(200) + b[2200:],
        ArchiveError,
        "not a complete gzip file",
    ),
    ("magic number", IMAGES, repacked(lambda b: b"\1" + b[1:]), IdxFormatError, "two zero bytes"),
    ("unknown type", IMAGES, repacked(lambda b: b[:2] + b"\7" + b[3:]), IdxFormatError, "unknown element type 0x07"),
    (
        "other type",
        IMAGES,
        repacked(lambda b: b[:2] + b"\x09" + b[3:]),
        ContentError,
        "elements of type int8, not uint8",
    ),
    (
        "labels that are no whole numbers",
        LABELS,
        lambda _: gzip.compress(write_idx(np.zeros(300, np.float32))),
        ContentError,
        "elements of type float32, not uint8",
    ),
    (
        "negative label",
        LABELS,
        lambda _: gzip.compress(write_idx(np.full(300, -1, np.int16))),
        ContentError,
        "label -1 at index 0",
    ),
    ("rank", LABELS, lambda _: gzip.compress(write_idx(np.zeros((300, 1), np.uint8))), ContentError, "rank 2, not 1"),
    ("count", LABELS, lambda _: gzip.compress(write_idx(np.zeros(299, np.uint8))), ContentError, "count 299, not 300"),
    ("shape", IMAGES, lambda _: gzip.compress(write_idx(np.zeros((300, 28, 27), np.uint8))), ContentError, "shape"),
    ("label", LABELS, repacked(label_99), ContentError, "label 99 at index 10"),
    ("too short", IMAGES, repacked(lambda b: b[:-1]), IdxFormatError, "ends 1 bytes early"),
    ("too long", LABELS, repacked(lambda b: b + b"\0"), IdxFormatError, "more bytes than its header announces"),
]


@pytest.mark.parametrize(("_what", "name", "corrupt", "error", "says"), CORRUPTIONS, ids=[c[0] for c in CORRUPTIONS])
def test_each_corruption_has_its_own_error(
    files: data.Files,
    work: Workspace,
    _what: str,
    name: str,
    corrupt: Callable[[bytes], bytes],
    error: type[DecodeError],
    says: str,
) -> None:
    files.write(name, corrupt((files.folder / name).read_bytes()))
    dataset = load_dataset(str(files.toml()))
    with pytest.raises(error, match=says) as caught:
        decoded(dataset, work)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((work.root / "splits").glob("test*"))
    assert not list((work.root / "scratch").iterdir())


def test_a_gzip_bomb_is_refused_before_it_unpacks(files: data.Files, work: Workspace) -> None:
    bomb = gzip.compress(write_idx(np.zeros((300, 28, 28), np.uint8)) + bytes(100_000_000))
    files.write(IMAGES, bomb)
    with pytest.raises(IdxFormatError, match="more bytes"):
        decoded(load_dataset(str(files.toml())), work)


def test_images_and_labels_of_different_counts_are_refused(files: data.Files, work: Workspace) -> None:
    files.write(LABELS, gzip.compress(write_idx(data.first(LABELS, 250))))
    with pytest.raises(ContentError, match=f"{LABELS}: count 250, not 300"):
        decoded(load_dataset(str(files.toml())), work)


def test_every_image_comes_back_bit_for_bit(splits: dict[str, SplitRecord], work: Workspace) -> None:
    for name, record in splits.items():
        split = read_split([work.root / record.file.path])
        images, labels = (data.first(archive, data.COUNTS[name]) for archive in data.NAMES[name])
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)


def test_the_record_and_the_file_say_where_they_came_from(splits: dict[str, SplitRecord], work: Workspace) -> None:
    record = splits["test"]
    meta = read_split([work.root / record.file.path]).meta
    assert meta.archives == record.archives
    assert meta.shape == (28, 28)
    assert meta.classes == tuple("0123456789")
    assert record.origin is not None
    assert record.origin.step == "decode test"


def test_an_altered_archive_is_found_out(files: data.Files, work: Workspace, splits: dict[str, SplitRecord]) -> None:
    archive: Path = next((work.root / "archives").glob("t10k-labels*"))
    record = splits["test"].file.model_copy(update={"path": str(archive.relative_to(work.root))})
    with pytest.raises(StorageError, match="bytes, not"):
        require_valid(work.root, record)


def test_a_dataset_very_unlike_mnist_is_read_back_bit_for_bit(tmp_path: Path, work: Workspace) -> None:
    path = odd.make(tmp_path / "odd")
    text, _ = pin_archives(path.read_text(encoding="utf-8"), str(path), path.parent, tmp_path)
    path.write_text(text, encoding="utf-8")
    for name, record in decoded(load_dataset(str(path)), work).items():
        split = read_split([work.root / record.file.path])
        images, labels = odd.arrays(name)
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
        assert (split.labels.dtype, record.shape) == (np.uint16, odd.SHAPE)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"PK\3\4 and no more", "not a readable zip file"), (None, "the zip file has no member inside/images.gz")],
)
def test_a_zip_file_that_is_none_or_lacks_the_member_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = odd.make(tmp_path / "odd")
    with zipfile.ZipFile(path.parent / "test.zip", "w") as files:
        files.writestr("other", b"")
    if content:
        (path.parent / "test.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match=f"test.zip: inside/images.gz: {says}"):
        pin_archives(path.read_text(encoding="utf-8"), str(path), path.parent, tmp_path)


def zip_of(path: Path, names: int) -> Archive:
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("labels", write_idx(np.zeros(3, np.uint8)))
        for number in range(names):
            files.writestr(f"{number:064}", b"")
    return Archive(name=path.name, member="labels", bytes=path.stat().st_size, sha256="0" * 64)


def test_a_zip_file_may_have_many_members_and_its_directory_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many.zip"
    archive, header = zip_of(path, 100), Header(BYTE, (3,))
    assert [block.tolist() for block in read_archive_blocks(path, archive, header, 3)] == [[0, 0, 0]]
    monkeypatch.setattr("tasks.data.archive_reader._ZipReader.max_bytes", 10_000)
    with pytest.raises(
        ArchiveError, match=r"many\.zip: labels: the directory of the zip file has more than 10,000 bytes"
    ):
        list(read_archive_blocks(path, archive, header, 3))


def test_a_directory_that_announces_itself_as_endless_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "announced.zip"
    archive = zip_of(path, 0)
    size = (1 << 20) + 1
    with path.open("ab") as stream:
        stream.truncate(3 * size)  # a hole
        stream.seek(0, 2)
        stream.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, size, 2 * size, 0))
    with pytest.raises(ArchiveError, match="the directory of the zip file has more than 1,048,576 bytes"):
        list(read_archive_blocks(path, archive, Header(BYTE, (3,)), 3))
