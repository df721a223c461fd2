"""Hash the content of files."""

import hashlib
from pathlib import Path

from tasks.filesystem.regular_files import open_regular


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hex digits.

    Raises:
        OSError: If the path is not a regular file, or if it cannot be read.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
