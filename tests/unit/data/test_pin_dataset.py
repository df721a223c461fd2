import gzip
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.data import http_source
from tasks.data.pin_dataset import pin_archives
from tasks.errors import ContentError, DatasetError, DownloadError
from tests.support import data, mirrors, odd


def pinned(path: Path, scratch: Path) -> tuple[str, list[str]]:
    scratch.mkdir(exist_ok=True)
    text, pins = pin_archives(path.read_text(encoding="utf-8"), str(path), path.parent, scratch)
    return text, [one.place for one in pins]


def test_missing_sizes_and_hashes_are_filled_in_and_the_rest_stays(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    before = path.read_text(encoding="utf-8")
    text, places = pinned(path, tmp_path / "scratch")
    assert places == ["train.images", "train.labels", "test.images", "test.labels"]
    assert [
        line for line in text.splitlines() if line and not line.startswith(("bytes", "sha256"))
    ] == before.splitlines()
    archive = (tmp_path / "odd" / "test.zip").read_bytes()
    found = tomllib.loads(text)["test"]["images"]
    assert (found["bytes"], found["sha256"]) == (len(archive), hashlib.sha256(archive).hexdigest())
    path.write_text(text, encoding="utf-8")
    assert pinned(path, tmp_path / "scratch") == (text, [])


def test_a_pinned_archive_that_has_changed_is_rejected(files: data.Files, tmp_path: Path) -> None:
    path = files.toml()
    name = data.NAMES["test"][1]
    other = data.make(tmp_path / "other", {"train": 600, "test": 299}).folder / name
    files.write(name, other.read_bytes())
    with pytest.raises(DatasetError, match=rf"test.labels: {name} does not match its size and SHA-256"):
        pinned(path, tmp_path / "scratch")


def test_archives_that_do_not_hold_what_the_file_says_are_not_pinned(tmp_path: Path) -> None:
    path, count = odd.make(tmp_path / "odd"), odd.COUNTS["test"]
    path.write_text(path.read_text(encoding="utf-8").replace(f"count = {count}", "count = 61"), encoding="utf-8")
    with pytest.raises(ContentError, match=rf"test.zip: inside/images.gz: count {count}, not 61"):
        pinned(path, tmp_path / "scratch")


def test_a_mirror_that_has_nothing_is_named(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    text = path.read_text(encoding="utf-8").replace('urls = ["test.zip"]', f'urls = ["{tmp_path.as_uri()}/none.zip"]')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DownloadError, match=r"none.zip: no mirror served it \(.*No such file"):
        pinned(path, tmp_path / "scratch")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in mirrors.IMPATIENT:
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def good(files: data.Files) -> Iterator[mirrors.Server]:
    with mirrors.Server(mirrors.ranged, files.folder) as server:
        yield server
        server.shutdown()


def pinned_from(files: data.Files, scratch: Path, *servers: mirrors.Server) -> tuple[str, list[str], list[str]]:
    """Pin an unpinned file; return its text, the mirrors that served the archives, and the messages about the others."""
    path = files.toml(mirrors=tuple(server.url for server in servers))
    text = re.sub(r"^(bytes|sha256) = .*\n?", "", path.read_text(), flags=re.MULTILINE)
    scratch.mkdir()
    said: list[str] = []
    text, pins = pin_archives(text, str(path), path.parent, scratch, tell=lambda line, _: said.append(line))
    return text, [one.mirror for one in pins], said


# Content that is recognized as wrong without a hash, and the reason.
NO_ARCHIVE: dict[str, tuple[mirrors.Answer, str]] = {
    "an HTML page with status 200": (mirrors.page, "it did not serve an archive: .* a web page"),
    "something else": (mirrors.answering(b"SQLite format 3"), "neither gzip, zip nor IDX"),
    "a length header that promises less": (mirrors.promises_less, "not a complete gzip file|ends .* early"),
    "a length header that promises 64 GiB": (mirrors.announces(64 << 30), "announces 68,719,476,736 bytes, more than"),
    "a length header that promises what no disk holds": (mirrors.announces(10**18), "announces .* bytes, more than"),
    "endless": (mirrors.endless, "more than"),
    "a gzip bomb": (mirrors.bomb, "announces|more than"),
    "another archive": (mirrors.answering(gzip.compress(b"\0\0\x08\x01\0\0\0\x01\0")), "rank 1|count 1"),
    "breaks off": (mirrors.truncated, "closed connection|incomplete"),
    "drips": (mirrors.drips, "it sent only"),
    "drips its headers": (mirrors.drips_headers, "it sent only"),
    "404": (mirrors.status(404), "HTTP 404"),
}


@pytest.mark.parametrize("name", NO_ARCHIVE)
def test_a_mirror_that_serves_no_archive_is_named_and_another_asked(
    files: data.Files, good: mirrors.Server, tmp_path: Path, name: str
) -> None:
    answer, reason = NO_ARCHIVE[name]
    with mirrors.Server(answer, files.folder) as bad:
        text, served, said = pinned_from(files, tmp_path / "scratch", bad, good)
        bad.shutdown()
    assert served == [good.url] * 4
    assert len(said) >= 4
    assert all(re.search(f"skipped {bad.url}: .*({reason})", line) for line in said if "skipped" in line), said
    for split, kinds in data.NAMES.items():
        for kind, name_ in zip(("images", "labels"), kinds, strict=True):
            digest = hashlib.sha256((files.folder / name_).read_bytes()).hexdigest()
            assert tomllib.loads(text)[split][kind]["sha256"] == digest


def test_an_interrupted_download_is_resumed(files: data.Files, tmp_path: Path) -> None:
    with mirrors.Server(mirrors.in_pieces, files.folder) as server:
        _, served, said = pinned_from(files, tmp_path / "scratch", server)
        server.shutdown()
    assert served == [server.url] * 4
    assert any("resuming at byte" in line for line in said)


def test_a_download_that_is_taken_up_again_needs_no_more_room_than_was_announced(
    files: data.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = max(path.stat().st_size for path in files.folder.iterdir())
    monkeypatch.setattr(http_source, "_room_at", lambda _: largest)
    with mirrors.Server(mirrors.in_pieces, files.folder) as server:
        _, served, _ = pinned_from(files, tmp_path / "scratch", server)
        server.shutdown()
    assert served == [server.url] * 4


def test_a_mirror_with_other_bytes_than_pinned_is_skipped(
    files: data.Files, good: mirrors.Server, tmp_path: Path
) -> None:
    def shuffled(_split: str, images: NDArray[np.uint8], _labels: NDArray[np.uint8]) -> None:
        images[:] = images[::-1].copy()

    other = data.make(tmp_path / "other", data.COUNTS, shuffled)
    name = data.NAMES["test"][0]
    with mirrors.Server(mirrors.whole, other.folder) as changed:
        path = files.toml(mirrors=(changed.url, good.url))
        said: list[str] = []
        (tmp_path / "scratch").mkdir()
        _, pins = pin_archives(
            path.read_text(), "x", path.parent, tmp_path / "scratch", tell=lambda line, _: said.append(line)
        )
        changed.shutdown()
    assert pins == []
    assert any(f"{name}: skipped {changed.url}: it served" in line for line in said)


def test_an_irregular_file_is_not_pinned(files: data.Files, tmp_path: Path) -> None:
    name = data.NAMES["test"][0]
    for _, url, reason in mirrors.irregular(tmp_path / "irregular", name):
        path = files.toml()
        text = re.sub(r"^(bytes|sha256) = .*\n?", "", path.read_text(), flags=re.MULTILINE)
        text = text.replace(f'name = "{name}"', f'urls = ["{url}/{name}"]')
        scratch = tmp_path / reason
        scratch.mkdir()
        said: list[str] = []
        _, pins = pin_archives(text, "x", path.parent, scratch, tell=lambda line, _, said=said: said.append(line))  # type: ignore[misc]
        assert len(pins) == 4
        (line,) = said
        assert line.startswith(f"{name}: skipped {url}: it is a {reason}")
        assert line.endswith(", not a regular file")


@pytest.mark.parametrize(
    ("text", "says"),
    [("name = ", "is not TOML"), ('name = "x"', "title is missing"), ("train = 1", "is missing")],
)
def test_a_file_that_lacks_more_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=says):
        pinned(path, tmp_path / "scratch")
