"""Define datasets: their archives, the content that the archives must have, and their mirrors.

A dataset is loaded by the name of a built-in one or by the path of a TOML file. Unknown names, unreadable files, and
values that are missing, unknown or out of range are rejected.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from tasks.base import TEST, TRAIN, Frozen
from tasks.config.text_pattern import TextPattern
from tasks.config.toml_loader import BUILTIN, is_input, read_toml, validate
from tasks.errors import Checks, DatasetError, InputError
from tasks.safety.address import Address, fault_of_url

_SCHEMES = ("http", "https", "file")
_MAX_NAME = 150  # longest archive name, in bytes
_MAX_LETTERS = 64  # of a name; file names, which systems limit to 255 bytes, hold up to two names and a hash
# Characters that are not shown although their category is not Cf: Default_Ignorable_Code_Point in Unicode's file
# DerivedCoreProperties.txt.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
SPLITS, KINDS = (TRAIN, TEST), ("images", "labels")  # names of the tables in a dataset's file

Sha256 = Annotated[str, TextPattern(r"[0-9a-f]{64}", "must consist of 64 digits and letters from a to f")]


def _short(name: str, info: ValidationInfo) -> str:
    """Return a name if it is in a record, or short enough for input."""
    if is_input(info) and len(name) > _MAX_LETTERS:
        raise ValueError(f"String should have at most {_MAX_LETTERS} characters")
    return name


Name = Annotated[
    str,
    TextPattern(r"[a-z][a-z0-9_]*", "must be a lowercase letter followed by lowercase letters, digits and _"),
    AfterValidator(_short),
    Field(json_schema_extra={"maxLength": _MAX_LETTERS}),  # for the input form
]
ClassName = Annotated[str, StringConstraints(max_length=200), TextPattern(r"[\s\S]*\S[\s\S]*", "must not be blank")]
Size = Annotated[StrictInt, Field(gt=0, le=4096)]  # pixels per side


def _file_name(name: str) -> str:
    """Return an archive's name if it is a valid file name on every system and mirror.

    The length leaves room for a hash and a suffix.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            "an archive's name must consist of letters, digits, _, - and . (without `name`, it is the end of the first of "
            'its `urls`): give the archive a valid name, such as name = "images.gz"'
        )
    if len(name.encode()) > _MAX_NAME:
        raise ValueError(f"an archive's name may have at most {_MAX_NAME} bytes")
    return name


def _visible(text: str) -> str:
    """Return a text without invisible characters, with single spaces, and with one form of each accented letter."""
    shown = "".join(one for one in text if unicodedata.category(one) != "Cf" and not _IGNORABLE.match(one))
    return unicodedata.normalize("NFC", " ".join(shown.split()))


class Archive(Frozen):
    """Downloadable file: its name on every mirror, its size in bytes, and its SHA-256 in hex.

    The file is an IDX file, uncompressed or as gzip, or a zip file that holds such a file as `member`. `urls` holds
    addresses of the archive itself, or local paths.
    """

    name: Annotated[str, AfterValidator(_file_name)]
    member: str | None = Field(default=None, min_length=1)
    urls: tuple[Address, ...] = Field(default=(), exclude=True)  # the source does not affect a result
    bytes: StrictInt = Field(gt=0)
    sha256: Sha256

    @model_validator(mode="before")
    @classmethod
    def named(cls, values: Any) -> Any:
        """Derive a missing name from the first of the archive's addresses."""
        if isinstance(values, dict) and "name" not in values and isinstance(urls := values.get("urls"), list) and urls:
            path = re.split(r"[?#]", Address(str(urls[0])))[0]  # of the public form, since names are printed
            return {"name": "_".join(unquote(re.split(r"[/\\]", path)[-1]).split()), **values}
        return values

    @property
    def whole(self) -> "Archive":
        """Archive as a whole file, without a member."""
        return self.model_copy(update={"member": None})

    @property
    def label(self) -> str:
        """Name of the archive and its member in messages."""
        return f"{self.name}: {self.member}" if self.member else self.name

    def candidate_urls(self, mirrors: Sequence[str]) -> dict[Address, str]:
        """Return the addresses to try, in order, each with its mirror in the form in which it may be displayed."""
        found = {url: url.removesuffix(quote(self.name)).rstrip("/") for url in self.urls}
        return found | {Address(mirror).child(self.name): str(Address(mirror)) for mirror in mirrors}


