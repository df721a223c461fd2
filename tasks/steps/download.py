"""Download one archive from the first mirror that serves the pinned bytes.

Each mirror that fails is named in a warning and in the record. A partial download stays for the next attempt, in this
run or a later run, from this mirror or another mirror; the final check of the hash makes that safe.
"""

from pathlib import Path
from typing import Any

from prefect.context import TaskRunContext

from tasks.config.dataset import Archive
from tasks.data.attempt_limits import AttemptLimit, MirrorError
from tasks.data.mirrors import NoMirrorError, download_file, first_to_serve, looks_like_a_page, size_of
from tasks.engine.cached_task import step
from tasks.engine.run_log import log
from tasks.engine.task_progress import transfer_progress
from tasks.engine.workspace import Workspace
from tasks.filesystem.hashing import sha256_of
from tasks.safety.address import Address
from tasks.safety.stopping import STOPPING, pause
from tasks.schemas.records import ArchiveRecord
from tasks.storage.backend import storage_errors
from tasks.storage.content_files import move_into_store
from tasks.storage.folders import Folder

_SUFFIX = ".archive"  # not the suffix of the archive's name: downloaded data must not be usable as a recipe or as code
_RETRY_SECONDS = (1.0, 4.0)  # before each retry of the download, after all mirrors have failed


def worth_retrying(_task: object, _run: object, state: Any) -> bool:
    """Return whether a retry may succeed.

    A mirror that serves wrong bytes will serve them again, so only transient errors are retried.
    """
    error = state.result(raise_on_failure=False)
    return isinstance(error, NoMirrorError) and error.transient and not STOPPING.is_set()


@step(
    "download {archive.name}",
    unkeyed=("mirrors",),
    retries=len(_RETRY_SECONDS),  # no `retry_delay_seconds`: Prefect's sleep would ignore a stop request
    retry_condition_fn=worth_retrying,
)
def download(archive: Archive, mirrors: tuple[str, ...], work: Workspace) -> ArchiveRecord:
    """Download and verify one archive.

    Raises:
        NoMirrorError: If no mirror serves the pinned bytes.
        StorageError: If the archive can't be written.
        Interrupted: If the process is asked to stop.
    """
    _wait_before_retry()
    with storage_errors(work.resume_dir):
        work.resume_dir.mkdir(parents=True, exist_ok=True)
    path = work.partial(archive.name)
    mirror, faults = first_to_serve(archive, mirrors, lambda url: _fetch(url, archive, path))
    file = move_into_store(work.root, Folder.ARCHIVES, archive.name.split(".")[0], _SUFFIX, path)
    log(f"{archive.name}: {archive.bytes:,} bytes from {mirror}, SHA-256 matches the pinned one")
    failed_mirrors = tuple(f"{name}: {fault}" for name, fault in faults)
    return ArchiveRecord(name=archive.name, file=file, mirror=mirror, failed_mirrors=failed_mirrors)


def _wait_before_retry() -> None:
    """Wait before a retry of the task, to give the network time to recover."""
    context = TaskRunContext.get()
    tries = context.task_run.run_count if context else 1
    if tries > 1:
        pause(_RETRY_SECONDS[min(tries - 2, len(_RETRY_SECONDS) - 1)])


def _fetch(url: Address, archive: Archive, path: Path) -> None:
    """Download the archive to `path`, resuming a partial file."""
    begun = size_of(path)
    try:
        with transfer_progress(archive.name, archive.bytes) as report:
            packed = download_file(url, archive.name, path, archive.bytes, AttemptLimit(archive.bytes), report)
    except MirrorError:
        if size_of(path) < archive.bytes:
            raise
        packed = ""  # the connection failed after the last byte: the hash decides
    fault = _fault_in(path, archive, packed)
    if fault and begun:
        path.unlink()
        log(f"{archive.name}: the partial file of an earlier attempt does not match; downloading again from the start")
        _fetch(url, archive, path)
    elif fault:
        if size_of(path) >= archive.bytes:
            path.unlink()
        raise fault


def _fault_in(path: Path, archive: Archive, packed: str) -> MirrorError | None:
    """Return the fault in the bytes that a mirror has served, or None if they are the pinned bytes."""
    size = size_of(path)
    how = f" (encoded as {packed} in transit)" if packed else ""
    if looks_like_a_page(path):
        how += " (a web page)"
    if size != archive.bytes:
        found = f"more than {archive.bytes:,}" if size > archive.bytes else f"{size:,}"
        return MirrorError(f"it served {found} bytes, not {archive.bytes:,}{how}", transient=size < archive.bytes)
    digest = sha256_of(path)
    if digest != archive.sha256:
        return MirrorError(f"it served a different file: SHA-256 {digest[:12]}…, not {archive.sha256[:12]}…{how}")
    return None
