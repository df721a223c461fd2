"""Give a finished file a name that only one of several processes can get.

A hard link claims the name in a single call. exFAT, SMB and some FUSE file systems have no hard links. There, the
file is renamed under a lock, which the system releases when its process dies. Either way, the name is free or refers
to a complete file.
"""

import errno
import os
from pathlib import Path


def claim_name(written: Path, path: Path, lock: Path) -> None:
    """Give the file `written` the name `path` if that name is free.

    The temporary name may remain; the caller removes it.

    Args:
        written: A complete file in the same file system.
        path: The name to claim.
        lock: A file to lock where hard links are not available.

    Raises:
        FileExistsError: If the name is taken.
        OSError: If the operating system rejects the operation.
    """
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:
        _rename_alone(written, path, lock)


def _rename_alone(written: Path, path: Path, lock: Path) -> None:
    """Rename a file to a name that must be free, while holding a lock."""
    import portalocker  # noqa: PLC0415  # needed only on file systems without hard links

    with lock.open("ab") as stream:
        portalocker.lock(stream, portalocker.LockFlags.EXCLUSIVE)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        written.rename(path)