class SplitSpec(Frozen):
    """Archives of one split, and the number of images that they hold."""

    count: StrictInt = Field(gt=0, lt=2**31)
    images: Archive
    labels: Archive


# The content of the test splits that built-in recipes have gates for, as SplitRecord.content_sha256. It tells a built-in
# dataset from others of the same name, whatever archives the images come from.
BUILT_IN_TEST_CONTENT = {"mnist": "bea46916ba282c6a83e63945e2d1eb506c7542c6e1e9410b2950c20077bc3b70"}


class Dataset(Frozen):
    """Expected content of the archives of a dataset.

    `shape` is (rows, columns), or (rows, columns, channels) with 1 or 3 channels. `classes` holds the names of the
    labels, which are numbered from `first_label` on. `transposed` means that the archives hold each image column by
    column, as (columns, rows), as EMNIST's archives do.
    """

    name: Name
    title: str
    license: str = Field(validation_alias=AliasChoices("license", "licence"))  # as files of earlier versions spell it
    classes: tuple[ClassName, ...] = Field(min_length=2, max_length=1000)
    shape: tuple[Size, Size] | tuple[Size, Size, Literal[1, 3]]
    first_label: StrictInt = Field(default=0, ge=0, lt=2**16)
    transposed: StrictBool = False
    mirrors: tuple[Address, ...] = Field(default=(), exclude=True)
    train: SplitSpec
    test: SplitSpec

    @model_validator(mode="after")
    def classes_differ(self) -> Self:
        """Reject invisible class names, duplicate names, and names that look the same."""
        if not all(map(_visible, self.classes)):
            raise ValueError("each class name must contain a visible character")
        again = [name for name, count in Counter(map(_visible, self.classes)).items() if count > 1]
        if again:
            raise ValueError(f"class names must be unique, but {again[0]!r} occurs more than once")
        return self

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of an image; a single channel has no axis."""
        return self.shape[:2] if self.shape[2:] == (1,) else self.shape

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of an image in the archives."""
        rows, columns, *channels = self.shape
        return (columns, rows, *channels) if self.transposed else self.shape

    def parts(self) -> dict[str, Archive]:
        """Return the four archives by their place in the file, training before test, images before labels."""
        return {f"{split}.{kind}": getattr(getattr(self, split), kind) for split in SPLITS for kind in KINDS}

    def archives(self) -> tuple[Archive, ...]:
        """Return each file that the dataset needs, without duplicates."""
        return tuple({archive.name: archive.whole for archive in self.parts().values()}.values())


def load_dataset(name_or_path: str, mirrors: Sequence[str] = ()) -> Dataset:
    """Load a dataset by name or path.

    `mirrors` are tried before the dataset's own mirrors. The offline mirror of a built-in dataset is tried last.

    Raises:
        DatasetError: If the dataset is unknown, unreadable or half-specified.
        InputError: If a mirror is neither an http, https or file URL nor a folder.
    """
    values, path = read_toml(name_or_path, "dataset", DatasetError)
    faults = [
        f"the dataset {name_or_path}: {place} has no size or no SHA-256: `mnist dataset pin {name_or_path}` downloads "
        "the archive once and writes both into the file"
        for place in unpinned(values)
    ]
    if faults:
        raise DatasetError(*faults)
    return dataset_of(values, name_or_path, path.parent, mirrors)


def built_in_datasets() -> list[Dataset]:
    """Return the built-in datasets, sorted by file name."""
    return [load_dataset(path.stem) for path in sorted((BUILTIN / "datasets").glob("*.toml"))]


