"""Access a root in a local folder or under a prefix of an object store, as in `s3://bucket/prefix`.

Files in an object store can be neither renamed nor mapped into memory. Therefore files for a store are first written
to a local cache folder and then uploaded whole, and files from the store are copied to the cache and hashed. A copy
is reused as long as the store holds the same version. The cache folder may be deleted whenever no process uses it.
"""

import hashlib
import os
import secrets
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tasks.errors import InputError, StorageError
from tasks.filesystem.hashing import sha256_of
from tasks.filesystem.regular_files import expand_user, read_regular
from tasks.safety.plain_text import in_text
from tasks.safety.redaction import public_address
from tasks.schemas.records import FileRecord
from tasks.storage.folders import Folder
from tasks.storage.root_marker import mark_root

if TYPE_CHECKING:
    from upath import UPath

    Root = Path | UPath
else:
    Root = Any  # local roots need none of the libraries for S3

_SCHEME = "://"
_MOST_RECORD = 256 << 20  # bytes; a record has a few thousand, and a larger file is not a record
_TAG = ".tag"  # suffix of the file that records the version of a cached copy
_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}


def open_root(place: str) -> Root:
    """Return a root, given its path or its address.

    Raises:
        InputError: If the name is not UTF-8, the address is not a plain s3:// address, the address holds credentials,
            the library for S3 is missing, or no home directory is known for a leading `~`.
    """
    if _SCHEME not in place:
        root = expand_user(place, "root").absolute()
        if in_text(root) != str(root):
            raise InputError(
                f"can't use the root {root}: its name is not UTF-8, which records require; rename the folder"
            )
        return root
    if not place.startswith("s3://") or place == "s3://":
        raise InputError(f"can't use the root {place}: give a folder, or s3://BUCKET/PREFIX")
    if public_address(place) != place:
        raise InputError(
            f"can't use the root {public_address(place)}: the address of a bucket must not hold credentials; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    try:
        import s3fs  # type: ignore[import-untyped]  # noqa: F401, PLC0415
        from upath import UPath  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"a root in S3 needs {error.name}: pip install 'mnist-error-analysis[s3]'") from error
    return UPath(place.rstrip("/"), use_listings_cache=False, config_kwargs=_TIMEOUTS)


def local_cache_dir(root: Root) -> Path:
    """Return the local folder in which the files of a root are written; for a local root, the root itself.

    Raises:
        InputError: If the account has no home directory.
    """
    if isinstance(root, Path):
        return root
    caches = os.environ.get("XDG_CACHE_HOME") or expand_user(
        "~/.cache", "cache folder (or the one that XDG_CACHE_HOME names)"
    )
    return Path(caches, "mnist-error-analysis", hashlib.sha256(str(root).encode()).hexdigest()[:16])


def io_errors() -> tuple[type[Exception], ...]:
    """Return the error classes that a file system or an object store raises on reading and writing."""
    return (OSError, *_store_errors())


def _store_errors() -> tuple[type[Exception], ...]:
    """Return the error classes of the object store's library; empty if the library is not imported."""
    library: Any = sys.modules.get("botocore.exceptions")
    return (library.BotoCoreError, library.ClientError) if library else ()


def unreachable(error: BaseException) -> str | None:
    """Return one line if the error means that a store could not be reached, or None for any other error."""
    if isinstance(error, ValueError) and str(error).startswith(
        "Invalid endpoint"
    ):  # an error of botocore that repeats the address
        return (
            "the object store: AWS_ENDPOINT_URL, or the endpoint of the profile, is not an address such as https://HOST"
        )
    if isinstance(error, _store_errors()):
        return f"the object store: {error}; check the network, AWS_ENDPOINT_URL and the credentials"
    return None


def version_of(path: "UPath") -> tuple[int, str]:
    """Return the size of an object in bytes, and a tag that changes with its content.

    Raises:
        FileNotFoundError: If there is no such object.
    """
    info = path.fs.info(path.path)
    return int(info.get("size") or 0), str(info.get("ETag") or info)


