"""Define the types of names in records that become paths under a root.

Records can come from other accounts, for example from a bucket. A record whose path leads out of the root is as broken
as one with a wrong checksum: it does not validate, so no code ever joins such a path to a folder.
"""

import unicodedata
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

_REJECTED = {"Cc", "Cs"}  # Unicode categories: control characters, and halves of surrogate pairs


def path_under_root(path: str) -> str:
    """Return a path if it is relative and leads to a place under the root, without `..`, `.` and empty parts.

    Raises:
        ValueError: If it is anything else, or if it holds a backslash or a control character.
    """
    parts = PurePosixPath(path).parts
    if not parts or "/".join(parts) != path or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("a path under a root must be relative, with / between its parts and without `..`")
    if any(unicodedata.category(character) in _REJECTED for character in path):
        raise ValueError("a path under a root must not hold control characters")
    return path


def path_part(name: str) -> str:
    """Return a name if it is a single part of a path under the root.

    Raises:
        ValueError: If the name has several parts, or is not a valid path under a root.
    """
    if "/" in name:
        raise ValueError("a name of a file or folder under a root must not hold a /")
    return path_under_root(name)


RootPath = Annotated[str, AfterValidator(path_under_root)]
PathPart = Annotated[str, AfterValidator(path_part)]
