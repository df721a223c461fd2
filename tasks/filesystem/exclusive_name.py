"""Claim: give a finished file a name that only one of several processes gets.

A hard link does so in one call. exFAT, SMB and some FUSE file systems have no hard links: there, the file is renamed under a
lock, which the system takes away from a process that dies. Either way the name is free, or leads to a whole file.
"""

import errno
import os
from pathlib import Path


def claim_name(written: Path, path: Path, lock: Path) -> None:
    """Give `written` the name `path` if that is free; `lock` is a file to lock where there are no hard links.

    The temporary name may stay, for the caller to remove.

    Raises:
        FileExistsError: The name is taken.
        OSError: The system refuses.
    """
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:
        _rename_alone(written, path, lock)


def _rename_alone(written: Path, path: Path, lock: Path) -> None:
    """Rename a file to a name that must be free, one process at a time.

    Raises:
        FileExistsError: The name is taken.
        OSError: The system refuses.
    """
    import portalocker  # noqa: PLC0415  # of use only here

    with lock.open("ab") as stream:
        portalocker.lock(stream, portalocker.LockFlags.EXCLUSIVE)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        written.rename(path)
