"""Test that a file which the user has named keeps its other properties when its content is replaced."""

import errno
import os
import stat
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import StorageError
from tasks.storage.output_files import check_rewritable, rewrite_file
from tasks.storage.storage import storage_of

ACL = "system.posix_acl_access"


def write(path: Path) -> None:
    with rewrite_file(path) as stream:
        stream.write(b"after")


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path) -> None:
    target, link, other = tmp_path / "folder" / "file", tmp_path / "link", tmp_path / "other"
    target.parent.mkdir()
    target.write_bytes(b"before")
    link.symlink_to(other)
    other.symlink_to(target)
    write(link)
    assert (link.is_symlink(), other.is_symlink()) == (True, True)
    assert target.read_bytes() == b"after"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o755])
def test_a_mode_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    with storage_of(tmp_path).atomic_write(path.name) as stream:
        stream.write(b"later")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def acl(group: int = 0, mask: int = 6) -> bytes:
    """Return an access control list with the rights of mode 0600, read and write access for another user, and a mask."""
    entries = ((0x01, 6, -1), (0x02, 6, 65534), (0x04, group, -1), (0x10, mask, -1), (0x20, 0, -1))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def set_acl(path: Path, name: str = "access") -> None:
    try:
        os.setxattr(path, f"system.posix_acl_{name}", acl())
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")


def write_under_root(path: Path) -> None:
    with storage_of(path.parent).atomic_write(path.name) as stream:
        stream.write(b"after")


@pytest.mark.parametrize("writes", [write, write_under_root])
def test_an_access_control_list_stays_and_none_is_added(tmp_path: Path, writes: Callable[[Path], None]) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    for one in (path, other):
        one.write_bytes(b"before")
        one.chmod(0o640)
    set_acl(path)
    set_acl(tmp_path, "default")  # which new files get
    for one in (path, other):
        writes(one)
        assert one.read_bytes() == b"after"
    assert os.getxattr(path, ACL) == acl()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660  # the mask is shown as the rights of the group
    assert stat.S_IMODE(other.stat().st_mode) == 0o640
    assert ACL not in os.listxattr(other)


@pytest.mark.parametrize("writes", [write, write_under_root])
def test_a_list_that_cannot_be_kept_leaves_rights_to_the_owner_alone(
    tmp_path: Path, writes: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    set_acl(path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no lists")

    monkeypatch.setattr(os, "setxattr", refuse)
    writes(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_with_another_hard_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    os.link(path, tmp_path / "other")
    for refused in (write, check_rewritable):
        with pytest.raises(StorageError, match=r"it has another hard link, which .*; nothing was changed"):
            refused(path)
    assert path.samefile(tmp_path / "other")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_file_has_the_mode_that_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "one")
        with storage_of(tmp_path).atomic_write("other") as stream:
            stream.write(b"after")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_an_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    os.chown(path, 65534, 65533)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another account for a while"
)
@pytest.mark.parametrize(
    ("group", "mode", "after"),
    [
        ("shared", 0o660, (1234, 4321, 0o660)),
        ("shared", 0o4664, (1234, 4321, 0o664)),
        ("foreign", 0o666, (1234, 1234, 0o666)),
        ("foreign", 0o6642, (1234, 1234, 0o600)),
        ("foreign", 0o606, (1234, 1234, 0o600)),
    ],
)
def test_what_another_account_lets_others_write_is_written_with_no_more_rights(
    group: str, mode: int, after: tuple[int, int, int]
) -> None:
    groups = os.getgroups()
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name, "file")
        folder.chmod(0o777)
        path.write_bytes(b"before")
        os.chown(path, 65534, {"shared": 4321, "foreign": 65533}[group])
        path.chmod(mode)
        try:
            os.setgroups([4321])
            os.setegid(1234)
            os.seteuid(1234)
            write(path)
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
        found = path.stat()
        assert path.read_bytes() == b"after"
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == after


def test_read_only_and_irregular_files_are_rejected_even_for_root(tmp_path: Path) -> None:
    path, fifo = tmp_path / "file", tmp_path / "fifo"
    path.write_bytes(b"before")
    path.chmod(0o444)
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(path)
    for one, says in ((path, "read-only"), (tmp_path / "link", "read-only"), (fifo, "not a regular file")):
        with pytest.raises(StorageError, match=f"can't write {one}: it is {says}; nothing was changed"):
            write(one)
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 3


def test_an_interrupted_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), rewrite_file(path) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_under_a_root_a_link_is_not_replaced_either(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("thesis")
    with (
        pytest.raises(StorageError, match="is in its place: remove the link"),
        storage_of(tmp_path).atomic_write("link"),
    ):
        pass
    assert (tmp_path / "link").is_symlink()
