import errno
import os
from pathlib import Path

import pytest

from tasks.errors import StorageError
from tasks.schemas.records import FileRecord
from tasks.storage.backend import storage_errors
from tasks.storage.content_files import read_document, require_valid, write_content_addressed, write_document
from tasks.storage.roots import validate_root
from tasks.storage.storage import storage_of


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    with (
        pytest.raises(ZeroDivisionError),
        storage_of(tmp_path).atomic_write(path.relative_to(tmp_path).as_posix()) as stream,
    ):
        stream.write(b"half")
        raise ZeroDivisionError
    assert list(path.parent.iterdir()) == []
    with storage_of(tmp_path).atomic_write(path.relative_to(tmp_path).as_posix()) as stream:
        stream.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_failed_write_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with pytest.raises(ZeroDivisionError), storage_of(tmp_path).atomic_write(path.relative_to(tmp_path).as_posix()):
        raise ZeroDivisionError
    assert path.read_bytes() == b"older"


def test_a_name_holds_the_content(tmp_path: Path) -> None:
    one, two = (write_content_addressed(tmp_path, "notes", "note", ".txt", content) for content in (b"a", b"b"))
    assert one.path != two.path
    assert one.sha256[:12] in one.path
    assert require_valid(tmp_path, one).read_bytes() == b"a"


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (Path.unlink, "No such file"),
        (lambda path: path.write_bytes(b"b"), "was altered"),
        (lambda path: path.write_bytes(b"longer"), "has 6 bytes, not 1"),
    ],
)
def test_a_file_that_is_not_what_its_record_says_is_refused(tmp_path: Path, harm, says: str) -> None:  # noqa: ANN001
    record = write_content_addressed(tmp_path, "notes", "note", ".txt", b"a")
    assert storage_of(tmp_path).verify(record) is None
    harm(tmp_path / record.path)
    with pytest.raises(StorageError, match=says):
        require_valid(tmp_path, record)


def test_a_root_is_made_and_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert validate_root(Path("a b/ü")) == tmp_path / "a b" / "ü"
    assert (tmp_path / "a b" / "ü").is_dir()


def test_a_root_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file" / "root", Path(os.devnull)):
        with pytest.raises(StorageError, match="can't write under the root"):
            validate_root(root)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room or give another --root"),
        (OSError("h5py: (error message = 'No space left on device')"), "on device; make room or give another --root"),
        (PermissionError(errno.EACCES, "Permission denied"), "denied; make it writable or give another --root"),
        (OSError(errno.EROFS, "Read-only file system"), "file system; make it writable or give another --root"),
        (FileExistsError(errno.EEXIST, "a symbolic link is in its place: remove the link"), "remove the link"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_another_root_is_suggested_if_that_helps(error: OSError, says: str) -> None:
    with pytest.raises(StorageError) as caught, storage_errors("file"):
        raise error
    assert str(caught.value).startswith("can't write file: ")
    assert str(caught.value).endswith(says)


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    value = FileRecord(path="x", bytes=1, sha256="0" * 64)
    file = write_document(tmp_path, "notes", "note", value)
    assert read_document(tmp_path, file, FileRecord) == value
    (tmp_path / file.path).write_bytes(b"{}")
    with pytest.raises(StorageError, match="run again to recreate it"):
        read_document(tmp_path, file, FileRecord)


def test_a_full_disk_is_reported_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.fail("this system has no /dev/full to test with")
    record = FileRecord(path="x", bytes=1, sha256="0" * 64)
    assert record.bytes == 1
    with (
        pytest.raises(StorageError, match="No space left on device"),
        storage_of(tmp_path).atomic_write("file") as stream,
    ):
        with Path("/dev/full").open("wb", buffering=0) as full:
            os.dup2(full.fileno(), stream.fileno())
        stream.write(b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []
