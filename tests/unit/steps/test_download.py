import contextlib
import re
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tasks.config.dataset import Archive, load_dataset
from tasks.data import attempt_limits, http_errors, http_source
from tasks.data.attempt_limits import MirrorError
from tasks.data.mirrors import NoMirrorError
from tasks.engine.workspace import Workspace
from tasks.errors import StorageError
from tasks.filesystem.hashing import sha256_of
from tasks.safety.stopping import STOPPING, Interrupted
from tasks.steps.download import download, worth_retrying
from tests.support import data, mirrors
from tests.support.mirrors import MIRROR_FAILURES, SURVIVED, Answer, Server, whole

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


@pytest.mark.parametrize("name", MIRROR_FAILURES)
def test_a_bad_mirror_is_passed_over_with_its_reason(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, name: str
) -> None:
    fault = MIRROR_FAILURES[name]
    bad, good = serve(fault.answer), serve(whole)
    record = download.fn(archive, (bad.url, good.url), work)
    assert record.mirror == good.url
    assert sha256_of(work.root / record.file.path) == archive.sha256
    (said,) = record.failed_mirrors
    assert said.startswith(f"{bad.url}: ")
    assert re.search(fault.reason, said, re.IGNORECASE), said
    assert not list((work.root / "unfinished").iterdir())

    work = Workspace(root=work.root / "other", run="alone")
    with pytest.raises(NoMirrorError) as caught:
        download.fn(archive, (bad.url,), work)
    assert caught.value.transient is fault.transient
    assert bad.url in str(caught.value)
    assert not list(work.root.glob("archives/*"))


@pytest.mark.parametrize("name", SURVIVED)
def test_a_slow_or_interrupted_mirror_is_used_to_the_end(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, name: str
) -> None:
    record = download.fn(archive, (serve(SURVIVED[name]).url,), work)
    assert record.failed_mirrors == ()
    assert sha256_of(work.root / record.file.path) == archive.sha256


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        *((mirrors.status(503, Retry_After=moment), "HTTP 503") for moment in (
            "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
            "Mon, 01 Jan 2030 00:00:99999999999999999999 GMT",
            "Mon, 01 Jan 2030 00:00:00 +99999999999999999",
        )),
        (mirrors.status(302, Location="http://me:s3cr7/x@host/"), "not a valid URL"),
        (mirrors.status(302, Location="s3cr7:7"), "not a valid URL"),
        (mirrors.status(302, Location="s3cr7://host/"), "not http or https"),
    ],
)  # fmt: skip
def test_no_header_of_a_mirror_ends_the_download_or_is_repeated(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, answer: Answer, reason: str
) -> None:
    bad, good = serve(answer), serve(whole)
    record = download.fn(archive, (bad.url, good.url), work)
    (said,) = record.failed_mirrors
    assert reason in said
    assert "s3cr7" not in said


