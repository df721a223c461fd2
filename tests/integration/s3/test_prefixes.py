"""Test roots in an object store: which prefixes are roots, and which objects prune removes."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tasks.storage.folders import MARK, Folder
from tests.support.foreign import NAMES, TEXT
from tests.support.stores import BUCKET, store
from tests.unit.storage.test_roots import FIXTURE

MNIST = Path(sys.executable).with_name("mnist")


class Bucket:
    """A bucket, and the command on its prefixes."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env, self.shadows = env, Path(env["XDG_CACHE_HOME"])
        self.s3 = boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"], aws_access_key_id="key",
                               aws_secret_access_key="secret", region_name="us-east-1")  # fmt: skip  # noqa: S106

    def put(self, name: str, content: bytes = TEXT) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=name, Body=content)

    def holds(self, prefix: str) -> dict[str, str]:
        """Return the objects under a prefix with their ETags, which change with their content."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        return {
            one["Key"].removeprefix(f"{prefix}/"): one["ETag"] for page in pages for one in page.get("Contents", [])
        }

    def mnist(self, prefix: str, command: str, code: int = 0) -> Any:
        given = [MNIST, *command.split(), "--root", f"s3://{BUCKET}/{prefix}"]
        done = subprocess.run(
            given, capture_output=True, text=True, timeout=240, check=False, env=os.environ | self.env
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 and "--json" in command else done.stderr


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with store(tmp_path_factory.mktemp("store")) as env:
        yield Bucket(env)


@pytest.fixture
def old(bucket: Bucket, tmp_path: Path) -> str:
    """Upload a root of an earlier version, and return its prefix.

    It has no champions, so that one of its runs can be pruned.
    """
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (tmp_path / "root").rglob("*"):
        name = path.relative_to(tmp_path / "root")
        if path.is_file() and name.parts[0] not in {"scratch", "locks", "unfinished", "champions"}:
            bucket.put(f"{tmp_path.name}/{name.as_posix()}", path.read_bytes())
    return tmp_path.name


def test_a_prefix_of_an_earlier_version_is_read_adopted_and_pruned_and_foreign_objects_stay(
    bucket: Bucket, old: str
) -> None:
    foreign = {f"{folder}/{name}" for folder in Folder for name in NAMES[::4] if folder != Folder.RUNS}
    foreign |= {"thesis.txt", "runs/exp1/run.json", "locks/at-work/thesis.txt"}
    for name in foreign:
        bucket.put(f"{old}/{name}")
    (run, last) = (one["run"] for one in bucket.mnist(old, "runs --json")["runs"])
    foreign |= {f"runs/{run}/notes.txt"}
    bucket.put(f"{old}/runs/{run}/notes.txt")
    before = bucket.holds(old)
    bucket.mnist(old, f"verify {last}")
    planned = bucket.mnist(old, "prune --keep 1 --dry-run --json")
    assert bucket.holds(old) == before, "reading writes nothing"
    done = bucket.mnist(old, "prune --keep 1 --json")
    after = bucket.holds(old)
    assert before.keys() - after.keys() == {path for path in planned["paths"] if not path.endswith(run)}
    assert done["runs"] == planned["runs"] == [run]
    assert after.keys() - before.keys() == {MARK}
    assert {name: before[name] for name in foreign} == {name: after.get(name) for name in foreign}
    bucket.mnist(old, f"verify {last}")


def test_a_prefix_of_others_is_refused_and_nothing_is_written(bucket: Bucket) -> None:
    bucket.put("theirs/models/thesis.keras")
    for command in ("prune --keep 1", "prune --keep 1 --dry-run", "runs", "champion list", "champion rollback"):
        said = bucket.mnist("theirs", command, code=2)
        assert f"holds models; give a separate folder, such as --root s3://{BUCKET}/theirs/mnist" in said
        assert said.count("\n") == 1
    assert bucket.holds("theirs").keys() == {"models/thesis.keras"}


def test_only_unchanged_copies_are_removed_from_the_local_cache(bucket: Bucket, old: str) -> None:
    (run, _) = (one["run"] for one in bucket.mnist(old, "runs --json")["runs"])
    bucket.mnist(old, f"verify {run}")
    (copy,) = bucket.shadows.rglob(f"runs/{run}/report.md")
    page = copy.with_name("report.html")
    copy.with_name(f".{copy.name}.tag").unlink()
    copy.write_bytes(TEXT)
    bucket.mnist(old, "prune --keep 1 --json")
    assert copy.read_bytes() == TEXT
    assert not page.exists()
