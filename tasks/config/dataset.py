"""Data sets: which archives there are, what they must hold, and where they may be had.

In: the name of a built-in data set or the path of a TOML file. Out: a frozen Dataset.
Refuses: an unknown name, a file that can't be read, a value that is missing, unknown or out of range.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tasks.base import TEST, TRAIN, Frozen
from tasks.config.toml_loader import BUILTIN, read_toml, validate
from tasks.errors import DatasetError, InputError
from tasks.safety.address import Address

_SCHEMES = ("http", "https", "file")
_MOST_NAME = 150  # bytes of an archive's name
SPLITS, KINDS = (TRAIN, TEST), ("images", "labels")  # as the tables of a data set's file are called

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Names become parts of the names of files, which systems limit to 255 bytes, two of them and a hash in one.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
ClassName = Annotated[str, StringConstraints(pattern=r"\S", max_length=200)]
Size = Annotated[int, Field(gt=0, le=4096)]  # pixels of a side


def _file_name(name: str) -> str:
    """Refuse what can't be the name of a file, on every system and under every mirror, with a hash and a suffix behind it.

    Raises:
        ValueError: it is empty, leads to another folder, holds other characters, or is too long.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            "an archive's name, which is the end of the first of its `urls` if it has no `name`, consists of letters, "
            'digits, _, - and .: give the archive one of its own, such as name = "images.gz"'
        )
    if len(name.encode()) > _MOST_NAME:
        raise ValueError(f"a file's name has at most {_MOST_NAME} bytes here")
    return name


class Archive(Frozen):
    """One file that can be had: its name on every mirror, its size in bytes, and its SHA-256 in hex.

    It is an IDX file, by itself or as gzip; or a zip file that holds one of these as `member`. `urls` are addresses of its own,
    or local paths.
    """

    name: Annotated[str, AfterValidator(_file_name)]
    member: str | None = Field(default=None, min_length=1)
    urls: tuple[Address, ...] = Field(default=(), exclude=True)  # where it is had from does not shape a result
    bytes: int = Field(gt=0)
    sha256: Sha256

    @model_validator(mode="before")
    @classmethod
    def named(cls, values: Any) -> Any:
        """What only has addresses is called as the first of them."""
        if isinstance(values, dict) and "name" not in values and isinstance(urls := values.get("urls"), list) and urls:
            path = re.split(r"[?#]", Address(str(urls[0])))[0]  # of the public form: a name is printed
            return {"name": "_".join(unquote(re.split(r"[/\\]", path)[-1]).split()), **values}
        return values

    @property
    def whole(self) -> "Archive":
        """The file itself, whatever of it is used."""
        return self.model_copy(update={"member": None})

    @property
    def called(self) -> str:
        """How it is called in what a person reads."""
        return f"{self.name}: {self.member}" if self.member else self.name

    def places(self, mirrors: Sequence[str]) -> dict[Address, str]:
        """Where it may be had, in order: its addresses, and the mirror that each stands for, as it may be shown."""
        found = {url: url.removesuffix(quote(self.name)).rstrip("/") for url in self.urls}
        return found | {Address(mirror).child(self.name): str(Address(mirror)) for mirror in mirrors}


class SplitSpec(Frozen):
    """The archives of one split, and how many images they hold."""

    count: int = Field(gt=0, lt=2**31)
    images: Archive
    labels: Archive


class Dataset(Frozen):
    """What the archives of a data set must hold.

    `shape` is (rows, columns), or (rows, columns, channels) with 1 or 3 channels; `classes` the names of the labels, which are
    numbered from `first_label` on. `transposed` says that the archives hold each image column by column, as (columns, rows),
    which EMNIST's do.
    """

    name: Name
    title: str
    licence: str
    classes: tuple[ClassName, ...] = Field(min_length=2, max_length=1000)
    shape: tuple[Size, Size] | tuple[Size, Size, Literal[1, 3]]
    first_label: int = Field(default=0, ge=0, lt=2**16)
    transposed: bool = False
    mirrors: tuple[Address, ...] = Field(default=(), exclude=True)
    train: SplitSpec
    test: SplitSpec

    @model_validator(mode="after")
    def classes_differ(self) -> Self:
        """Refuse two classes of one name."""
        again = [name for name, count in Counter(self.classes).items() if count > 1]
        if again:
            raise ValueError(f"classes need different names, {again[0]!r} stands for more than one")
        return self

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of an image: a single channel is no axis of its own."""
        return self.shape[:2] if self.shape[2:] == (1,) else self.shape

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of an image as the archives hold it."""
        rows, columns, *channels = self.shape
        return (columns, rows, *channels) if self.transposed else self.shape

    def parts(self) -> dict[str, Archive]:
        """The four archives by their place in the file, images before labels, training before test."""
        return {f"{split}.{kind}": getattr(getattr(self, split), kind) for split in SPLITS for kind in KINDS}

    def archives(self) -> tuple[Archive, ...]:
        """Every file that is needed, once."""
        return tuple({archive.name: archive.whole for archive in self.parts().values()}.values())


