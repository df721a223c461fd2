import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.dataset import Archive, load_dataset
from tasks.digest import sha256_of
from tasks.download import NoMirrorError, download, worth_retrying
from tasks.patience import MirrorFault
from tasks.workspace import Workspace
from tests import data, mirrors
from tests.mirrors import PASSED_OVER, SURVIVED, Answer, Server, whole

NAME = data.NAMES["test"][0]


@pytest.fixture
def serve(files: data.Files) -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer, files.folder))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def archive(files: data.Files) -> Archive:
    return load_dataset(str(files.toml())).test.images


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in mirrors.IMPATIENT:
        monkeypatch.setattr(module, name, value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("name", PASSED_OVER)
def test_a_bad_mirror_is_passed_over_with_its_reason(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, name: str
) -> None:
    fault = PASSED_OVER[name]
    bad, good = serve(fault.answer), serve(whole)
    record = download.fn(archive, (bad.url, good.url), work)
    assert record.mirror == good.url
    assert sha256_of(work.root / record.file.path) == archive.sha256
    (said,) = record.passed_over
    assert said.startswith(f"{bad.url}: ")
    assert re.search(fault.reason, said, re.IGNORECASE), said
    assert not list((work.root / "unfinished").iterdir())

    work = Workspace(root=work.root / "other", run="alone")
    with pytest.raises(NoMirrorError) as caught:
        download.fn(archive, (bad.url,), work)
    assert caught.value.passing is fault.passing
    assert bad.url in str(caught.value)
    assert not list(work.root.glob("archives/*"))


@pytest.mark.parametrize("name", SURVIVED)
def test_a_difficult_mirror_is_borne_with(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, name: str
) -> None:
    record = download.fn(archive, (serve(SURVIVED[name]).url,), work)
    assert record.passed_over == ()
    assert sha256_of(work.root / record.file.path) == archive.sha256


def test_a_download_goes_on_where_another_mirror_broke_off(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    first, second = serve(mirrors.truncated), serve(mirrors.ranged)
    download.fn(archive, (first.url, second.url), work)
    assert second.ranges == [f"bytes={archive.bytes // 2}-"]


def test_a_download_goes_on_in_a_later_run(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    with pytest.raises(NoMirrorError):
        download.fn(archive, (serve(mirrors.truncated).url,), work)
    later = serve(mirrors.ranged)
    download.fn(archive, (later.url,), work)
    assert later.ranges == [f"bytes={archive.bytes // 2}-"]
    assert not list((work.root / "unfinished").iterdir())


def test_what_does_not_fit_is_fetched_from_the_beginning(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    def half_of_something_else(request: mirrors.Request, content: bytes) -> None:
        mirrors.truncated(request, bytes(len(content)))

    good = serve(mirrors.ranged)
    record = download.fn(archive, (serve(half_of_something_else).url, good.url), work)
    assert sha256_of(work.root / record.file.path) == archive.sha256
    assert good.ranges == [f"bytes={archive.bytes // 2}-", ""]


def test_the_environments_proxy_is_used(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(whole)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    download.fn(archive, ("http://no-such-host.invalid/mnist/",), work)
    assert proxy.asked == [f"http://no-such-host.invalid/mnist/{NAME}"]


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "nonsense://x", "socks5://127.0.0.1:9", "http://[::bad"])
def test_a_proxy_that_is_of_no_use_is_a_reason(
    serve: Callable[[Answer], Server],
    archive: Archive,
    work: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    files: data.Files,
    proxy: str,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    good = serve(whole)
    record = download.fn(archive, (good.url, files.folder.as_uri()), work)
    assert record.passed_over[0].startswith(f"{good.url}: ")


def test_a_certificate_that_nobody_vouches_for_is_a_reason(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, tmp_path: Path
) -> None:
    secure = serve(whole)
    secure.secure(mirrors.certificate(tmp_path)[0])
    with pytest.raises(NoMirrorError, match="CERTIFICATE_VERIFY_FAILED"):
        download.fn(archive, (secure.url,), work)


def test_a_mirror_that_refuses_or_is_unknown_is_passed_over(archive: Archive, work: Workspace) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    with pytest.raises(NoMirrorError) as caught:
        download.fn(archive, (refusing, "http://no-such-host.invalid/", "file:///no/such/folder"), work)
    assert caught.value.passing
    assert all(reason in str(caught.value) for reason in ("refused", "no-such-host.invalid", "No such file"))


def test_a_redirect_from_https_to_http_is_refused(
    serve: Callable[[Answer], Server],
    archive: Archive,
    work: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = serve(whole)

    downgrade = mirrors.status(301, Location=plain.url + NAME)

    both, public = mirrors.certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    secure = serve(downgrade)
    secure.secure(both)
    with pytest.raises(NoMirrorError, match="redirects from https to http"):
        download.fn(archive, (secure.url,), work)
    assert secure.asked
    assert not plain.asked


def test_mirrors_are_asked_in_order_and_the_first_good_one_is_the_last(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    first, second = serve(whole), serve(whole)
    assert download.fn(archive, (first.url, second.url), work).passed_over == ()
    assert (len(first.asked), len(second.asked)) == (1, 0)


def test_a_kept_archive_is_not_fetched_again_whatever_the_mirrors(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    server = serve(whole)
    download.fn(archive, (server.url,), work)
    again = download.fn(archive, ("http://no-such-host.invalid/",), work.model_copy(update={"run": "later"}))
    assert len(server.asked) == 1
    assert again.origin is not None
    assert again.origin.run == "this-run"


class Ended:
    """What Prefect hands to a retry condition."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self, *, raise_on_failure: bool) -> Exception:
        assert not raise_on_failure
        return self.error


def test_only_what_may_pass_is_retried(archive: Archive) -> None:
    passing = MirrorFault("busy", passing=True)
    lasting = MirrorFault("other bytes")
    assert worth_retrying(None, None, Ended(NoMirrorError(archive, [("a", lasting), ("b", passing)])))
    assert not worth_retrying(None, None, Ended(NoMirrorError(archive, [("a", lasting)])))
    assert not worth_retrying(None, None, Ended(ValueError("a defect")))
