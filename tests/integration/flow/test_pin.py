"""Test that `mnist dataset pin` keeps the place and the mode of the dataset file, and cleans up if it is stopped."""

import codecs
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import odd

MNIST = Path(sys.executable).with_name("mnist")


def pin(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MNIST, "dataset", "pin", path], capture_output=True, text=True, timeout=120, check=False)


def test_a_private_file_behind_a_link_is_pinned_in_its_place(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    target = path.rename(tmp_path / "odd" / "mine.toml")
    path.symlink_to("mine.toml")
    target.chmod(0o600)
    done = pin(path)
    assert done.returncode == 0, done.stderr
    assert path.readlink() == Path("mine.toml")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "sha256" in target.read_text(encoding="utf-8")


def test_ends_of_lines_and_a_byte_order_mark_stay_as_they_were(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    before = codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(before)
    done = pin(path)
    assert done.returncode == 0, done.stderr
    after = path.read_bytes()
    assert after.startswith(codecs.BOM_UTF8)
    assert after.count(b"\r\n") == after.count(b"\n") == before.count(b"\n") + 9  # the last line had no line break


def test_a_read_only_file_is_refused_before_anything_is_fetched_and_left_as_it_is(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    before = path.read_bytes()
    path.chmod(0o444)
    names = {one.name for one in path.parent.iterdir()}
    done = pin(path)
    assert done.returncode == 2
    assert done.stderr == f"mnist: can't write {path}: it is read-only; nothing was changed\n"
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (before, 0o444)
    assert {one.name for one in path.parent.iterdir()} == names


def test_a_read_only_file_that_lacks_nothing_is_checked(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    assert pin(path).returncode == 0
    path.chmod(0o444)
    done = pin(path)
    assert done.returncode == 0, done.stderr
    assert "are already pinned" in done.stdout


def test_where_no_mirror_serves_an_archive_the_file_is_to_be_corrected(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    (path.parent / "test.zip").unlink()
    path.write_text(
        path.read_text(encoding="utf-8").replace('"test.zip"', f'"{tmp_path.as_uri()}/test.zip"'), encoding="utf-8"
    )
    done = pin(path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"; check the network or correct `mirrors` or `urls` in {path}")


@pytest.mark.parametrize("limit", ["0", "1"])  # KiB of a file: acts like a full disk and needs no root privileges
def test_without_room_for_temporary_files_another_folder_is_proposed(tmp_path: Path, limit: str) -> None:
    path = odd.make(tmp_path / "odd")
    limited = ["bash", "-c", f'ulimit -f {limit}; trap "" XFSZ; exec "{MNIST}" dataset pin "$1"', "mnist", path]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.endswith("; make room, or set TMPDIR to a folder that has some")
    assert "--root" not in last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_pin_that_is_ended_while_a_mirror_is_silent_leaves_no_file(tmp_path: Path, number: int) -> None:
    path, temporary = odd.make(tmp_path / "odd"), tmp_path / "temporary"
    temporary.mkdir()
    before = path.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/test.zip"
        text = before.decode().replace('urls = ["test.zip"]', f'urls = ["{address}"]')
        path.write_text(text, encoding="utf-8")
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        with subprocess.Popen([MNIST, "dataset", "pin", path], env=env | {"TMPDIR": str(temporary)}) as process:
            silent.settimeout(60)
            with silent.accept()[0]:
                time.sleep(0.5)
                assert list(temporary.iterdir())
                process.send_signal(number)
                assert process.wait(60) in {130, 143}
    assert list(temporary.iterdir()) == []
    assert path.read_text(encoding="utf-8") == text
    assert not list(path.parent.glob(".*"))