def unpinned(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places in a dataset's file of archives without a size or a hash."""
    for split in SPLITS:
        for kind in KINDS:
            archive = values.get(split, {}).get(kind) if isinstance(values.get(split), Mapping) else None
            if isinstance(archive, Mapping) and not {"bytes", "sha256"} <= archive.keys():
                yield f"{split}.{kind}"


def dataset_of(values: object, name_or_path: str, folder: Path, mirrors: Sequence[str] = ()) -> Dataset:
    """Return the dataset that the values of a file describe, with relative paths resolved against `folder`.

    Raises:
        DatasetError: If the values are half-specified.
        InputError: If a mirror is neither an http, https or file URL nor a folder.
    """
    dataset = validate(values, Dataset, f"the dataset {name_or_path}", DatasetError)
    checks = Checks()
    given = checks.run(mirror_addresses, mirrors) or ()
    own = checks.run(mirror_addresses, dataset.mirrors, folder) or ()
    checks.run(_require_distinct_names, dataset, name_or_path)
    splits = {split: checks.run(_resolve_urls, getattr(dataset, split), given, folder) for split in SPLITS}
    checks.raise_faults()
    return dataset.model_copy(update={"mirrors": (*given, *own, *_offline_mirrors(dataset.name, folder)), **splits})


def mirror_addresses(mirrors: Sequence[str], folder: Path | None = None, what: str = "mirror") -> tuple[Address, ...]:
    """Return the addresses of mirrors, with relative paths resolved against a folder or the current one.

    `what` is the name of a mirror in messages.

    Raises:
        InputError: If a mirror is neither an http, https or file URL nor a folder.
    """
    checks = Checks()
    found = [checks.run(_absolute_url, mirror, folder or Path.cwd(), what, "folder") for mirror in mirrors]
    checks.raise_faults()
    return tuple(address for address in found if address is not None)


def _resolve_urls(split: SplitSpec, mirrors: Sequence[str], folder: Path) -> SplitSpec:
    """Return a split whose archives have absolute addresses."""
    archives: dict[str, Archive] = {kind: getattr(split, kind) for kind in KINDS}
    return split.model_copy(update={
        kind: archive.model_copy(update={"urls": tuple(_archive_urls(archive, mirrors, folder))})
        for kind, archive in archives.items()
    })  # fmt: skip


def _require_distinct_names(dataset: Dataset, name_or_path: str) -> None:
    """Reject different archives with the same name."""
    first: dict[str, Archive] = {}
    for place, archive in dataset.parts().items():
        if first.setdefault(archive.name, archive.whole) != archive.whole:
            raise DatasetError(
                f"the dataset {name_or_path}: {place}: another archive is also called {archive.name}; give each archive a "
                f'different name in its table, such as name = "{place.replace(".", "-")}.gz"'
            )


def _archive_urls(archive: Archive, mirrors: Sequence[str], folder: Path) -> Iterator[Address]:
    """Yield the absolute addresses of an archive that has its own, after its addresses on the user's mirrors."""
    if archive.urls:
        yield from archive.model_copy(update={"urls": ()}).candidate_urls(mirrors)
    yield from (_absolute_url(url, folder, "the archive", "file") for url in archive.urls)


def _offline_mirrors(name: str, folder: Path) -> Iterator[Address]:
    """Yield the offline mirrors of a built-in dataset, from the repository or the installed package."""
    if folder == BUILTIN / "datasets":
        places = (BUILTIN.parents[2] / "data" / "mirror" / name, BUILTIN / "mirror" / name)
        yield from (Address(place.as_uri()) for place in places if place.is_dir())


def _fault_of_file_url(url: str) -> str:
    """Return why a file URL names no file or folder, or an empty string if there is no fault."""
    return "" if urlsplit(url).path else "has no path"


def _absolute_url(given: str, folder: Path, what: str, kind: str) -> Address:
    """Return a URL as it is, or the URL of an existing file or folder, whose relative path starts at `folder`."""
    address = Address(given)
    try:
        scheme = urlsplit(address).scheme
        if scheme in _SCHEMES:
            fault = fault_of_url(address.reveal()) if scheme != "file" else _fault_of_file_url(address)
            if fault:
                raise InputError(f"{what} {str(address)!r} {fault}")
            return address
        if not given:
            raise FileNotFoundError
        path = (folder / Path(address.reveal()).expanduser()).resolve(strict=True)
        if kind == "folder" and not path.is_dir():
            raise NotADirectoryError(path)
        return Address(path.as_uri())
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # invalid URL, missing path, or unknown home directory
        raise InputError(f"{what} {str(address)!r} is neither an http, https or file URL nor a {kind}") from error
