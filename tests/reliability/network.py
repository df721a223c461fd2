"""Download from every mirror of tests/support/mirrors.py, once before a working mirror and once alone."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from tasks.config.dataset import Archive, load_dataset
from tasks.data.mirrors import NoMirrorError
from tasks.engine.workspace import Workspace
from tasks.filesystem.hashing import sha256_of
from tasks.steps.download import download
from tests.reliability.table import Row
from tests.support import data
from tests.support.mirrors import (
    IMPATIENT,
    MIRROR_FAILURES,
    SILENT,
    SURVIVED,
    Answer,
    Fault,
    Server,
    certificate,
    irregular,
    listening,
    status,
    whole,
)


def main() -> Iterator[Row]:
    """Try every mirror."""
    for module, name, value in IMPATIENT:
        setattr(module, name, value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)
    with tempfile.TemporaryDirectory() as folder:
        files = data.make(Path(folder) / "mirror")
        archive = load_dataset(str(files.toml())).test.images
        for number, (name, answer) in enumerate(SURVIVED.items()):
            work = Workspace(root=Path(folder) / f"borne-{number}", run="r")
            yield Row(f"mirror: {name}", 1, int(borne(answer, archive, files.folder, work)))
        for number, (name, fault) in enumerate(MIRROR_FAILURES.items()):
            work = Workspace(root=Path(folder) / f"passed-{number}", run="r")
            yield Row(f"mirror skipped: {name}", 2, failed_mirror_trials(fault, archive, files.folder, work))
        for number, (name, refusal) in enumerate(unreachable(files.folder, Path(folder)).items()):
            work = Workspace(root=Path(folder) / f"unreachable-{number}", run="r")
            with refusal as (url, reason):
                yield Row(f"mirror skipped: {name}", 1, int(left_for(url, reason, archive, files.folder, work)))
        for number, (name, (scheme, talk, reason)) in enumerate(SILENT.items()):
            work = Workspace(root=Path(folder) / f"silent-{number}", run="r")
            with listening(talk) as port:
                url = f"{scheme}://127.0.0.1:{port}/"
                yield Row(f"mirror skipped: {name}", 1, int(left_for(url, reason, archive, files.folder, work)))
        for number, (name, url, reason) in enumerate(irregular(Path(folder) / "irregular", archive.name)):
            work = Workspace(root=Path(folder) / f"irregular-root-{number}", run="r")
            yield Row(f"mirror skipped: {name}", 1, int(left_for(url, reason, archive, files.folder, work)))


Unreachable = AbstractContextManager[tuple[str, str]]  # a mirror's URL, and the reason that is reported


def unreachable(content: Path, folder: Path) -> dict[str, Unreachable]:
    """Return mirrors that give no answer, or an answer that must be rejected."""
    return {
        "refuses the connection": nullcontext(("http://127.0.0.1:9/", "refused")),
        "no such host": nullcontext(("http://no-such-host.invalid/", "no-such-host|not known|resol")),
        "an unroutable address": nullcontext(("http://192.0.2.1/", "no connection|unreachable|refused")),
        "a missing folder": nullcontext(("file:///no/such/folder", "No such file")),
        "an untrusted certificate": secure(whole, content, folder, trusted=False),
        "301 from https to http": secure(status(301, Location="http://127.0.0.1:9/"), content, folder, trusted=True),
        "a proxy that refuses the connection": proxied("http://127.0.0.1:9", "refused"),
        "a proxy that is not a URL": proxied("nonsense://x", "proxy"),
    }


@contextmanager
def secure(answer: Answer, content: Path, folder: Path, *, trusted: bool) -> Iterator[tuple[str, str]]:
    """Run a mirror with TLS; yield its URL and the expected reason."""
    both, public = certificate(folder)
    if trusted:
        os.environ["SSL_CERT_FILE"] = str(public)
    with Server(answer, content) as server:
        server.secure(both)
        yield server.url, "redirects from https to http" if trusted else "CERTIFICATE_VERIFY_FAILED"
        server.shutdown()
    os.environ.pop("SSL_CERT_FILE", None)


@contextmanager
def proxied(proxy: str, reason: str) -> Iterator[tuple[str, str]]:
    """Set a proxy in the environment; yield the URL of a mirror behind it and the expected reason."""
    os.environ["HTTP_PROXY"] = proxy
    yield "http://mirror.invalid/", reason
    del os.environ["HTTP_PROXY"]


def left_for(url: str, reason: str, archive: Archive, folder: Path, work: Workspace) -> bool:
    """Return whether a mirror is skipped for another one, with the reason in the record."""
    record = download.fn(archive, (url, folder.as_uri()), work)
    (said,) = record.failed_mirrors
    return said.startswith(f"{url}: ") and re.search(reason, said, re.IGNORECASE) is not None


def borne(answer: Answer, archive: Archive, folder: Path, work: Workspace) -> bool:
    """Return whether the archive is downloaded from a difficult mirror."""
    with Server(answer, folder) as server:
        record = download.fn(archive, (server.url,), work)
        server.shutdown()
    return record.failed_mirrors == () and sha256_of(work.root / record.file.path) == archive.sha256


def failed_mirror_trials(fault: Fault, archive: Archive, folder: Path, work: Workspace) -> int:
    """Return how many of two trials succeed.

    In the first, the faulty mirror is before a working mirror, and the record has the reason. In the second, it is
    alone, and the error names it.
    """
    with Server(fault.answer, folder) as bad, Server(whole, folder) as good:
        record = download.fn(archive, (bad.url, good.url), work)
        (said,) = record.failed_mirrors
        well = int(record.mirror == good.url and re.search(fault.reason, said, re.IGNORECASE) is not None)
        try:
            download.fn(archive, (bad.url,), work.model_copy(update={"root": work.root / "alone"}))
        except NoMirrorError as error:
            well += int(bad.url in str(error) and not list(work.root.glob("alone/archives/*")))
        for server in (bad, good):
            server.shutdown()
    return well
