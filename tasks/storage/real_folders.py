"""Find the places under a root where files are written, without following links that a user has put there.

A root itself may be reached through links: the user named it. A link under the root leads to files that are not the
project's, so nothing is written behind it.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tasks.errors import StorageError
from tasks.schemas.root_paths import path_under_root


def real_path(root: Path, name: str) -> Path:
    """Return a path under a root, none of whose parts below the root is a link; the path may be missing.

    Raises:
        StorageError: If the name leads out of the root, or if a part of it is a link.
    """
    return _refuse_links(root, _parts_of(root, name))


def real_place(root: Path, name: str) -> Path:
    """Return the path of a file under a root, after creating its folder.

    The file itself may be a link, which the caller must replace or reject.

    Raises:
        StorageError: If the name leads out of the root, or if a folder on the way is a link.
        OSError: If the folder cannot be created.
    """
    *above, last = _parts_of(root, name)
    folder = _refuse_links(root, above)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / last


def _parts_of(root: Path, name: str) -> Sequence[str]:
    """Return the parts of a path under a root; at least one."""
    try:
        return PurePosixPath(path_under_root(name)).parts
    except ValueError as error:
        raise StorageError(f"can't write {name!r} under the root {root}: {error}") from error


def _refuse_links(root: Path, parts: Sequence[str]) -> Path:
    """Return the path with these parts under a root, none of which is a link."""
    path = root
    for part in parts:
        path /= part
        if path.is_symlink():
            raise StorageError(
                f"can't write under the root {root}: {path} is a symbolic link, and nothing is written through links "
                "there; replace the link by a file or folder, or give another --root"
            )
    return path
