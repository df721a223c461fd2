"""Mark: the file that makes a folder a root, and the signature in the names of what is made there only for a while.

The mark holds a random token. A temporary file, a lock and a folder for what is unfinished bear in their names a signature by
this token. So a name proves that it was given under this very root, at every moment, with no list that a kill could cut short.
"""

import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import portalocker
from portalocker import LockFlags

from tasks.errors import StorageError
from tasks.storage.folders import MARK

_FORMAT = 1
_ABOUT = "mnist keeps its files in this folder, and removes only what it has made here; see `mnist prune --help`"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_SIGNATURE = re.compile(r"\.([0-9a-f]{16})(?=\.|$)")


class Mark(NamedTuple):
    """The token of a root, which signs names."""

    token: str

    def signature(self, stem: str, suffix: str) -> str:
        """16 hex digits that only this token gives."""
        return hmac.digest(self.token.encode(), f"{stem}{suffix}".encode(), "sha256").hex()[:16]

    def signed(self, stem: str, suffix: str = "") -> str:
        """A name with its signature, before the suffix."""
        return f"{stem}.{self.signature(stem, suffix)}{suffix}"

    def has_signed(self, name: str) -> bool:
        """Whether a name bears the signature of this root."""
        return any(
            hmac.compare_digest(found[1], self.signature(name[: found.start()], name[found.end() :]))
            for found in _SIGNATURE.finditer(name)
        )


def new_mark() -> bytes:
    """The content of a mark with a token of its own."""
    token = secrets.token_hex(16)
    return json.dumps({"format": _FORMAT, "token": token, "about": _ABOUT}, indent=1).encode() + b"\n"


def read_mark(content: bytes, place: object) -> Mark:
    """The mark that a file holds.

    Raises:
        StorageError: it holds none, or that of a later version.
    """
    try:
        found = json.loads(content)
        if found["format"] == _FORMAT and re.fullmatch("[0-9a-f]{32}", found["token"]):
            return Mark(found["token"])
    except (ValueError, KeyError, TypeError):
        pass
    raise StorageError(f"{place} is not the mark of a root, or is that of a later version: move it away, or upgrade")


def find_mark(folder: Path) -> Mark | None:
    """The mark of a folder; None if it bears none. An empty one is about to be written.

    Raises:
        StorageError: there is a file of that name that is none.
        OSError: it can't be read.
    """
    path = folder / MARK
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{path} is not the mark of a root, but a link or a folder: move it away")
    content = path.read_bytes()
    return read_mark(content, path) if content else None


def mark_root(folder: Path) -> Mark:
    """The mark of a folder, made where there is none. What stands in a file of that name already is never replaced.

    Raises:
        StorageError: there is a file of that name that is none, or the file system has no locks.
        OSError: it can't be written.
    """
    if mark := find_mark(folder):
        return mark
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / MARK, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666), "r+b") as stream:
        try:
            portalocker.lock(stream, LockFlags.EXCLUSIVE)  # so that of several processes one writes it
        except portalocker.LockException as error:
            reason = f"can't lock {folder / MARK}: {error}"
            raise StorageError(f"{reason}; give a --root on a file system with locks") from error
        if not (content := stream.read()):
            content = new_mark()
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    return read_mark(content, folder / MARK)


def mark_above(path: Path) -> Mark | None:
    """The mark of the root that a path lies in, if there is one."""
    for folder in path.parents:
        try:
            if mark := find_mark(folder):
                return mark
        except OSError:
            return None
    return None


def is_real_folder(root: Path, name: str) -> bool:
    """Whether a folder under the root is one, and no link on the way to it leads elsewhere."""
    path = root
    for part in Path(name).parts:
        path /= part
        try:
            if not stat.S_ISDIR(path.lstat().st_mode):
                return False
        except OSError:
            return False
    return True


def signed_paths(root: Path, name: str, mark: Mark) -> Iterator[Path]:
    """The entries of a folder under the root whose names the root has signed; none where a link leads elsewhere."""
    if is_real_folder(root, name):
        with os.scandir(root / name) as found:
            names = [entry.name for entry in found if not entry.is_symlink() and mark.has_signed(entry.name)]
        yield from (root / name / one for one in sorted(names))
