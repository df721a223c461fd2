"""Regular files: what a user names, or what lies under a root, is opened only if it is a file that ends.

In: a path. Out: a stream, or the bytes. Refuses, as an OSError whose `strerror` says why: a FIFO, a device, a socket, a folder,
a link to nothing, and more bytes than a limit, whatever size the system claims. And `~` of an unknown user.
"""

import errno
import io
import os
import stat
from pathlib import Path

from tasks.errors import InputError

_MIB = 1 << 20
MOST_TEXT = 4 * _MIB  # of a file that a person writes: a data set with a thousand classes has 0.1 MiB

_KINDS = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a pipe (FIFO)",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
    stat.S_IFSOCK: "it is a socket",
}


def expand_user(given: str | Path, what: str, refusal: type[InputError] = InputError) -> Path:
    """Replace a leading `~` or `~user` of a path that a user has named.

    Raises:
        refusal: no home directory is known for it.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        unknown = Path(given).parts[0]
        raise refusal(
            f"can't use the {what} {given}: no home directory is known for {unknown}; write the path in full"
        ) from error


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; links are followed.

    Raises:
        OSError: it is none, or can't be opened.
    """
    _check_regular(path, _follow_links(path))
    # Without waiting for a writer, should a FIFO have taken the file's place.
    stream = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    try:
        _check_regular(path, os.fstat(stream.fileno()))
    except OSError:
        stream.close()
        raise
    return stream


def _follow_links(path: Path) -> os.stat_result:
    """What the system says of a file, or of the one that a link leads to.

    Raises:
        OSError: it leads nowhere, or in a circle.
    """
    try:
        return path.stat()
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise
        raise FileNotFoundError(errno.ENOENT, "it is a broken symbolic link", str(path)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link that leads in a circle", str(path)) from error
        raise


def _check_regular(path: Path, found: os.stat_result) -> None:
    """Refuse what is no regular file.

    Raises:
        OSError: it is none.
    """
    if not stat.S_ISREG(found.st_mode):
        what = _KINDS.get(stat.S_IFMT(found.st_mode), "it is of an unknown kind")
        raise OSError(errno.EINVAL, f"{what}, not a regular file", str(path))


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file, up to a limit.

    Raises:
        OSError: it is no regular file, can't be read, or has more bytes.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = b"" if size > most else stream.read(size + 1)
        # Files below /proc claim to be empty, and some of them never end. Memory is taken as their bytes come.
        while size <= len(content) <= most and (chunk := stream.read(min(_MIB, most + 1 - len(content)))):
            content += chunk
        if size > most or len(content) > most:
            raise OSError(errno.EFBIG, f"it has more than {_limit(most)}", str(path))
    return content


def _limit(most: int) -> str:
    """A number of bytes as a person says it."""
    return f"{most // _MIB:,} MiB" if most >= _MIB else f"{most:,} bytes"
