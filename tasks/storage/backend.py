"""Store: where a root lies: in a folder, or under a prefix in an object store's bucket, as `s3://bucket/prefix`.

In an object store nothing can be renamed or mapped into memory. So there, what is made is made in a folder of this machine,
the shadow of the root, and put into the store whole; and what is read is copied into the shadow, and hashed. A copy is used
again as long as the store holds the same version. The shadow may be removed whenever nobody is at work.
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
    Root = Any  # so that who has a folder needs none of its libraries

_SCHEME = "://"
_MOST_RECORD = 256 << 20  # bytes of a record, which has some thousands; what has more is none
_TAG = ".tag"  # beside a copy: the version in the store that it is of
_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}


def open_root(place: str) -> Root:
    """A root by its path or its address.

    Raises:
        InputError: its name is no text, it is an address of another kind than s3://, the library for it is missing, or its `~`
            is nobody's.
    """
    if _SCHEME not in place:
        root = expand_user(place, "root").absolute()
        if in_text(root) != str(root):
            raise InputError(f"can't use the root {root}: its name is not UTF-8, which records need; rename it")
        return root
    if not place.startswith("s3://") or place == "s3://":
        raise InputError(f"can't use the root {place}: give a folder, or s3://BUCKET/PREFIX")
    if public_address(place) != place:
        raise InputError(
            f"can't use the root {public_address(place)}: an address of a bucket holds no credentials; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    try:
        import s3fs  # type: ignore[import-untyped]  # noqa: F401, PLC0415
        from upath import UPath  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f"a root in S3 needs {error.name}: pip install 'mnist-error-analysis[s3]'") from error
    return UPath(place.rstrip("/"), use_listings_cache=False, config_kwargs=_TIMEOUTS)


def local_cache_dir(root: Root) -> Path:
    """The folder of this machine in which files are made; that of a folder is itself.

    Raises:
        InputError: the account has no home directory.
    """
    if isinstance(root, Path):
        return root
    caches = os.environ.get("XDG_CACHE_HOME") or expand_user(
        "~/.cache", "folder of caches, unless XDG_CACHE_HOME names another,"
    )
    return Path(caches, "mnist-error-analysis", hashlib.sha256(str(root).encode()).hexdigest()[:16])


def io_errors() -> tuple[type[Exception], ...]:
    """What a file system or a store says against reading and writing."""
    return (OSError, *_store_errors())


def _store_errors() -> tuple[type[Exception], ...]:
    """What only a store says; nothing, as long as its library is not imported."""
    library: Any = sys.modules.get("botocore.exceptions")
    return (library.BotoCoreError, library.ClientError) if library else ()


def unreachable(error: BaseException) -> str | None:
    """One line, if a store could not be reached; None for any other error."""
    if isinstance(error, ValueError) and str(error).startswith(
        "Invalid endpoint"
    ):  # botocore's, which repeats the address
        return "the object store: AWS_ENDPOINT_URL, or the endpoint of the profile, is no address such as https://HOST"
    if isinstance(error, _store_errors()):
        return f"the object store: {error}; check the network, AWS_ENDPOINT_URL and the credentials"
    return None


def version_of(path: "UPath") -> tuple[int, str]:
    """The size of what a store holds, in bytes, and a mark that changes with its content.

    Raises:
        FileNotFoundError: there is nothing.
    """
    info = path.fs.info(path.path)
    return int(info.get("size") or 0), str(info.get("ETag") or info)


@contextmanager
def buffered_upload(path: "UPath", *, new: bool) -> Iterator[BinaryIO]:
    """A stream whose bytes are put into the store together, once it is closed without an error."""
    stream = BytesIO()
    yield stream
    path.fs.pipe_file(path.path, stream.getvalue(), mode="create" if new else "overwrite")


def put(written: Path, root: "UPath", name: str) -> None:
    """Put a file of the shadow into the store, under a name; it becomes the copy of it."""
    path, copy = root / name, local_cache_dir(root) / name
    path.fs.put_file(str(written), path.path)
    copy.parent.mkdir(parents=True, exist_ok=True)
    written.replace(copy)
    _tag_of(copy).write_text(version_of(path)[1])


def _tag_of(copy: Path) -> Path:
    """Where it stands which version a copy is of."""
    return copy.with_name(f".{copy.name}{_TAG}")


def fault_in_store(root: "UPath", file: FileRecord, *, again: bool) -> str | None:
    """What is wrong with a file in the store; None if it is what its record says: then there is a copy in the shadow.

    With `again`, it is fetched though there may be a copy.
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
    """A temporary file of the shadow, for what is being fetched."""
    shadow = local_cache_dir(root)
    folder = shadow / Folder.SCRATCH
    fetched = folder / mark_root(shadow).signed(f"{name}-{secrets.token_hex(4)}", ".fetched")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield fetched
    finally:
        fetched.unlink(missing_ok=True)


def _is_copy(copy: Path, version: str, file: FileRecord) -> bool:
    """Whether a copy is of a version, and sound."""
    try:
        return _tag_of(copy).read_text() == version and sha256_of(copy) == file.sha256
    except OSError:
        return False


def read_whole(path: Root) -> bytes:
    """The bytes of a small file; from a store in one request, so that they belong together.

    Raises:
        OSError: it can't be read.
    """
    return read_regular(path, _MOST_RECORD) if isinstance(path, Path) else bytes(path.fs.cat_file(path.path))


def matching(root: Root, pattern: str) -> list[Root]:
    """What matches a pattern under a root, by its name in ascending order."""
    found: Iterable[Any] = root.glob(pattern)
    return sorted(found, key=str)


def name_under(root: Root, path: Root) -> str:
    """The path of a file relative to the root."""
    return str(path).removeprefix(str(root)).replace(os.sep, "/").lstrip("/")


def newest(folder: Root, pattern: str, most: int) -> Sequence[Root]:
    """The files of a folder whose names match, the latest first, up to so many."""
    found: list[tuple[float, Any]] = []
    if isinstance(folder, Path):
        for path in folder.glob(pattern):
            try:
                found.append((path.stat().st_mtime, path))
            except OSError:  # it has gone in the meantime, or is a link to nowhere
                continue
    else:
        # One request for all, not one for each.
        inside = folder.fs.glob(f"{folder.path}/{pattern}", detail=True)
        found = [(info["LastModified"].timestamp(), folder / name.rsplit("/", 1)[1]) for name, info in inside.items()]
    return [path for _, path in sorted(found, key=itemgetter(0), reverse=True)[:most]]


def remove(root: Root, name: str) -> None:
    """Remove a file; in a store, what it holds under a name, and the copy of it.

    Raises:
        OSError: the system refuses.
    """
    path = root / name
    if isinstance(path, Path):
        path.unlink()
        return
    path.fs.rm_file(path.path)
    copy = local_cache_dir(root) / name
    if _tag_of(copy).is_file() and copy.is_file() and not copy.is_symlink():  # what has no tag was not copied by us
        copy.unlink()
        _tag_of(copy).unlink()


def checked_store(root: "UPath") -> "UPath":
    """A root in a store, proven writable, and on conditions, without which there are no locks.

    Raises:
        StorageError: it can't be reached or written, or takes no notice of conditions.
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
    raise StorageError(f"can't lock under the root {root}: its store knows no conditional writes (If-None-Match)")


def unwritable(root: "UPath", error: Exception) -> StorageError:
    """What a store says against a root, in one line."""
    reason = getattr(error, "strerror", None) or error
    return StorageError(
        f"can't write under the root {root}: {reason}; check the bucket, AWS_ENDPOINT_URL and the credentials"
    )
