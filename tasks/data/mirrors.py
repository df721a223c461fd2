"""Download one archive from the first of several mirrors that serves it."""

import logging
from collections.abc import Callable
from pathlib import Path

from tasks.base import LogLine
from tasks.config.dataset import Archive
from tasks.data.attempt_limits import AttemptLimit, MirrorError
from tasks.data.http_source import TransferReport, append_chunks
from tasks.engine.run_log import log
from tasks.errors import DownloadError
from tasks.safety.address import Address

_MAX_RESUMPTIONS = 3  # resumptions of an interrupted download from one mirror, as long as each one adds bytes
# Longest delay in seconds that a mirror may request, once: beyond it, another mirror or the next run is faster.
_LONGEST_WAIT = 10.0


class NoMirrorError(DownloadError):
    """Failure of all mirrors of an archive.

    `transient` is true if a later attempt might succeed.
    """

    def __init__(
        self, archive: Archive, faults: list[tuple[str, MirrorError]], remedy: str = "give another --mirror"
    ) -> None:
        reasons = "; ".join(f"{mirror}: {fault}" for mirror, fault in faults) or "no mirror is configured"
        super().__init__(f"{archive.name}: no mirror served it ({reasons}); check the network or {remedy}")
        self.faults = faults
        self.transient = any(fault.transient for _, fault in faults)


def first_to_serve(
    archive: Archive, mirrors: tuple[str, ...], fetch: Callable[[Address], object], tell: LogLine = log
) -> tuple[str, list[tuple[str, MirrorError]]]:
    """Return the first mirror that serves an archive, and the failures of the mirrors before it.

    The archive's own addresses are tried first, then the mirrors in the given order. `fetch` downloads from an
    address, and raises a `MirrorError` if the mirror fails.

    Returns:
        The mirror in the form in which it may be displayed, and each failed mirror with its error.

    Raises:
        NoMirrorError: If every mirror fails.
    """
    faults: list[tuple[str, MirrorError]] = []
    for url, mirror in archive.candidate_urls(mirrors).items():
        try:
            fetch(url)
        except MirrorError as fault:
            faults.append((mirror, fault))
            tell(f"{archive.name}: skipped {mirror}: {fault}", logging.WARNING)
        else:
            return mirror, faults
    raise NoMirrorError(archive, faults)


def download_file(
    url: Address,
    name: str,
    path: Path,
    max_bytes: int,
    limit: AttemptLimit,
    report: TransferReport | None = None,
    tell: LogLine = log,
) -> str:
    """Download the missing bytes of an archive from one mirror, resuming after interruptions.

    Returns:
        The Content-Encoding of the last response, empty if it has none.

    Raises:
        MirrorError: If the mirror fails permanently, too often or without sending more bytes, or takes too long.
        StorageError: If `path` cannot be written.
        Interrupted: If the process has been asked to stop.
    """
    goes, waited = 0, False
    while True:
        have = size_of(path)
        if have:
            tell(f"{name}: resuming at byte {have:,} from {url}", logging.INFO)
        try:
            return append_chunks(url, path, max_bytes, limit, report)
        except MirrorError as fault:
            goes += 1
            if fault.wait is not None and fault.wait <= _LONGEST_WAIT and not waited:
                tell(f"{name}: waiting {fault.wait:.0f} s, as requested by {url}", logging.INFO)
                limit.pause(fault.wait)
                waited = True
            elif not fault.transient or goes > _MAX_RESUMPTIONS or not have < size_of(path) < max_bytes:
                raise


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def looks_like_a_page(path: Path) -> bool:
    """Return whether a file starts like an HTML or XML document.

    Captive portals and some servers send a web page with status 200 in place of an archive.
    """
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
