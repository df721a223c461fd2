"""Test complete runs on a root in S3: every command works as in a folder, and no unintended objects are left."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support import data, recipes
from tests.support.command import Mnist
from tests.support.stores import BUCKET, store

MNIST = Path(sys.executable).with_name("mnist")
SECONDS = 280
ROOT = f"s3://{BUCKET}/a/root"


class StoreMnist:
    """The command on an object store."""

    def __init__(self, here: Mnist, folder: Path, env: dict[str, str]) -> None:
        self.here, self.env, self.shadow = here, env, Path(env["XDG_CACHE_HOME"])
        self.options = [*recipes.single_run(folder / "mirror"), "--no-gate"]
        self.s3 = boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"], aws_access_key_id="key",
                               aws_secret_access_key="secret", region_name="us-east-1")  # fmt: skip  # noqa: S106

    def __call__(self, *arguments: str | Path, root: str = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
        command = [MNIST, *arguments, "--root", root]
        environment = os.environ | self.env | env
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment)

    def said(self, *arguments: str | Path) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(self, seed: int = 1, root: str = ROOT) -> dict[str, Any]:
        """Run the flow in this process, and return its result."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            return self.here.result("run", *self.options, "--seed", str(seed), "--root", root)

    def names(self, under: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"a/root/{under}")
        return sorted(item["Key"].removeprefix("a/root/") for page in pages for item in page.get("Contents", []))

    def content(self, name: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=f"a/root/{name}")["Body"].read()
        return body

    def write(self, name: str, content: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=f"a/root/{name}", Body=content)


@pytest.fixture(scope="module")
def in_store(mnist: Mnist, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreMnist]:
    folder = tmp_path_factory.mktemp("store")
    with store(folder) as env:
        yield StoreMnist(mnist, folder, env)


@pytest.fixture(scope="module")
def first(in_store: StoreMnist) -> dict[str, Any]:
    return in_store.run()


@pytest.fixture(scope="module")
def other(in_store: StoreMnist, first: dict[str, Any]) -> dict[str, Any]:
    assert first
    return in_store.run(seed=2)


def test_a_whole_run_leaves_in_the_store_what_it_leaves_in_a_folder(
    in_store: StoreMnist, first: dict[str, Any], tmp_path: Path
) -> None:
    assert first["root"] == ROOT
    held = in_store.names()
    folder = tmp_path / "root"
    in_store.run(root=str(folder))
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    kinds = ("archives/", "splits/", "models/", "predictions/", "selections/")
    for kind in kinds:
        assert (
            {name for name in held if name.startswith(kind)}
            == {name for name in there if name.startswith(kind)}
            != set()
        )
    records = [{name for name in names if re.match("records/(?!draw)", name)} for names in (held, there)]
    assert records[0] == records[1] != set()  # the record of `draw` depends on the duration of the trainings
    assert not [name for name in held if "part" in name or name.startswith(("scratch", "unfinished", "locks"))]
    assert b"<html" in in_store.content(first["report"]["html"])[:100]


def test_altered_objects_are_detected_and_created_again(in_store: StoreMnist, first: dict[str, Any]) -> None:
    name = first["models"]["plain"]["predictions"]
    sound = in_store.content(name)
    in_store.write(name, sound[:-1] + bytes([sound[-1] ^ 1]))
    done = in_store("verify", first["run"])
    assert done.returncode == 1
    assert f"failed verification at evaluate plain on test: {ROOT}/{name} was altered" in done.stderr
    again = in_store.run()
    assert [step["name"] for step in again["steps"] if not step["cached"] and not step["always_runs"]] == [
        "evaluate plain on test"
    ]
    assert again["models"] == first["models"]
    assert in_store.content(name) == sound
    assert in_store("verify", first["run"]).returncode == 0


def test_a_run_in_a_store_is_verified_listed_compared_and_used_to_predict(
    in_store: StoreMnist, first: dict[str, Any], other: dict[str, Any]
) -> None:
    found = in_store.said("verify", first["run"])
    assert found["sound"]
    assert first["run"] in [run["run"] for run in in_store.said("runs")["runs"]]
    before = in_store.names()
    planned = in_store.said("run", *in_store.options, "--seed", "2", "--dry-run")
    assert {step["plan"] for step in planned["steps"]} == {"cached", "always"}
    assert in_store.names() == before
    assert in_store.said("compare", first["run"], other["run"])["images"] == data.FEW["test"]
    (champions,) = in_store.said("champion", "list")["lines"].values()
    assert [entry["number"] for entry in champions][:1] == [1]
    picture = Path(data.MIRROR).parents[2] / "docs" / "errors.png"
    assert in_store.said("predict", picture)["pictures"]


def test_prune_removes_what_nobody_needs_and_another_machine_finds_the_rest(
    in_store: StoreMnist, other: dict[str, Any]
) -> None:
    before = in_store.names()
    planned = in_store.said("prune", "--keep", "1", "--dry-run")
    assert in_store.names() == before
    done = in_store.said("prune", "--keep", "1")
    assert done["runs"] == planned["runs"] != []
    assert other["run"] not in done["runs"]
    left = in_store.names()
    assert not set(done["files"]) & set(left)
    assert not [name for name in left if any(name.startswith(f"runs/{run}/") for run in done["runs"])]
    assert sum(len(in_store.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"a/root/{name}").get("Contents", [])) for name in
               done["files"]) == 0  # fmt: skip
    shutil.rmtree(in_store.shadow)  # as on another machine, which has no local cache
    assert in_store("verify", other["run"]).returncode == 0
    shutil.rmtree(in_store.shadow)
    again = in_store.said("run", *in_store.options, "--seed", "2")  # in another process
    assert not [step for step in again["steps"] if not step["cached"] and not step["always_runs"]]
    assert again["models"] == other["models"]


BROKEN = {
    "no such bucket": ({"root": "s3://nowhere/at/all"}, "s3://nowhere/at/all: The specified bucket"),
    "no store": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, f"can't write under the root {ROOT}: Could not connect"),
    "no credentials": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
                       "Unable to locate credentials; check the bucket, AWS_ENDPOINT_URL and the credentials"),
    "another kind of address": ({"root": "gs://bucket"}, "can't use the root gs://bucket: give a folder, or s3://BUCKET/PREFIX"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_fault_of_a_store_is_reported_in_one_line(in_store: StoreMnist, case: str) -> None:
    given, expected = BROKEN[case]
    said_in_one_line(in_store("prune", "--keep", "1", **given), expected)


@pytest.mark.parametrize("case", ["no such bucket", "no credentials"])
def test_a_run_reports_a_fault_of_a_store_in_one_line(in_store: StoreMnist, case: str) -> None:
    given, expected = BROKEN[case]
    said_in_one_line(in_store("run", *in_store.options, **given), expected)


def said_in_one_line(done: subprocess.CompletedProcess[str], expected: str) -> None:
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("mnist: ")
    assert expected in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:9", "Could not connect to the endpoint URL"),
        ("http//u:canary@", "AWS_ENDPOINT_URL, or the endpoint"),
        ("https://u:canary@[::1:1", "AWS_ENDPOINT_URL, or the endpoint"),
    ],
)
def test_an_unreachable_store_is_reported_in_one_line_by_commands_that_read(
    in_store: StoreMnist, address: str, expected: str
) -> None:
    done = in_store("runs", AWS_ENDPOINT_URL=address)
    assert done.returncode == 2
    assert done.stderr.startswith("mnist: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr
    assert "Traceback" not in done.stderr
