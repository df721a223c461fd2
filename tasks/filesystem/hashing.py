"""Digest: what a file's content is known by."""

import hashlib
from pathlib import Path

from tasks.filesystem.regular_files import open_regular


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: it is no regular file, or can't be read.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
