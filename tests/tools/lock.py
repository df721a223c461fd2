"""Check that requirements.lock matches pyproject.toml; with `--write`, update it.

A locked version stays as long as pyproject.toml allows it, so the lock matches if another resolution changes nothing.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
LOCK = PROJECT / "requirements.lock"


def resolve(lock: Path, *options: str) -> None:
    """Resolve all dependencies and write them to `lock`, without the URL of a package index."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--generate-hashes",
        "--extra",
        "dev",
    ]
    named = ["--custom-compile-command", "make lock", "--no-emit-index-url", "--no-emit-find-links"]
    subprocess.run(
        [*command, *named, *options, PROJECT / "pyproject.toml", "--output-file", lock], cwd=PROJECT, check=True
    )


def main() -> None:
    """Check the lock, or update it with `--write`."""
    if "--write" in sys.argv:
        resolve(LOCK, *(["--upgrade"] if "--upgrade" in sys.argv else []))
        return
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / LOCK.name
        shutil.copy(LOCK, again)
        resolve(again)
        if again.read_text() != LOCK.read_text():
            sys.exit("requirements.lock does not match pyproject.toml: run `make lock`")


if __name__ == "__main__":
    main()
