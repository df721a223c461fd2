"""One archive from the first of several mirrors that serves it."""

import logging
from collections.abc import Callable
from pathlib import Path

from tasks.config.dataset import Archive
from tasks.data.attempt_limits import AttemptLimit, MirrorError
from tasks.data.http_source import TransferReport, append_chunks
from tasks.engine.run_log import log
from tasks.errors import DownloadError
from tasks.safety.address import Address

_AGAIN = 3  # times that a download which broke off is taken up at one mirror, as long as each brings it further
_LONGEST_WAIT = 10.0  # seconds that a mirror may ask for, once; another mirror, or the next run, is sooner than more
Tell = Callable[[str, int], None]  # a line, and its level


class NoMirrorError(DownloadError):
    """Every mirror failed; `passing` if a later try might succeed."""

    def __init__(
        self, archive: Archive, faults: list[tuple[str, MirrorError]], remedy: str = "give another --mirror"
    ) -> None:
        reasons = "; ".join(f"{mirror}: {fault}" for mirror, fault in faults) or "there is no mirror"
        super().__init__(f"{archive.name}: no mirror served it ({reasons}); check the network or {remedy}")
        self.faults = faults
        self.passing = any(fault.passing for _, fault in faults)


def first_to_serve(
    archive: Archive, mirrors: tuple[str, ...], fetched: Callable[[Address], object], tell: Tell = log
) -> tuple[str, list[tuple[str, MirrorError]]]:
    """The first mirror whose address can be `fetched`, and why those before it were passed over.

    Raises:
        NoMirrorError: none can.
    """
    faults: list[tuple[str, MirrorError]] = []
    for url, mirror in archive.places(mirrors).items():
        try:
            fetched(url)
        except MirrorError as fault:
            faults.append((mirror, fault))
            tell(f"{archive.name}: passed over {mirror}: {fault}", logging.WARNING)
        else:
            return mirror, faults
    raise NoMirrorError(archive, faults)


def is_complete(
    url: Address,
    name: str,
    path: Path,
    most: int,
    patience: AttemptLimit,
    report: TransferReport | None = None,
    tell: Tell = log,
) -> str:
    """Fetch what is missing, in as many goes as it takes; say how it was packed on the way, if it was.

    Raises:
        MirrorFault: the mirror has failed without bringing more, or too often, or takes too long.
        StorageError: `path` can't be written.
        Interrupted: the process has been told to stop.
    """
    goes, waited = 0, False
    while True:
        have = size_of(path)
        if have:
            tell(f"{name}: taken up again at byte {have:,}, from {url}", logging.INFO)
        try:
            return append_chunks(url, path, most, patience, report)
        except MirrorError as fault:
            goes += 1
            if fault.wait is not None and fault.wait <= _LONGEST_WAIT and not waited:
                tell(f"{name}: {url} asks to wait {fault.wait:.0f} s", logging.INFO)
                patience.pause(fault.wait)
                waited = True
            elif not fault.passing or goes > _AGAIN or not have < size_of(path) < most:
                raise


def size_of(path: Path) -> int:
    """The bytes that are there."""
    return path.stat().st_size if path.exists() else 0


def looks_like_a_page(path: Path) -> bool:
    """Whether a file begins as HTML or XML does: what a portal or a server sends in place of an archive, with status 200."""
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
