"""Open files only if they are regular files, and read them only up to a size limit.

FIFOs, devices, sockets, folders and broken links are rejected, and so is content past the limit, whatever size the
system reports. The `strerror` of the OSError states the reason.
"""

import errno
import io
import os
import stat
from pathlib import Path

from tasks.errors import InputError

_MIB = 1 << 20
MAX_TEXT = 4 * _MIB  # bytes of a file that a user writes; a dataset file with a thousand classes has 0.1 MiB

_KINDS = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a pipe (FIFO)",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
    stat.S_IFSOCK: "it is a socket",
}


def expand_user(given: str | Path, what: str, error_type: type[InputError] = InputError) -> Path:
    """Replace a leading `~` or `~user` of a path that the user named; `what` is the path's name in the message.

    Raises:
        InputError: If no home directory is known for `~` or `~user`; of the class `error_type`.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        unknown = Path(given).parts[0]
        raise error_type(
            f"can't use the {what} {given}: no home directory is known for {unknown}; write the path in full"
        ) from error


def nearest_existing(path: Path) -> Path:
    """Return a path if it exists and can be reached, otherwise the closest folder above it that can."""
    return next(one for one in (path, *path.parents) if os.path.lexists(one) or one == one.parent)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading and follow links.

    Raises:
        OSError: If the path is not a regular file, or if it cannot be opened.
    """
    _check_regular(path, _follow_links(path))
    # O_NONBLOCK: if a FIFO has replaced the file since the check, opening it must not wait for a writer.
    stream = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    try:
        _check_regular(path, os.fstat(stream.fileno()))
    except OSError:
        stream.close()
        raise
    return stream


def _follow_links(path: Path) -> os.stat_result:
    """Return the status of a file, or of the target of a link."""
    try:
        return path.stat()
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise
        raise FileNotFoundError(errno.ENOENT, "it is a broken symbolic link", str(path)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a circular symbolic link", str(path)) from error
        raise


def irregular_kind(path: Path) -> str:
    """Return what a path is that is neither a file nor a folder; empty for these and for missing paths."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _kind_of(mode)


def _kind_of(mode: int) -> str:
    """Return what a path is that is no regular file."""
    return _KINDS.get(stat.S_IFMT(mode), "its type is unknown")


def _check_regular(path: Path, found: os.stat_result) -> None:
    """Reject everything but regular files."""
    if not stat.S_ISREG(found.st_mode):
        what = _kind_of(found.st_mode)
        raise OSError(errno.EINVAL, f"{what}, not a regular file", str(path))


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file of at most `max_bytes` bytes.

    Raises:
        OSError: If the path is not a regular file, cannot be read, or has more bytes.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = b"" if size > max_bytes else stream.read(size + 1)
        # Files below /proc report a size of zero, and some never end. Read in chunks: memory grows with the content.
        while size <= len(content) <= max_bytes and (chunk := stream.read(min(_MIB, max_bytes + 1 - len(content)))):
            content += chunk
        if size > max_bytes or len(content) > max_bytes:
            limit = f"{max_bytes // _MIB:,} MiB" if max_bytes >= _MIB else f"{max_bytes:,} bytes"
            raise OSError(errno.EFBIG, f"it has more than {limit}", str(path))
    return content
