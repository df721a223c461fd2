"""Test golden values of MNIST itself.

The label counts are those of Yann LeCun's archives, according to TFDS and torchvision. The hashes of all pixels were computed
with `zcat images.gz | tail -c +17 | sha256sum`, which shares no code with this project.
"""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tasks.config.dataset import BUILT_IN_TEST_CONTENT, load_dataset
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.schemas.records import SplitRecord
from tasks.steps.profile_data import profile
from tests.conftest import decoded
from tests.support import data

COUNTS = {
    "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}
PIXELS = {
    "train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
}


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, SplitRecord]]:
    work = Workspace(root=tmp_path_factory.mktemp("mnist"), run="golden")
    return work, decoded(load_dataset("mnist", [str(data.MIRROR)]), work)


@pytest.mark.parametrize("split", ["train", "test"])
def test_all_decoded_pixels_are_those_of_the_archive(
    mnist: tuple[Workspace, dict[str, SplitRecord]], split: str
) -> None:
    work, splits = mnist
    assert splits[split].pixels_sha256 == PIXELS[split]
    assert hashlib.sha256(read_split([work.root / splits[split].file.path]).images).hexdigest() == PIXELS[split]
    archive: Path = data.MIRROR / data.NAMES[split][0]
    shell = subprocess.run(f"zcat '{archive}' | tail -c +17 | sha256sum", shell=True, capture_output=True, check=True)  # noqa: S602
    assert shell.stdout.decode().split()[0] == PIXELS[split]


def test_the_test_images_are_known_by_their_content(mnist: tuple[Workspace, dict[str, SplitRecord]]) -> None:
    _, splits = mnist
    assert splits["test"].content_sha256 == BUILT_IN_TEST_CONTENT["mnist"]


def test_the_labels_and_the_absence_of_duplicates_are_those_of_mnist(
    mnist: tuple[Workspace, dict[str, SplitRecord]],
) -> None:
    work, splits = mnist
    found = profile.fn(splits["train"], splits["test"], work)
    assert found.counts == COUNTS
    assert found.duplicates_within == {"train": 0, "test": 0}
    assert (found.duplicates_between, found.label_conflicts) == (0, 0)
