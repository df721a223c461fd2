"""Data sets: which archives there are, what they must hold, and where they may be had.

In: the name of a built-in data set or the path of a TOML file. Out: a frozen Dataset.
Refuses: an unknown name, a file that can't be read, a value that is missing, unknown or out of range.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from tasks.errors import DatasetError, InputError
from tasks.records import Frozen
from tasks.toml import BUILTIN, load

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class Archive(Frozen):
    """One gzip file: its name on every mirror, its size in bytes, and its SHA-256 in hex."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]
    bytes: int = Field(gt=0)
    sha256: Sha256


class Split(Frozen):
    """The archives of one split, and how many images they hold."""

    count: int = Field(gt=0, lt=2**31)
    images: Archive
    labels: Archive


class Dataset(Frozen):
    """What the archives of a data set must hold: `shape` is (rows, columns), `classes` the names by label."""

    name: Name
    title: str
    licence: str
    classes: tuple[str, ...] = Field(min_length=2, max_length=256)
    shape: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    mirrors: tuple[str, ...] = ()
    train: Split
    test: Split

    def archives(self) -> Iterator[Archive]:
        """All four archives, images before labels, training before test."""
        for split in (self.train, self.test):
            yield from (split.images, split.labels)


def load_dataset(name_or_path: str, mirrors: Sequence[str] = ()) -> Dataset:
    """Load a data set; `mirrors` come before its own, the offline mirror of a built-in one last.

    Raises:
        DatasetError: it is unknown, unreadable or half-specified.
        InputError: a mirror that is neither an http, https or file URL nor a folder.
    """
    dataset, folder = load(name_or_path, Dataset, "data set", DatasetError)
    named = (*mirror_urls(mirrors, Path.cwd()), *mirror_urls(dataset.mirrors, folder))
    return dataset.model_copy(update={"mirrors": (*named, *offline_mirrors(dataset.name, folder))})


def offline_mirrors(name: str, folder: Path) -> Iterator[str]:
    """The mirror that comes with the project, for a built-in data set: in the repository, or in the installed package."""
    if folder == BUILTIN / "datasets":
        places = (BUILTIN.parents[1] / "data" / "mirror" / name, BUILTIN / "mirror" / name)
        yield from (place.as_uri() for place in places if place.is_dir())


def mirror_urls(mirrors: Sequence[str], folder: Path) -> Iterator[str]:
    """Mirrors as URLs; a plain path counts from `folder`.

    Raises:
        InputError: it is no URL that can be fetched from, and no folder.
    """
    for mirror in mirrors:
        try:
            yield mirror_url(mirror, folder)
        except (OSError, RuntimeError, ValueError) as error:  # no URL, no folder, no home of that user
            raise InputError(f"mirror {mirror!r} is neither an http, https or file URL nor a folder") from error


def mirror_url(mirror: str, folder: Path) -> str:
    """One mirror as a URL.

    Raises:
        ValueError: it is none.
        OSError: it is no folder.
    """
    if urlsplit(mirror).scheme in ("http", "https", "file"):
        return mirror
    path = (folder / Path(mirror).expanduser()).resolve(strict=True)
    if not path.is_dir():
        raise NotADirectoryError(path)
    return path.as_uri()
