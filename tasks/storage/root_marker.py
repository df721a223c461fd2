"""Mark a folder as a root, recognize folders that lack a mark, and sign the names of temporary files.

The mark is a file with a random token. The names of temporary files, locks and folders of unfinished work are signed
with this token. The signature proves at any time that a name was created under this root, without a list that a kill
could truncate.
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

from tasks.errors import StorageError
from tasks.filesystem.regular_files import read_regular
from tasks.storage.folders import CONTENT_NAME, KEY, MARK, RUN_NAME, Folder
from tasks.storage.locks import try_lock

_FORMAT = 1
_ABOUT = "mnist keeps its files in this folder, and removes only files that it created; see `mnist prune --help`"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_SIGNATURE = re.compile(r"\.([0-9a-f]{16})(?=\.|$)")
_MIRROR, _VOLUME = "mirror", "lost+found"  # in data/ of a clone, and in a new volume
# Files that a run creates before its first record, in earlier versions and in this version (a backup may omit the
# hidden mark). The signatures of these names can no longer be verified, so the files are kept: cleanup removes only
# files that the new mark has signed.
_SIGNED = r"\.[0-9a-f]{16}"
_EARLY = re.compile(
    rf"{Folder.LOCKS}(/(root|{KEY.pattern}({_SIGNED})?)\.lock)?"
    rf"|{Folder.SCRATCH}(/{RUN_NAME.pattern}-(\w{{8}}(/[\w.-]+)?|[0-9a-f]{{8}}{_SIGNED}(\.[\w.]+)?))?"
    rf"|{Folder.UNFINISHED}(/{KEY.pattern}({_SIGNED})?(/[\w.-]+)?)?"
    rf"|{Folder.ARCHIVES}(/({CONTENT_NAME.pattern}|\.[\w.-]+\.part))?"
    rf"|{Folder.RECORDS}(/\.{KEY.pattern}\.json\.\w+\.part)?"
    rf"|{Folder.RUNS}(/{RUN_NAME.pattern}(/claim\.json|/\.[\w.-]+\.part)?)?"
    rf"|{Folder.MADE}(/[0-9a-f]{{16}}\.json|/\.[\w.-]+\.part)?"
    rf"|{Folder.SPLITS}"
)

_MAX_MARK = 4096  # bytes; a mark has about 200


class Mark(NamedTuple):
    """The token of a root, which signs names."""

    token: str

    def signature(self, stem: str, suffix: str) -> str:
        """Return the signature of a name: 16 hex digits of an HMAC-SHA-256 with the token as the key."""
        return hmac.digest(self.token.encode(), f"{stem}{suffix}".encode(), "sha256").hex()[:16]

    def signed(self, stem: str, suffix: str = "") -> str:
        """Return a name with its signature before the suffix."""
        return f"{stem}.{self.signature(stem, suffix)}{suffix}"

    def has_signed(self, name: str) -> bool:
        """Return whether a name has the signature of this root."""
        return any(
            hmac.compare_digest(found[1], self.signature(name[: found.start()], name[found.end() :]))
            for found in _SIGNATURE.finditer(name)
        )


def new_mark() -> bytes:
    """Return the content of a mark file with a new token."""
    token = secrets.token_hex(16)
    return json.dumps({"format": _FORMAT, "token": token, "about": _ABOUT}, indent=1).encode() + b"\n"


def read_mark(content: bytes, place: object) -> Mark:
    """Return the mark in the content of a mark file.

    Raises:
        StorageError: If the content is not a mark, or is that of a later version.
    """
    try:
        found = json.loads(content)
        if found["format"] == _FORMAT and re.fullmatch("[0-9a-f]{32}", found["token"]):
            return Mark(found["token"])
    except (ValueError, KeyError, TypeError):
        pass
    raise StorageError(
        f"{place} is not the mark of a root, or a later version wrote it: move it away, or upgrade mnist"
    )


def find_mark(folder: Path) -> Mark | None:
    """Return the mark of a folder, or None if it has no mark.

    An empty mark file counts as no mark: another process is about to write it.

    Raises:
        StorageError: If the mark file is not a regular file or does not hold a mark.
        OSError: If the mark file cannot be read.
    """
    path = folder / MARK
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{path} is not the mark of a root, but a link or a folder: move it away")
    content = read_regular(path, _MAX_MARK)
    return read_mark(content, path) if content else None


def mark_root(folder: Path) -> Mark:
    """Return the mark of a folder; create the folder and the mark if they are missing.

    An existing file with the name of the mark is never replaced.

    Raises:
        StorageError: If the existing file does not hold a mark, or if the file system has no locks.
        OSError: If the mark cannot be written.
    """
    if mark := find_mark(folder):
        return mark
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / MARK, "r+b", opener=_create_without_following) as stream:
        try_lock(stream, exclusive=True, wait=True)  # so that only one of several processes writes the mark
        if not (content := stream.read(_MAX_MARK)):
            content = new_mark()
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    return read_mark(content, folder / MARK)


def _create_without_following(path: str, _flags: int) -> int:
    """Open a file for reading and writing, created if it is missing; a link is an error."""
    return os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)


def mark_above(path: Path) -> Mark | None:
    """Return the mark of the root that contains a path, or None if the path is not under a root."""
    for folder in path.parents:
        try:
            if mark := find_mark(folder):
                return mark
        except OSError:
            return None
    return None


def is_real_folder(root: Path, name: str) -> bool:
    """Return whether a path under the root is a folder and no part of the path is a link."""
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
    """Yield the entries of a folder under the root whose names are signed by the root, without links.

    Nothing is yielded if the folder is missing or is reached through a link.
    """
    if is_real_folder(root, name):
        with os.scandir(root / name) as found:
            names = [entry.name for entry in found if not entry.is_symlink() and mark.has_signed(entry.name)]
        yield from (root / name / one for one in sorted(names))


def initial_entries(root: Path) -> set[str]:
    """Return the names of the entries that a clone or a new volume contains, and of a mark that may still be empty."""
    names = {MARK}
    if _is_offline_mirror(root):
        names.add(_MIRROR)
    if is_real_folder(root, _VOLUME):
        names.add(_VOLUME)
    return names


def is_interrupted_first_run(root: Path) -> bool:
    """Return whether a folder holds only files, in their places, of a run that was killed before its first record."""
    lock = root / Folder.LOCKS / "root.lock"
    if not is_real_folder(root, Folder.LOCKS) or lock.is_symlink() or not lock.is_file() or lock.stat().st_size:
        return False
    for folder, inside, files in os.walk(root):
        if Path(folder) == root:
            allowed = {_VOLUME, *initial_entries(root)}
            inside[:] = [name for name in inside if name not in allowed]
        for name in (*inside, *files):
            path = Path(folder, name)
            if path.is_symlink() or not _EARLY.fullmatch(path.relative_to(root).as_posix()):
                return False
    return True


def _is_offline_mirror(root: Path) -> bool:
    """Return whether the mirror in the data folder of a clone holds only files of the repository."""
    from tasks.config.dataset import load_dataset  # noqa: PLC0415  # needed only for the first run of a clone

    if not is_real_folder(root, f"{_MIRROR}/mnist") or [path.name for path in (root / _MIRROR).iterdir()] != ["mnist"]:
        return False
    names = {"README.md", *(archive.name for archive in load_dataset("mnist").archives())}
    found = list((root / _MIRROR / "mnist").iterdir())
    return all(path.name in names and stat.S_ISREG(path.lstat().st_mode) for path in found)
