from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.data import batching
from tasks.data.batching import BatchStream, Block, held_out_indices
from tasks.data.split_parquet import SplitMeta, SplitWriter

COUNT, GROUP = 250, 30  # number of images, each of which contains its own number; images per row group
NONE = np.zeros(0, np.intp)

Made = Callable[..., BatchStream]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    meta = SplitMeta(name="train", dataset="d", shape=(2, 2), classes=("a",), archives=("x", "y"))
    numbers = np.arange(COUNT, dtype=np.uint8)
    with SplitWriter(tmp_path, meta) as writer:
        for start in range(0, COUNT, GROUP):
            some = numbers[start : start + GROUP]
            writer.write(np.repeat(some, 4).reshape(-1, 2, 2), some)
    return lambda held_out=NONE, batch=32, seed=1: BatchStream(writer.paths, (2, 2), 1, held_out, batch, seed)


@pytest.fixture(params=["one window", "windows of two groups", "windows of one group"])
def _windows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"one window": 100, "windows of two groups": 2, "windows of one group": 1}[request.param]
    monkeypatch.setattr(batching, "WINDOW_BYTES", groups * GROUP * 4)


def numbers(blocks: list[Block]) -> list[int]:
    for images, labels in blocks:
        np.testing.assert_array_equal(images, np.repeat(labels, 4).reshape(-1, 2, 2))
    return [int(label) for _, labels in blocks for label in labels]


@pytest.mark.usefixtures("_windows")
@pytest.mark.parametrize("batch", [1, 32, 70, 1000])
def test_an_epoch_holds_every_image_once_in_full_batches(made: Made, batch: int) -> None:
    of = made(batch=batch)
    blocks = list(of.epoch(0))
    assert sorted(numbers(blocks)) == list(range(COUNT))
    assert len(blocks) == of.steps
    assert {len(labels) for _, labels in blocks[:-1]} <= {batch}


@pytest.mark.usefixtures("_windows")
def test_the_order_depends_on_seed_and_epoch_alone(made: Made) -> None:
    first = numbers(list(made().epoch(3)))
    again = made()
    list(again.epoch(0))
    assert numbers(list(again.epoch(3))) == first
    assert numbers(list(made(seed=2).epoch(3))) != first
    assert numbers(list(made().epoch(4))) != first


@pytest.mark.usefixtures("_windows")
def test_held_out_images_are_not_trained_on(made: Made) -> None:
    kept, held_out = held_out_indices(COUNT, 40, seed=1)
    of = made(held_out)
    assert of.count == 210
    assert sorted(numbers(list(of.epoch(0)))) == kept.tolist()
    assert numbers(list(of.held_out())) == held_out.tolist()


def test_one_window_is_shuffled_as_one(made: Made) -> None:
    order = np.random.default_rng((1, 0)).permutation(COUNT)
    assert numbers(list(made().epoch(0))) == order.tolist()


def test_no_more_than_a_window_is_in_memory(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WINDOW_BYTES", 2 * GROUP * 4)
    streaming = made()
    windows = [len(labels) for (_, labels), _ in streaming.windows(0)]
    assert max(windows) <= len(streaming.window[1]) <= 2 * GROUP
    assert sum(windows) == COUNT
    assert not streaming.all_is_read


def test_windows_mix_row_groups_from_anywhere(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WINDOW_BYTES", 2 * GROUP * 4)
    firsts = {next(made().windows(epoch))[0][1].min() // GROUP for epoch in range(8)}
    assert len(firsts) > 2


def test_held_out_images_are_a_seeded_share() -> None:
    kept, held_out = held_out_indices(1000, 100, seed=3)
    assert (len(kept), len(held_out)) == (900, 100)
    assert not set(kept) & set(held_out)
    np.testing.assert_array_equal(held_out, held_out_indices(1000, 100, seed=3)[1])
    assert set(held_out) != set(held_out_indices(1000, 100, seed=4)[1])