def load_dataset(name_or_path: str, mirrors: Sequence[str] = ()) -> Dataset:
    """Load a data set; `mirrors` come before its own, the offline mirror of a built-in one last.

    Raises:
        DatasetError: it is unknown, unreadable or half-specified.
        InputError: a mirror that is neither an http, https or file URL nor a folder.
    """
    values, path = read_toml(name_or_path, "data set", DatasetError)
    for place in unpinned(values):
        raise DatasetError(
            f"the data set {name_or_path}: {place} has no size or no SHA-256: `mnist dataset pin {name_or_path}` fetches it "
            "once, and writes both into the file"
        )
    return dataset_of(values, name_or_path, path.parent, mirrors)


def built_in_datasets() -> list[Dataset]:
    """The data sets that come with the project, by their names."""
    return [load_dataset(path.stem) for path in sorted((BUILTIN / "datasets").glob("*.toml"))]


def unpinned(values: Mapping[str, Any]) -> Iterator[str]:
    """The places in a data set's file of archives whose size or hash is not known yet."""
    for split in SPLITS:
        for kind in KINDS:
            archive = values.get(split, {}).get(kind) if isinstance(values.get(split), Mapping) else None
            if isinstance(archive, Mapping) and not {"bytes", "sha256"} <= archive.keys():
                yield f"{split}.{kind}"


def dataset_of(values: object, called: str, folder: Path, mirrors: Sequence[str] = ()) -> Dataset:
    """A data set from the values of its file, whose relative paths count from `folder`.

    Raises:
        DatasetError: it is half-specified.
        InputError: a mirror that is neither an http, https or file URL nor a folder.
    """
    dataset = validate(values, Dataset, f"the data set {called}", DatasetError)
    given = tuple(_mirror_urls(mirrors, Path.cwd()))
    own = (*_mirror_urls(dataset.mirrors, folder), *_offline_mirrors(dataset.name, folder))
    _refuse_two_of_one_name(dataset, called)
    return dataset.model_copy(update={
        "mirrors": (*given, *own),
        **{split: _resolve_urls(getattr(dataset, split), given, folder) for split in SPLITS},
    })  # fmt: skip


def _resolve_urls(split: SplitSpec, mirrors: Sequence[str], folder: Path) -> SplitSpec:
    """A split whose archives' own addresses are full ones.

    Raises:
        InputError: one is neither an http, https or file URL nor a file.
    """
    archives: dict[str, Archive] = {kind: getattr(split, kind) for kind in KINDS}
    return split.model_copy(update={
        kind: archive.model_copy(update={"urls": tuple(_url_list(archive, mirrors, folder))})
        for kind, archive in archives.items()
    })  # fmt: skip


def _refuse_two_of_one_name(dataset: Dataset, called: str) -> None:
    """Two archives of one name are the same file.

    Raises:
        DatasetError: they are not.
    """
    first: dict[str, Archive] = {}
    for place, archive in dataset.parts().items():
        if first.setdefault(archive.name, archive.whole) != archive.whole:
            raise DatasetError(
                f"the data set {called}: {place}: another archive is called {archive.name}, too; give each of them a name of "
                f'its own in its table, such as name = "{place.replace(".", "-")}.gz"'
            )


def _url_list(archive: Archive, mirrors: Sequence[str], folder: Path) -> Iterator[Address]:
    """The addresses of an archive that has some of its own; mirrors that a user gives come before them.

    Raises:
        InputError: one is neither an http, https or file URL nor a file.
    """
    if archive.urls:
        yield from archive.model_copy(update={"urls": ()}).places(mirrors)
    for url in archive.urls:
        try:
            yield (
                url
                if urlsplit(url).scheme in _SCHEMES
                else Address((folder / Path(url.reveal()).expanduser()).resolve(strict=True).as_uri())
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"the archive {str(url)!r} is neither an http, https or file URL nor a file") from error


def _offline_mirrors(name: str, folder: Path) -> Iterator[Address]:
    """The mirror that comes with the project, for a built-in data set: in the repository, or in the installed package."""
    if folder == BUILTIN / "datasets":
        places = (BUILTIN.parents[2] / "data" / "mirror" / name, BUILTIN / "mirror" / name)
        yield from (Address(place.as_uri()) for place in places if place.is_dir())


def _mirror_urls(mirrors: Sequence[str], folder: Path) -> Iterator[Address]:
    """Mirrors as URLs; a plain path counts from `folder`.

    Raises:
        InputError: it is no URL that can be fetched from, and no folder.
    """
    for given in mirrors:
        mirror = Address(given)
        try:
            yield _mirror_url(mirror, folder)
        except (OSError, RuntimeError, ValueError) as error:  # no URL, no folder, no home of that user
            raise InputError(f"mirror {str(mirror)!r} is neither an http, https or file URL nor a folder") from error


def _mirror_url(mirror: Address, folder: Path) -> Address:
    """One mirror as a URL.

    Raises:
        ValueError: it is none.
        OSError: it is no folder.
    """
    if urlsplit(mirror).scheme in _SCHEMES:
        return mirror
    path = (folder / Path(mirror.reveal()).expanduser()).resolve(strict=True)
    if not path.is_dir():
        raise NotADirectoryError(path)
    return Address(path.as_uri())
