"""Open a root, which is a local folder or a prefix of an object store as in `s3://bucket/prefix`.

The errors of both on reading and writing are reported in the same way.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError, StorageError
from tasks.filesystem.regular_files import expand_user
from tasks.safety.plain_text import in_text
from tasks.safety.redaction import public_address

if TYPE_CHECKING:
    from upath import UPath

    Root = Path | UPath
else:
    Root = Any  # local roots need none of the libraries for S3

_SCHEME = "://"
_STORE_ADDRESS = re.compile("s3://[^/]")
_RESERVED = re.compile("[?#]")  # they end the path of a URL, and what follows may be secret
_WILDCARD = re.compile(r"[*?\[]")
CHECK_STORE = "check the bucket, AWS_ENDPOINT_URL and the credentials"
# What to do about errors that another file system would avoid.
_REMEDIES = {
    errno.ENOSPC: "make room or give another --root",
    errno.EDQUOT: "make room or give another --root",
    errno.EFBIG: "give another --root",
    errno.EIO: "give another --root",
    errno.EROFS: "make it writable or give another --root",
    errno.EACCES: "make it writable or give another --root",
    errno.EPERM: "make it writable or give another --root",
}
MAX_RECORD = 256 << 20  # bytes; a record has a few thousand, and a larger file is not a record
_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}


def open_root(place: str) -> Root:
    """Return a root, given its path or its address.

    Raises:
        InputError: If the name is not UTF-8, `require_store_address` rejects the address, or no home directory is known
            for a leading `~`.
    """
    if not is_address(place):
        root = expand_user(place, "root").absolute()
        if in_text(root) != str(root):
            raise InputError(
                f"can't use the root {root}: its name is not UTF-8, which records require; rename the folder"
            )
        return root
    require_store_address(place)
    try:
        import s3fs  # noqa: F401, PLC0415
        from upath import UPath  # noqa: PLC0415
    except ImportError as error:  # of a library that these libraries need
        raise _missing_library(error.name) from error
    return UPath(place.rstrip("/"), use_listings_cache=False, config_kwargs=_TIMEOUTS)


def is_address(place: str) -> bool:
    """Return whether a root is given by an address and not by a path."""
    return _SCHEME in place


def require_store_address(place: str) -> None:
    """Check an address of a root without importing the libraries for S3, which takes a second.

    Raises:
        InputError: If the address is not a plain s3:// address, it holds credentials, a `?` or a `#`, or a library for
            S3 is missing.
    """
    if not _STORE_ADDRESS.match(place):
        raise InputError(f"can't use the root {place}: give a folder, or s3://BUCKET/PREFIX")
    if _RESERVED.search(place):
        raise InputError(
            f"can't use the root {public_address(place)}: give a prefix without ? and #, which URLs reserve"
        )
    if public_address(place) != place:
        raise InputError(
            f"can't use the root {public_address(place)}: the address of a bucket must not hold credentials; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    for library in ("s3fs", "upath"):
        if find_spec(library) is None:
            raise _missing_library(library)


def _missing_library(name: str | None) -> InputError:
    return InputError(f"a root in S3 needs {name}: pip install 'mnist-error-analysis[s3]'")


def io_errors() -> tuple[type[Exception], ...]:
    """Return the error classes that a file system or an object store raises on reading and writing."""
    return (OSError, *_store_errors())


def _store_errors() -> tuple[type[Exception], ...]:
    """Return the error classes of the object store's library; empty if the library is not imported."""
    library: Any = sys.modules.get("botocore.exceptions")
    return (library.BotoCoreError, library.ClientError) if library else ()


def unreachable(error: BaseException) -> str | None:
    """Return one line if the error means that a store could not be reached, or None for any other error."""
    if isinstance(error, ValueError) and _is_of_endpoint(error):  # its text may repeat the address
        return (
            "the object store: AWS_ENDPOINT_URL, or the endpoint of the profile, is not an address such as https://HOST"
        )
    if isinstance(error, _store_errors()):
        return f"the object store: {error}; {CHECK_STORE}"
    return None


def _is_of_endpoint(error: ValueError) -> bool:
    """Return whether the store's library raised an error because the address of the store is not valid.

    The library has a check of its own, and it calls `urllib.parse`, which rejects other addresses.
    """
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    parsed = modules[-1:] == ["urllib.parse"] and any(name.startswith("botocore.") for name in modules)
    return parsed or str(error).startswith("Invalid endpoint")


