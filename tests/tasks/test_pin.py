import hashlib
import tomllib
from pathlib import Path

import pytest

from tasks.errors import ContentError, DatasetError, DownloadError
from tasks.pin import pin
from tests import data, odd


def pinned(path: Path, scratch: Path) -> tuple[str, list[str]]:
    scratch.mkdir(exist_ok=True)
    text, pins = pin(path.read_text(encoding="utf-8"), str(path), path.parent, scratch)
    return text, [one.place for one in pins]


def test_what_is_missing_is_filled_in_and_the_rest_stays(tmp_path: Path) -> None:
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


def test_what_was_pinned_and_is_another_file_is_refused(files: data.Files, tmp_path: Path) -> None:
    path = files.toml()
    name = data.NAMES["test"][1]
    other = data.make(tmp_path / "other", {"train": 600, "test": 299}).folder / name
    files.write(name, other.read_bytes())
    with pytest.raises(DatasetError, match=rf"test.labels: {name} is not what its size and SHA-256 say"):
        pinned(path, tmp_path / "scratch")


def test_archives_that_do_not_hold_what_the_file_says_are_not_pinned(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    path.write_text(path.read_text(encoding="utf-8").replace("count = 60", "count = 61"), encoding="utf-8")
    with pytest.raises(ContentError, match=r"test.zip: inside/images.gz: count 60, not 61"):
        pinned(path, tmp_path / "scratch")


def test_a_mirror_that_has_nothing_is_named(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    text = path.read_text(encoding="utf-8").replace('urls = ["test.zip"]', f'urls = ["{tmp_path.as_uri()}/none.zip"]')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DownloadError, match=r"none.zip: no mirror served it \(.*No such file"):
        pinned(path, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("text", "says"),
    [("name = ", "is not TOML"), ('name = "x"', "title: Field required"), ("train = 1", "Field required")],
)
def test_a_file_that_lacks_more_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=says):
        pinned(path, tmp_path / "scratch")
