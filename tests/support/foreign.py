"""Create foreign files under every name that the project uses: beside its folders, inside them and behind links."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.storage.folders import MARK, RUN_NAME, Folder

TEXT = b"a chapter of a thesis\n"
BY_CONTENT = f"thesis-{hashlib.sha256(TEXT).hexdigest()[:12]}.keras"  # the name that a file of ours would have
# Names in the forms that the project uses, but which none of its files has.
NAMES = (
    "thesis.txt",
    BY_CONTENT,
    "thesis-0123456789ab.parquet",
    "thesis-0123456789abcdef.json",
    "thesis-0123456789abcdef.lock",
    ".thesis.txt.0123abcd.part",
    ".thesis.txt.0123abcd.0123456789abcdef.part",
    "thesis.0123456789abcdef.lock",
    "20260101-000000-some-run-thesis-0123abcd.0123456789abcdef.keras",
    "thesis.gz.partial",
    "state.json",
    "epoch-00001-0123456789ab.weights.h5",
    "report.html",
    "one..other.html",
    "run.json",
    "study.json",
    "root.lock.txt",
    ".thesis.tag",
    "CACHEDIR.TAG",
)
FOLDERS = (
    "thesis",
    "exp1",
    "20260101-000000-some-run",
    "train-0123456789abcdef",
    "train-0.0123456789abcdef",
    ".fetched-x",
)


class Seen(NamedTuple):
    """The state of one path: its kind and mode, and its bytes or the target of its link."""

    mode: int
    content: bytes


class Seeds:
    """Foreign paths and their original states."""

    def __init__(self) -> None:
        self.seen: dict[Path, Seen] = {}

    def add(self, path: Path, content: bytes = TEXT) -> None:
        """Create a file if the path is free."""
        if not os.path.lexists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            self.watch(path)

    def link(self, path: Path, target: Path) -> None:
        """Create a link if the path is free."""
        if not os.path.lexists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
            self.watch(path)

    def watch(self, path: Path) -> None:
        """Record the current state of a path."""
        self.seen[path] = look(path)

    def lost(self) -> list[str]:
        """Return the paths that are missing or changed."""
        return [str(path) for path, seen in self.seen.items() if not os.path.lexists(path) or look(path) != seen]


def look(path: Path) -> Seen:
    """Return the current state of a path."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return Seen(mode, os.fsencode(path.readlink()))
    return Seen(mode, path.read_bytes() if stat.S_ISREG(mode) else b"")


def seed(root: Path, outside: Path, seeds: Seeds) -> None:
    """Create foreign files under a root: beside every folder, inside it, and behind links in it to folders `outside`."""
    seeds.add(outside / "thesis.txt")
    for folder in Folder:
        seeds.add(root / f"{folder}.txt")
        seeds.add(root / f"{folder}.old" / "thesis.txt")
        for inside in folders_in(root / folder):
            fill(inside, outside / folder, seeds)
        seeds.add(root / folder / "root.lock")
    for name in ("thesis.txt", f"{MARK}.txt", f".{MARK}.0123abcd.part", "CACHEDIR.TAG", ".thesis.part", "CHANGES"):
        seeds.add(root / name)


def folders_in(folder: Path) -> Iterator[Path]:
    """Yield a folder and its subfolders: the project's own and foreign ones."""
    yield folder
    yield from (path for path in sorted(folder.glob("*")) if path.is_dir() and not path.is_symlink())
    yield from (folder / name for name in FOLDERS)


def fill(folder: Path, outside: Path, seeds: Seeds) -> None:
    """Create files and links with every name in one folder."""
    # In the folder of a run, a foreign record looks like a broken record of the project: prune asks the user to move it.
    own = {"run.json", "study.json"} if RUN_NAME.fullmatch(folder.name) else set[str]()
    for name in (name for name in NAMES if name not in own):
        seeds.add(folder / name)
        seeds.add(outside / name)
        seeds.link(folder / f"link-to-{name}", outside / name)
        seeds.link(folder / f".link.{name}.0123abcd.part", outside / name)
    seeds.link(folder / "linked-0123456789ab.keras", outside / BY_CONTENT)
    seeds.link(folder / "linked", outside)
    seeds.link(folder / "20260101-000001-linked-run", outside.with_name("empty"))
    seeds.link(folder / "nowhere", outside / "nowhere")


def behind_links(root: Path, outside: Path, seeds: Seeds) -> None:
    """Move every folder of a root elsewhere, add foreign files to it, and replace it with a link."""
    for folder in Folder:
        there = outside / folder
        there.parent.mkdir(parents=True, exist_ok=True)
        if (root / folder).is_dir():
            (root / folder).rename(there)
        there.mkdir(exist_ok=True)
        fill(there, outside / "further", seeds)
        seeds.link(root / folder, there)