@contextmanager
def buffered_upload(path: "UPath", *, new: bool) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes are uploaded in a single request if the block ends without an error.

    Args:
        path: The object to write.
        new: Whether the object must not exist yet.
    """
    stream = BytesIO()
    yield stream
    path.fs.pipe_file(path.path, stream.getvalue(), mode="create" if new else "overwrite")


def put(written: Path, root: "UPath", name: str) -> None:
    """Upload a file of the cache folder under a name, and keep the file as the cached copy."""
    path, copy = root / name, local_cache_dir(root) / name
    path.fs.put_file(str(written), path.path)
    copy.parent.mkdir(parents=True, exist_ok=True)
    written.replace(copy)
    _tag_of(copy).write_text(version_of(path)[1])


def _tag_of(copy: Path) -> Path:
    """Return the path of the file that records the version of a cached copy."""
    return copy.with_name(f".{copy.name}{_TAG}")


def fault_in_store(root: "UPath", file: FileRecord, *, again: bool) -> str | None:
    """Return the reason why a file in the store does not match its record, or None if it matches.

    If it matches, the cache folder then holds a copy.

    Args:
        root: The root in the store.
        file: The record of the file.
        again: Whether to download the file even if there is a copy.
    """
    path, copy = root / file.path, local_cache_dir(root) / file.path
    try:
        size, version = version_of(path)
        if size != file.bytes:
            return f"{path} has {size:,} bytes, not {file.bytes:,}"
        if not again and _is_copy(copy, version, file):
            return None
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _download_to_cache(root, copy.name) as fetched:
            path.fs.get_file(path.path, str(fetched))
            if sha256_of(fetched) != file.sha256:
                return f"{path} was altered: its SHA-256 is not {file.sha256[:12]}…"
            fetched.replace(copy)
        _tag_of(copy).write_text(version)
    except FileNotFoundError:
        return f"{path}: No such file or directory"
    except io_errors() as error:
        return f"{path}: {error}"
    return None


@contextmanager
def _download_to_cache(root: "UPath", name: str) -> Iterator[Path]:
    """Yield the path of a temporary file in the cache folder for a download."""
    shadow = local_cache_dir(root)
    folder = shadow / Folder.SCRATCH
    fetched = folder / mark_root(shadow).signed(f"{name}-{secrets.token_hex(4)}", ".fetched")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield fetched
    finally:
        fetched.unlink(missing_ok=True)


def _is_copy(copy: Path, version: str, file: FileRecord) -> bool:
    """Return whether a cached copy is of the given version and matches its record."""
    try:
        return _tag_of(copy).read_text() == version and sha256_of(copy) == file.sha256
    except OSError:
        return False


def read_whole(path: Root) -> bytes:
    """Return the content of a small file.

    From a store, it is read in a single request, so that all bytes are of the same version.

    Raises:
        OSError: If the file cannot be read.
    """
    return read_regular(path, _MOST_RECORD) if isinstance(path, Path) else bytes(path.fs.cat_file(path.path))


def matching(root: Root, pattern: str) -> list[Root]:
    """Return the paths under a root that match a pattern, in ascending order."""
    found: Iterable[Any] = root.glob(pattern)
    return sorted(found, key=str)


def name_under(root: Root, path: Root) -> str:
    """Return the path of a file relative to the root, with forward slashes."""
    return str(path).removeprefix(str(root)).replace(os.sep, "/").lstrip("/")


def newest(folder: Root, pattern: str, most: int) -> Sequence[Root]:
    """Return at most `most` files of a folder whose names match a pattern, the latest first."""
    found: list[tuple[float, Any]] = []
    if isinstance(folder, Path):
        for path in folder.glob(pattern):
            try:
                found.append((path.stat().st_mtime, path))
            except OSError:  # removed in the meantime, or a broken link
                continue
    else:
        # One request for all files instead of one for each.
        inside = folder.fs.glob(f"{folder.path}/{pattern}", detail=True)
        found = [(info["LastModified"].timestamp(), folder / name.rsplit("/", 1)[1]) for name, info in inside.items()]
    return [path for _, path in sorted(found, key=itemgetter(0), reverse=True)[:most]]


def remove(root: Root, name: str) -> None:
    """Remove a file; in a store, remove the object and its cached copy.

    Raises:
        OSError: If the system or the store rejects the operation.
    """
    path = root / name
    if isinstance(path, Path):
        path.unlink()
        return
    path.fs.rm_file(path.path)
    copy = local_cache_dir(root) / name
    if _tag_of(copy).is_file() and copy.is_file() and not copy.is_symlink():  # without a tag, not a cached copy
        copy.unlink()
        _tag_of(copy).unlink()


def checked_store(root: "UPath") -> "UPath":
    """Return a root in a store after a check that the store is writable and supports conditional writes.

    Locks in a store need conditional writes.

    Raises:
        StorageError: If the store cannot be reached or written, or if it ignores conditions.
    """
    probe = root / "locks" / f"probe-{uuid.uuid4().hex}"
    try:
        local_cache_dir(root).mkdir(parents=True, exist_ok=True)
        probe.fs.pipe_file(probe.path, b"", mode="create")
        try:
            probe.fs.pipe_file(probe.path, b"", mode="create")
        except FileExistsError:
            return root
        finally:
            probe.fs.rm_file(probe.path)
    except io_errors() as error:
        raise unwritable(root, error) from error
    raise StorageError(
        f"can't lock under the root {root}: its store does not support conditional writes (If-None-Match)"
    )


def unwritable(root: "UPath", error: Exception) -> StorageError:
    """Return the error, with a message of one line, for a root in a store that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return StorageError(
        f"can't write under the root {root}: {reason}; check the bucket, AWS_ENDPOINT_URL and the credentials"
    )
