"""Test the certificates of a Dask cluster: keys and certificates match, regardless of how an earlier call ended."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deployments" / "certificates"
PAIRS = ("ca", "cluster", "client")
OPENSSL = shutil.which("openssl") or "openssl"
# Calls openssl, and kills the calling script after a given number of calls.
KILLER = """#!/usr/bin/env bash
echo >>"$COUNT"
"$REAL" "$@" || exit
[ "$(wc -l <"$COUNT")" -ne "$CALLS" ] || kill -KILL "$PPID"
"""


def make(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, folder], env=os.environ | env, capture_output=True, text=True, check=False)


def openssl_output(*arguments: str | Path) -> str:
    return subprocess.run([OPENSSL, *arguments], capture_output=True, text=True, check=True).stdout


def check(folder: Path) -> None:
    for name in PAIRS:
        key = openssl_output("pkey", "-in", folder / f"{name}.key", "-pubout")
        assert openssl_output("x509", "-in", folder / f"{name}.crt", "-noout", "-pubkey") == key
        openssl_output("verify", "-CAfile", folder / "ca.crt", folder / f"{name}.crt")


@pytest.mark.parametrize("calls", range(1, 8))
def test_a_call_that_is_killed_leaves_whole_pairs_and_the_next_makes_the_others(tmp_path: Path, calls: int) -> None:
    folder, fake = tmp_path / "tls", tmp_path / "bin" / "openssl"
    fake.parent.mkdir()
    fake.write_text(KILLER)
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    killed = make(folder, PATH=path, REAL=OPENSSL, CALLS=str(calls), COUNT=str(tmp_path / "count"))
    assert killed.returncode != 0
    for name in PAIRS:
        assert (folder / f"{name}.key").exists() == (folder / f"{name}.crt").exists()
    done = make(folder)
    assert done.returncode == 0, done.stderr
    check(folder)


def test_a_call_that_is_killed_between_key_and_certificate_is_completed(tmp_path: Path) -> None:
    assert make(tmp_path).returncode == 0
    work = tmp_path / ".mnist-certificates.new"
    work.mkdir()
    (work / ".created-by-deployments-certificates").touch()
    (tmp_path / "client.crt").rename(work / "client.crt")
    before = (tmp_path / "client.key").read_bytes()
    done = make(tmp_path)
    assert done.returncode == 0, done.stderr
    check(tmp_path)
    assert (tmp_path / "client.key").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{end}" for name in PAIRS for end in ("key", "crt")}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content, or the target of a link, and the inode of each file of a folder."""
    return {
        path.name: (os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes(), path.lstat().st_ino)
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
@pytest.mark.parametrize("name", ["ca.key", "cluster.key", "client.key", "client.crt"])
def test_a_file_or_link_without_its_other_half_stays_and_is_named(tmp_path: Path, name: str, kind: str) -> None:
    folder, elsewhere = tmp_path / "tls", tmp_path / "elsewhere"
    folder.mkdir()
    if kind != "dangling link":
        elsewhere.write_text("of the user")
        elsewhere.chmod(0o400)
    if kind == "file":
        elsewhere.rename(folder / name)
    else:
        (folder / name).symlink_to(elsewhere)
    before = contents(folder)
    refused = make(folder)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{folder}/{name} exists without ")
    assert refused.stderr.count("\n") == 1
    assert contents(folder) == before


def test_links_to_whole_pairs_stay(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "tls", tmp_path / "elsewhere"
    assert make(elsewhere).returncode == 0
    folder.mkdir()
    for name in ("ca.key", "ca.crt", "cluster.key", "cluster.crt"):
        (folder / name).symlink_to(elsewhere / name)
    kept, before = contents(elsewhere), contents(folder)
    assert make(folder).returncode == 0
    check(folder)
    assert contents(elsewhere) == kept
    assert before.items() <= contents(folder).items()


def test_a_folder_of_the_user_with_the_name_of_the_scripts_own_stays(tmp_path: Path) -> None:
    work = tmp_path / ".mnist-certificates.new"
    work.mkdir()
    for name in ("notes", "ca.key"):
        (work / name).write_text("of the user")
    refused = make(tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{work} can't be created: move it to another folder")
    assert {path.name: path.read_text() for path in work.iterdir()} == dict.fromkeys(("notes", "ca.key"), "of the user")


def test_a_file_of_the_user_in_the_folder_of_a_call_that_was_killed_stays(tmp_path: Path) -> None:
    work = tmp_path / ".mnist-certificates.new"
    work.mkdir()
    for name in (".created-by-deployments-certificates", "notes"):
        (work / name).write_text("of the user")
    refused = make(tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == f"{work} contains files of others: move them to another folder\n"
    assert (work / "notes").read_text() == "of the user"


def test_a_ca_whose_key_is_elsewhere_stays(tmp_path: Path) -> None:
    assert make(tmp_path).returncode == 0
    before = (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.key").unlink()
    assert make(tmp_path).returncode == 0
    for end in ("crt", "key"):
        (tmp_path / f"client.{end}").unlink()
    refused = make(tmp_path)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"{tmp_path}/ca.key is missing: restore it, or move ca.*, cluster.* and client.* to another folder to create a "
        "new CA\n"
    )
    assert (tmp_path / "ca.crt").read_bytes() == before
