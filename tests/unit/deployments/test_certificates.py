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


def said_by(*arguments: str | Path) -> str:
    return subprocess.run([OPENSSL, *arguments], capture_output=True, text=True, check=True).stdout


def check(folder: Path) -> None:
    for name in PAIRS:
        key = said_by("pkey", "-in", folder / f"{name}.key", "-pubout")
        assert said_by("x509", "-in", folder / f"{name}.crt", "-noout", "-pubkey") == key
        said_by("verify", "-CAfile", folder / "ca.crt", folder / f"{name}.crt")


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


def test_a_key_without_its_certificate_is_made_again(tmp_path: Path) -> None:
    assert make(tmp_path).returncode == 0
    for name in ("client", "cluster"):
        (tmp_path / f"{name}.crt").unlink()
    assert make(tmp_path).returncode == 0
    check(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{end}" for name in PAIRS for end in ("key", "crt")}


def test_a_ca_whose_key_is_elsewhere_stays(tmp_path: Path) -> None:
    assert make(tmp_path).returncode == 0
    before = (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.key").unlink()
    assert make(tmp_path).returncode == 0
    (tmp_path / "client.crt").unlink()
    refused = make(tmp_path)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"{tmp_path}/ca.key is missing: restore it, or remove ca.*, cluster.* and client.* to create a new CA\n"
    )
    assert (tmp_path / "ca.crt").read_bytes() == before