@contextmanager
def storage_errors(path: Root | str, *, verb: str = "write", new: bool = False, remedy: str = "") -> Iterator[None]:
    """Convert errors of the file system or the store into a StorageError that says what the block can't do to a file.

    If the file must be `new`, a FileExistsError passes through. The default remedy depends on the error.

    Raises:
        StorageError: If the system or the store rejected an operation.
        FileExistsError: If `new` is set and the file exists.
    """
    try:
        yield
    except StorageError:
        raise
    except io_errors() as error:
        if new and isinstance(error, FileExistsError):
            raise
        reason = os_error_reason(error)
        advice = remedy or _remedy_of(error, reason)
        raise StorageError(f"can't {verb} {path}: {reason}{f'; {advice}' if advice else ''}") from error


def _remedy_of(error: Exception, reason: str) -> str:
    """Return what the user can do about an error in writing a file; empty if the reason says enough, as for a link."""
    if isinstance(error, _store_errors()):
        return CHECK_STORE
    number = getattr(error, "errno", None)
    if number is None:  # HDF5 sets none
        number = next((one for one in _REMEDIES if os.strerror(one) == reason), None)
    return _REMEDIES.get(number, "") if number else ""


def os_error_reason(error: Exception) -> str:
    """Return the system's short reason for an error; HDF5 hides the reason inside a long message."""
    inside = re.search(r"error message = '([^']+)'", str(error))
    return inside[1] if inside else getattr(error, "strerror", None) or str(error)


def version_of(path: "UPath") -> tuple[int, str]:
    """Return the size of an object in bytes, and a tag that changes with its content.

    Raises:
        FileNotFoundError: If there is no such object.
    """
    info = path.fs.info(path.path)
    return int(info.get("size") or 0), str(info.get("ETag") or info)


def read_object(path: "UPath") -> bytes:
    """Return the content of an object, read in a single request so that all bytes are of the same version.

    Raises:
        OSError: If the object cannot be read, or has more than MAX_RECORD bytes.
    """
    try:
        content: bytes = path.fs.cat_file(path.path, start=0, end=MAX_RECORD + 1)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        content = path.fs.cat_file(path.path)  # an empty object has no range
    if len(content) > MAX_RECORD:
        raise OSError(errno.EFBIG, f"it has more than {MAX_RECORD >> 20} MiB", str(path))
    return content


def matching(root: Root, pattern: str) -> list[Root]:
    """Return the paths under a root that match a pattern, in ascending order.

    Raises:
        StorageError: If a folder or the store can't be listed: what it holds must not seem to be gone.
    """
    if isinstance(root, Path):
        return sorted(_files_matching(root, pattern.split("/")), key=str)
    with storage_errors(root, verb="list"):
        return sorted(objects_matching(root, pattern), key=str)


def _files_matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Yield the paths below a folder whose relative names match patterns, part by part.

    Unlike `Path.glob`, this raises an error if a folder can't be listed.
    """
    part, *inner = parts
    with storage_errors(folder, verb="list"), suppress(FileNotFoundError, NotADirectoryError):
        for path in list(folder.iterdir()) if _WILDCARD.search(part) else [folder / part]:
            if not fnmatchcase(path.name, part):
                continue
            if inner:
                yield from _files_matching(path, inner)
            elif path.lstat():
                yield path


def objects_matching(prefix: "UPath", pattern: str) -> "dict[UPath, dict[str, Any]]":
    """Return the objects under a prefix whose relative names match a pattern, each with its details.

    The libraries' own `glob` would interpret brackets, `*` and `?` in the prefix, which is a name that a user chose, and
    it takes a folder that can't be listed for an empty one, as does their `find` with a limited depth.

    Raises:
        OSError: If the store can't be listed.
    """
    parts = pattern.split("/")
    fixed = list(takewhile(lambda part: not _WILDCARD.search(part), parts[:-1]))
    folder = prefix.joinpath(*fixed)
    listed: dict[str, dict[str, Any]] = folder.fs.find(folder.path, detail=True)
    names = {name.removeprefix(f"{folder.path}/"): details for name, details in listed.items()}
    return {folder / name: details for name, details in names.items() if _matches(name, parts[len(fixed) :])}


def _matches(name: str, parts: Sequence[str]) -> bool:
    """Return whether the parts of a relative name match patterns, part by part."""
    names = name.split("/")
    return len(names) == len(parts) and all(map(fnmatchcase, names, parts))


def name_under(root: Root, path: Root) -> str:
    """Return the path of a file relative to the root, with forward slashes."""
    return str(path).removeprefix(str(root)).replace(os.sep, "/").lstrip("/")