def test_an_error_of_any_type_in_the_http_library_is_a_fault_of_the_mirror(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Confused(httpx.Response):
        async def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            raise LookupError(f"s3cr7 {chunk_size}")
            yield b""

    monkeypatch.setattr("httpx._transports.default.Response", Confused)
    with pytest.raises(NoMirrorError, match="it sent an answer that can't be read"):
        download.fn(archive, (serve(whole).url,), work)


def test_a_defect_of_this_project_is_no_fault_of_the_mirror(serve: Callable[[Answer], Server], tmp_path: Path) -> None:
    def broken(_have: int, _total: int | None) -> None:
        raise LookupError("a defect")

    with pytest.raises(LookupError, match="a defect"):
        http_source.append_chunks(f"{serve(whole).url}/{NAME}", tmp_path / "x", 10**9, report=broken)


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


def test_a_partial_file_of_other_bytes_is_downloaded_again_from_the_start(
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
def test_an_unusable_proxy_is_reported_as_the_reason(
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
    assert record.failed_mirrors[0].startswith(f"{good.url}: ")


def test_an_untrusted_certificate_is_reported_as_the_reason(
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
    assert caught.value.transient
    assert all(reason in str(caught.value) for reason in ("refused", "no-such-host.invalid", "No such file"))


@pytest.mark.parametrize("name", mirrors.SILENT)
def test_a_mirror_that_never_answers_is_passed_over(
    archive: Archive, work: Workspace, files: data.Files, name: str
) -> None:
    scheme, talk, reason = mirrors.SILENT[name]
    with mirrors.listening(talk) as port:
        url = f"{scheme}://127.0.0.1:{port}/"
        record = download.fn(archive, (url, files.folder.as_uri()), work)
    assert re.match(f"{url}: .*{reason}", record.failed_mirrors[0]), record.failed_mirrors


def test_a_mirror_with_an_irregular_file_is_skipped(
    archive: Archive, work: Workspace, files: data.Files, tmp_path: Path
) -> None:
    tried = list(mirrors.irregular(tmp_path / "irregular", archive.name))
    record = download.fn(archive, (*(url for _, url, _ in tried), files.folder.as_uri()), work)
    assert len(record.failed_mirrors) == len(tried) == 4
    for said, (_, url, reason) in zip(record.failed_mirrors, tried, strict=True):
        assert said.startswith(f"{url}: it is a {reason}")


def test_a_slow_mirror_is_left_once_and_for_all(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    def drips_on(request: mirrors.Request, content: bytes) -> None:
        start = mirrors.begun(request)
        mirrors.head(request, len(content) - start, 206 if start else 200, Content_Range=f"bytes {start}-/*")
        for byte in content[start:][:100]:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            time.sleep(0.1)

    slow, good = serve(drips_on), serve(mirrors.ranged)
    record = download.fn(archive, (slow.url, good.url), work)
    assert record.mirror == good.url
    assert slow.times == 1


def test_the_time_of_repeated_stalls_is_added_up(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def a_byte_at_a_time(request: mirrors.Request, content: bytes) -> None:
        start = mirrors.begun(request)
        mirrors.head(request, len(content) - start, 206 if start else 200, Content_Range=f"bytes {start}-/*")
        request.wfile.write(content[start:][:1])
        request.wfile.flush()
        time.sleep(2)

    monkeypatch.setattr(attempt_limits, "_SLOW_SECONDS", 1.5)
    stalling = serve(a_byte_at_a_time)
    with pytest.raises(NoMirrorError, match="it sent only"):
        download.fn(archive, (stalling.url,), work)
    assert 1 < stalling.times <= 3


def test_a_mirror_that_only_starts_slowly_is_not_left(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starts_late(request: mirrors.Request, content: bytes) -> None:
        time.sleep(1.6)
        mirrors.slow_but_steady(1.5)(request, content)

    monkeypatch.setattr(http_errors, "_STALL_SECONDS", 5.0)
    monkeypatch.setattr(attempt_limits, "_SLOW_SECONDS", 2.0)
    monkeypatch.setattr(attempt_limits, "_RATE", archive.bytes / 4)  # the body arrives more than twice as fast
    late = serve(starts_late)
    assert download.fn(archive, (late.url,), work).mirror == late.url


def test_an_attempt_has_a_time_limit_that_grows_with_the_size(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_limits, "_ALLOWANCE_SECONDS", 0.5)
    monkeypatch.setattr(attempt_limits, "_RATE", archive.bytes)  # one additional second for the whole body
    slow = serve(mirrors.slow_but_steady(3.0))
    with pytest.raises(NoMirrorError, match=r"it exceeded the limit of 2 s for 5\d,\d+ bytes"):
        download.fn(archive, (slow.url,), work)
    assert slow.times == 1


WAITING: dict[str, Callable[[contextlib.ExitStack], str]] = {
    "a name that nobody looks up": lambda stack: stack.enter_context(no_names()),
    "no answer": lambda stack: f"http://127.0.0.1:{stack.enter_context(mirrors.listening(mirrors.says_nothing))}/",
    "no handshake": lambda stack: f"https://127.0.0.1:{stack.enter_context(mirrors.listening(mirrors.says_nothing))}/",
}


@contextlib.contextmanager
def no_names() -> Iterator[str]:
    """Simulate a machine whose name server never answers."""
    over = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60) and [])
        yield "http://somewhere.invalid/"
        over.set()


@pytest.fixture
def stopping() -> Iterator[Callable[[float], None]]:
    """Set the stop flag of the process after some seconds, and clear it at the end."""
    timers = []

    def after(seconds: float) -> None:
        timers.append(threading.Timer(seconds, STOPPING.set))
        timers[-1].start()

    yield after
    for timer in timers:
        timer.cancel()
        timer.join()
    STOPPING.clear()


@pytest.mark.parametrize("name", WAITING)
def test_a_wait_for_the_network_ends_when_the_process_is_to_stop(
    archive: Archive, work: Workspace, monkeypatch: pytest.MonkeyPatch, stopping: Callable[[float], None], name: str
) -> None:
    for module, constant in (
        (http_errors, "_CONNECT_SECONDS"),
        (http_errors, "_STALL_SECONDS"),
        (attempt_limits, "_SLOW_SECONDS"),
    ):
        monkeypatch.setattr(module, constant, 60)
    monkeypatch.setattr(attempt_limits, "_ALLOWANCE_SECONDS", 60)
    with contextlib.ExitStack() as stack:
        url = WAITING[name](stack)
        stopping(0.3)
        began = time.monotonic()
        with pytest.raises(Interrupted):
            download.fn(archive, (url,), work)
        port = urlsplit(url).port
        assert not [each for each in psutil.Process().net_connections() if each.raddr and each.raddr.port == port]
    assert time.monotonic() - began < 12  # of a wait of 60


@pytest.mark.parametrize(
    "answer",
    [mirrors.drips, mirrors.drips_headers, mirrors.stalls, mirrors.status(503, Retry_After="9")],
    ids=["a slow body", "slow headers", "a stall", "a wait that it asks for"],
)
def test_a_mirror_does_not_hold_a_process_that_is_to_stop(
    serve: Callable[[Answer], Server],
    archive: Archive,
    work: Workspace,
    stopping: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
) -> None:
    monkeypatch.setattr(http_errors, "_STALL_SECONDS", 60)
    monkeypatch.setattr(attempt_limits, "_SLOW_SECONDS", 60)
    monkeypatch.setattr(attempt_limits, "_ALLOWANCE_SECONDS", 60)
    began = time.monotonic()
    stopping(2.0)
    with pytest.raises(Interrupted):
        download.fn(archive, (serve(answer).url,), work)
    assert time.monotonic() - began < 12  # of a wait of 60
    kept = [path.stat().st_size for path in work.root.rglob("*.partial")]
    assert answer not in {mirrors.drips, mirrors.stalls} or kept > [0]  # the received bytes are kept for a later run


def test_a_stop_request_prevents_a_retry(archive: Archive, stopping: Callable[[float], None]) -> None:
    ended = Ended(NoMirrorError(archive, [("a", MirrorError("busy", transient=True))]))
    stopping(0)
    STOPPING.wait(5)
    assert not worth_retrying(None, None, ended)


def test_a_full_disk_is_found_before_the_download(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_source, "_room_at", lambda _: archive.bytes - 1)
    with pytest.raises(StorageError, match=r"No space left on device: .* more bytes are needed"):
        download.fn(archive, (serve(whole).url,), work)


@pytest.mark.parametrize("name", [*MIRROR_FAILURES, "nothing"])
def test_no_fault_of_a_mirror_shows_its_secrets(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    server = serve(MIRROR_FAILURES[name].answer) if name in MIRROR_FAILURES else None
    port = server.server_port if server else 9
    url = f"http://user:canary-password@127.0.0.1:{port}/mnist?token=canary-query"
    with caplog.at_level(0), pytest.raises(NoMirrorError) as caught:
        download.fn(archive, (url,), work)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "***@127.0.0.1" in shown
    assert "canary" not in shown
    if server:
        assert "canary-query" in server.asked[0]  # the mirror is still requested with them


def test_a_redirects_secrets_are_not_shown(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    there = serve(mirrors.status(403))
    signed = there.url.replace("http://", "http://me:canary-password@") + f"{NAME}?X-Amz-Signature=canary-signature"
    with pytest.raises(NoMirrorError, match="HTTP 403") as caught:
        download.fn(archive, (serve(mirrors.status(302, Location=signed)).url,), work)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_credentials_do_not_shape_a_key(serve: Callable[[Answer], Server], archive: Archive, work: Workspace) -> None:
    server = serve(whole)
    with_secret = server.url.replace("http://", "http://user:canary-password@")
    first = download.fn(archive, (with_secret,), work)
    again = download.fn(archive, (server.url,), work.model_copy(update={"run": "later"}))
    assert again == first
    assert first.mirror == server.url.replace("http://", "http://***@")
    assert all(b"canary" not in path.read_bytes() for path in work.root.rglob("*") if path.is_file())


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
    assert download.fn(archive, (first.url, second.url), work).failed_mirrors == ()
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
    """A state with an error, as Prefect passes it to a retry condition."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self, *, raise_on_failure: bool) -> Exception:
        assert not raise_on_failure
        return self.error


def test_only_transient_errors_are_retried(archive: Archive) -> None:
    transient = MirrorError("busy", transient=True)
    lasting = MirrorError("other bytes")
    assert worth_retrying(None, None, Ended(NoMirrorError(archive, [("a", lasting), ("b", transient)])))
    assert not worth_retrying(None, None, Ended(NoMirrorError(archive, [("a", lasting)])))
    assert not worth_retrying(None, None, Ended(ValueError("a defect")))
