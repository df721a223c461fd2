import os
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.config.augmentation import Augmentation
from tasks.config.recipe import Dropout, Flatten, MaxPool, Network, OneCycle, Training, load_recipe
from tasks.data.batching import BatchStream, held_out_indices
from tasks.data.predictions_parquet import read_predictions
from tasks.data.split_parquet import read_split
from tasks.engine.cache import CacheMiss, Key, look_up_record
from tasks.engine.workspace import Workspace
from tasks.errors import DivergedError, RecipeError, StorageError
from tasks.filesystem.hashing import sha256_of
from tasks.schemas.records import FileRecord, ModelRecord, SplitRecord
from tasks.steps.evaluate import evaluate
from tasks.steps.train import batches, require_finite_weights, train
from tasks.storage.checksummed_json import dump_with_checksum, load_with_checksum
from tasks.training.inference import batch_predictor, load_model, load_shared_model
from tasks.training.keras_runtime import seed_everything
from tasks.training.network import build, learning_rate

TRAININGS = {training.network.name: training for training in load_recipe("post", epochs=2).trainings()}
PARAMETERS = {"plain": 272_234, "batch_norm": 272_330}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_leaves_a_model_its_history_and_its_seed(
    splits: dict[str, SplitRecord], work: Workspace, name: str
) -> None:
    record = train.fn(TRAININGS[name], splits["train"], work)
    assert record.parameters == PARAMETERS[name]
    assert (record.seed, record.threads, record.trained_on, record.held_out) == (TRAININGS[name].seed, 1, 600, 0)
    assert [line.epoch for line in record.history] == [1, 2]
    assert record.history[1].loss < record.history[0].loss
    assert (work.root / record.file.path).suffix == ".keras"


def test_the_loaded_model_is_judged_as_keras_judges_it(splits: dict[str, SplitRecord], work: Workspace) -> None:
    record = train.fn(TRAININGS["batch_norm"], splits["train"], work)
    found = evaluate.fn(record, splits["test"], work)
    data = read_split([work.root / splits["test"].file.path])
    model = load_model(work.root / record.file.path)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(data.images, data.labels, verbose=0)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-7)
    kept = read_predictions(work.root / found.file.path)
    assert kept.probabilities.shape == (300, 10)
    assert np.allclose(kept.probabilities.sum(axis=1), 1, atol=1e-5)
    assert found.errors == int(kept.wrong.sum())
    assert kept.meta.model_sha256 == record.file.sha256
    np.testing.assert_array_equal(kept.sha256, data.sha256)


def test_the_same_seed_gives_the_same_predictions_and_another_seed_others(
    splits: dict[str, SplitRecord], work: Workspace
) -> None:
    models, hashes = [], []
    for seed, root in ((1, "a"), (1, "b"), (2, "c")):
        place = Workspace(root=work.root, run=root)
        model = train_anew(TRAININGS["plain"].model_copy(update={"seed": seed, "epochs": 1}), splits["train"], place)
        models.append(model.file.sha256)
        found = evaluate.fn(model, splits["test"], place)
        hashes.append(read_predictions(work.root / found.file.path).probabilities.tobytes())
    assert hashes[0] == hashes[1] != hashes[2]
    assert models[0] == models[1] != models[2], "the file holds no time"


def test_random_numbers_of_other_threads_do_not_change_a_training() -> None:
    over = threading.Event()

    def draw() -> None:
        while not over.wait(0.0001):
            random.random()

    def weights() -> list[NDArray[np.float32]]:
        seed_everything(1)
        found: list[NDArray[np.float32]] = build(TRAININGS["plain"].network, (28, 28), 10).get_weights()
        return found

    first = weights()
    random.seed(7)
    thread = threading.Thread(target=draw)
    thread.start()
    again = [weights() for _ in range(3)]
    over.set()
    thread.join()
    for one in again:
        for expected, found in zip(first, one, strict=True):
            np.testing.assert_array_equal(expected, found)


def test_a_killed_training_goes_on_after_its_last_epoch_and_ends_as_if_undisturbed(
    splits: dict[str, SplitRecord], work: Workspace
) -> None:
    training = TRAININGS["batch_norm"].model_copy(update={"epochs": 3})
    whole = train.fn(training, splits["train"], Workspace(root=work.root, run="whole"))
    for record in (work.root / "records").glob("train-*"):
        record.unlink()
    with dying_after(2), pytest.raises(Died):
        train.fn(training, splits["train"], Workspace(root=work.root, run="killed"))
    (state,) = (work.root / "unfinished").glob("train-*/state.json")
    again = train.fn(training, splits["train"], Workspace(root=work.root, run="again"))
    assert not state.exists()
    assert [line.epoch for line in again.history] == [1, 2, 3]
    assert [line.loss for line in again.history] == [line.loss for line in whole.history]
    assert again.fit_seconds == pytest.approx(sum(line.seconds for line in again.history), abs=0.01)
    assert again.file == whole.file, "down to the last bit"


def test_a_split_that_goes_or_changes_while_it_is_read_is_named(
    splits: dict[str, SplitRecord], work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = work.root / splits["train"].file.path
    whole = path.read_bytes()
    # As if the split were too large for one window: it is read again in each epoch.
    monkeypatch.setattr(
        "tasks.data.batching.BatchStream.all_is_read", property(lambda _: False, lambda _, __: None), raising=False
    )
    training = TRAININGS["plain"].model_copy(update={"epochs": 5})
    for harm in (path.unlink, lambda: path.write_bytes(whole[:-400] + bytes(400))):
        path.write_bytes(whole)
        monkeypatch.setattr("tasks.steps.train.evaluate_held_out", lambda *_, harm=harm: (harm(), None)[1])
        with pytest.raises(StorageError, match=f"{path.name} can no longer be read"):
            train.fn(training, splits["train"], work)
        shutil.rmtree(work.root / "unfinished")


class Died(BaseException):
    """An exception that, like SIGKILL, no code of this project catches."""


@contextmanager
def dying_after(epochs: int) -> Iterator[None]:
    from tasks.training.training_progress import Progress

    with pytest.MonkeyPatch.context() as patch:
        begin = Progress.begin

        def die(self: Progress, epoch: int) -> None:
            if epoch == epochs:
                raise Died
            begin(self, epoch)

        patch.setattr(Progress, "begin", die)
        yield


@pytest.mark.parametrize("harm", ["state.json", "epoch-"])
def test_a_broken_back_up_is_left_aside(splits: dict[str, SplitRecord], work: Workspace, harm: str) -> None:
    training = TRAININGS["plain"]
    with dying_after(1), pytest.raises(Died):
        train.fn(training, splits["train"], work)
    for path in (work.root / "unfinished").glob(f"train-*/{harm}*"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert [line.epoch for line in train.fn(training, splits["train"], work).history] == [1, 2]


def train_anew(training: Training, split: SplitRecord, work: Workspace) -> ModelRecord:
    for record in (work.root / "records").glob("train-*"):
        record.unlink()
    return train.fn(training, split, work)


def test_the_post_architecture_is_read_top_to_bottom() -> None:
    from tasks.training.network import build

    names = [type(layer).__name__ for layer in build(TRAININGS["batch_norm"].network, (28, 28), 10).layers]
    pool, norm = ["MaxPooling2D"], ["BatchNormalization"]
    convolutions = ["Conv2D"] * 2 + pool + norm + ["Conv2D"] * 3 + pool + norm
    assert names == ["Reshape", "Rescaling", *convolutions, "Flatten", "Dense", "Dense", "Dense"]


def test_layers_that_do_not_fit_the_images_are_refused() -> None:
    from tasks.training.network import build

    pool = MaxPool(layer="max_pool", size=20)
    with pytest.raises(RecipeError, match=r"the layers of model 'deep' don't fit images of 28 x 28 pixels"):
        build(Network(name="deep", layers=(pool, pool, Flatten(layer="flatten"))), (28, 28), 10)


def test_validation_figures_stand_in_the_history(splits: dict[str, SplitRecord], work: Workspace) -> None:
    training = TRAININGS["plain"].model_copy(update={"validation": 0.1, "epochs": 1})
    record = train.fn(training, splits["train"], work)
    assert (record.trained_on, record.held_out) == (540, 60)
    assert record.history[0].validation_accuracy is not None


def test_one_cycle_rises_and_falls_to_nothing() -> None:
    from tasks.training.network import learning_rate

    schedule = OneCycle(kind="one_cycle", warm_up=0.1)
    training = TRAININGS["plain"].model_copy(update={"schedule": schedule, "learning_rate": 0.01})
    rate = learning_rate(training, 100)
    assert [float(rate(step)) for step in (0, 5, 10, 55, 100)] == pytest.approx([0, 0.005, 0.01, 0.005, 0], abs=1e-6)
    at_once = training.model_copy(update={"schedule": schedule.model_copy(update={"warm_up": 0.0})})
    assert float(learning_rate(at_once, 100)(0)) == pytest.approx(0.01)


def test_smoothed_labels_cost_what_keras_says_they_cost() -> None:
    import keras

    from tasks.training.network import cross_entropy

    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
    loss = cross_entropy(0.3)
    assert callable(loss)
    vectors = np.eye(3)[[0, 2]] * 0.7 + 0.1
    found = keras.ops.convert_to_numpy(loss(np.array([[0], [2]], np.uint8), probabilities))
    np.testing.assert_allclose(found, -(vectors * np.log(probabilities)).sum(axis=1), rtol=1e-5)


def assert_ends_as_if_undisturbed(training: Training, split: SplitRecord, work: Workspace) -> None:
    whole = train.fn(training, split, Workspace(root=work.root, run="whole"))
    for record in (work.root / "records").glob("train-*"):
        record.unlink()
    with dying_after(1), pytest.raises(Died):
        train.fn(training, split, Workspace(root=work.root, run="killed"))
    assert train.fn(training, split, Workspace(root=work.root, run="again")).file == whole.file


def test_a_training_with_schedule_and_smoothing_goes_on_where_it_was(
    splits: dict[str, SplitRecord], work: Workspace
) -> None:
    changes = {"schedule": OneCycle(kind="one_cycle", warm_up=0.2), "label_smoothing": 0.1}
    training = TRAININGS["plain"].model_copy(update=changes)
    assert_ends_as_if_undisturbed(training, splits["train"], work)


def test_a_training_with_augmentation_dropout_and_averages_goes_on_where_it_was(
    splits: dict[str, SplitRecord], work: Workspace
) -> None:
    layers = (*TRAININGS["plain"].network.layers, Dropout(layer="dropout", rate=0.3))
    training = TRAININGS["plain"].model_copy(
        update={
            "network": Network(name="dropping", layers=layers),
            "augmentation": Augmentation(shift=2, rotation=10, elastic=0.5),
            "weight_averaging": 0.5,
        }
    )
    assert_ends_as_if_undisturbed(training, splits["train"], work)


def test_each_epoch_sees_other_images_by_the_seed_alone(splits: dict[str, SplitRecord], work: Workspace) -> None:
    training = TRAININGS["plain"].model_copy(update={"augmentation": Augmentation(shift=2)})
    paths = [work.root / splits["train"].file.path]
    stream = BatchStream(paths, (28, 28), 10, np.zeros(0, np.intp), 600, training.seed)

    def seen(epoch: int) -> NDArray[np.uint8]:
        ((images, _),) = batches(stream, training, epoch)
        return images

    np.testing.assert_array_equal(seen(0), seen(0))
    plain, augmented = (
        np.sort(images.reshape(600, -1).sum(axis=1)) for images in (next(iter(stream.epoch(0)))[0], seen(0))
    )
    assert (plain != augmented).any()
    assert (np.sort(seen(1).reshape(600, -1).sum(axis=1)) != augmented).any()


def test_averaged_weights_are_what_keras_averages(splits: dict[str, SplitRecord], work: Workspace) -> None:
    import keras

    from tasks.training.network import compile_for

    training = TRAININGS["plain"].model_copy(update={"epochs": 1, "batch": 100, "weight_averaging": 0.7})
    record = train.fn(training, splits["train"], work)
    stream = BatchStream(
        [work.root / splits["train"].file.path], (28, 28), 10, np.zeros(0, np.intp), 100, training.seed
    )
    seed_everything(training.seed)
    model = build(training.network, (28, 28), 10)
    compile_for(training.model_copy(update={"weight_averaging": None}), model, stream.steps)
    average = [weight.numpy() for weight in model.trainable_variables]
    for number, (images, labels) in enumerate(stream.epoch(0)):
        model.train_on_batch(images, labels)
        keep = 0.7 if number else 0.0  # the average starts with the initial weights
        average = [
            keep * before + (1 - keep) * weight.numpy()
            for before, weight in zip(average, model.trainable_variables, strict=True)
        ]
    saved = keras.models.load_model(work.root / record.file.path, compile=False).trainable_variables
    for found, expected in zip(saved, average, strict=True):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_weights_are_back_in_their_place_after_an_error_at_their_averages() -> None:
    from tasks.training.network import averaged_weights, compile_for

    training = TRAININGS["plain"].model_copy(update={"weight_averaging": 0.7})
    model = build(training.network, (28, 28), 10)
    compile_for(training, model, 10)
    images = np.random.default_rng(1).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    for _ in range(2):
        model.train_on_batch(images, np.arange(20) % 10)
    before = [weight.numpy() for weight in model.trainable_variables]
    with pytest.raises(RuntimeError), averaged_weights(model):
        assert any((old != new.numpy()).any() for old, new in zip(before, model.trainable_variables, strict=True))
        raise RuntimeError
    for old, new in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_validation_uses_averaged_weights_and_does_not_change_the_training(
    splits: dict[str, SplitRecord], work: Workspace
) -> None:
    training = TRAININGS["batch_norm"].model_copy(update={"batch": 100, "validation": 0.2, "weight_averaging": 0.9})
    record = train.fn(training, splits["train"], work)
    _, held_out = held_out_indices(600, 120, training.seed)
    data = read_split([work.root / splits["train"].file.path])
    given = batch_predictor(load_model(work.root / record.file.path))(data.images[held_out])
    accuracy = (given.argmax(axis=1) == data.labels[held_out]).mean()
    assert record.history[-1].validation_accuracy == pytest.approx(accuracy, abs=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.steps.train.evaluate_held_out", lambda *_: None)
        assert train_anew(training, splits["train"], work).file == record.file


def test_an_invalid_model_or_a_model_with_code_is_rejected(work: Workspace) -> None:
    import keras

    work.root.mkdir(parents=True)
    path = work.root / "model.keras"
    path.write_bytes(os.urandom(100))
    with pytest.raises(StorageError, match="can't load the model"):
        load_model(path)
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(path)
    with pytest.raises(StorageError, match=r"can't load the model.*[Ll]ambda"):
        load_model(path)


def test_steps_of_a_process_share_a_model_while_its_file_is_unaltered(work: Workspace) -> None:
    import keras

    path = work.root / "model.keras"
    work.root.mkdir(parents=True)
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    file = FileRecord(path=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))
    assert load_shared_model(work.root, file) is load_shared_model(work.root, file)
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(StorageError, match="run again to recreate it"):
        load_shared_model(work.root, file)


@pytest.mark.parametrize("name", ["../outside", "/outside", "assets/../../outside", "assets/x.txt"])
def test_a_model_that_brings_other_files_is_refused(work: Workspace, name: str) -> None:
    import keras

    work.root.mkdir(parents=True)
    path = work.root / "model.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    load_model(path)
    with zipfile.ZipFile(path, "a") as parts:
        parts.writestr(name, "x")
    with pytest.raises(StorageError, match=f"it holds unexpected parts: {name}"):
        load_model(path)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_model_with_a_broken_part_is_refused(work: Workspace, name: str) -> None:
    import keras

    work.root.mkdir(parents=True)
    whole, path = work.root / "whole.keras", work.root / "model.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(whole)
    with zipfile.ZipFile(whole) as parts, zipfile.ZipFile(path, "w") as broken:
        for part in parts.namelist():
            broken.writestr(part, parts.read(part) if part != name else b"nonsense")
    with pytest.raises(StorageError, match="can't load the model"):
        load_model(path)


def test_a_model_that_is_not_the_recorded_one_is_not_loaded(splits: dict[str, SplitRecord], work: Workspace) -> None:
    record = train.fn(TRAININGS["plain"].model_copy(update={"epochs": 1}), splits["train"], work)
    other = record.model_copy(update={"file": record.file.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(StorageError, match="was altered"):
        evaluate.fn(other, splits["test"], work)


def test_nothing_is_unpickled(splits: dict[str, SplitRecord], work: Workspace) -> None:
    """Every step that reads files is checked with the interpreter's audit events."""
    code = """
import sys
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.steps.evaluate import evaluate
from tasks.data.split_parquet import read_split
from tasks.data.predictions_parquet import read_predictions
import keras

model, split = ModelRecord.model_validate_json(sys.argv[2]), SplitRecord.model_validate_json(sys.argv[3])
work = Workspace.model_validate_json(sys.argv[1])
found = []
sys.addaudithook(lambda event, arguments: found.append(arguments) if event.startswith("pickle.") else None)
read_predictions(work.root / evaluate.fn(model, split, work).file.path)
evaluate.fn(model, split, work)
assert not found, found
import pickle
pickle.loads(pickle.dumps(print))
assert found, "the audit hears nothing"
"""
    record = train.fn(TRAININGS["plain"].model_copy(update={"epochs": 1}), splits["train"], work)
    given = [one.model_dump_json() for one in (work, record, splits["test"])]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *given], check=True)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_that_diverges_stops_and_leaves_nothing(
    splits: dict[str, SplitRecord], work: Workspace, name: str
) -> None:
    training = TRAININGS[name].model_copy(update={"learning_rate": 1e30})
    with pytest.raises(DivergedError) as caught:
        train.fn(training, splits["train"], work)
    said = str(caught.value)
    assert said.startswith(f"the training of {name} (seed 1) diverged in epoch 1 of 2: the ")
    assert "no model was kept; lower the recipe's learning_rate (1e+30)" in said
    assert "\n" not in said
    assert not list((work.root / "models").glob("*"))
    assert not list((work.root / "records").glob("train-*"))


def test_weights_that_are_not_finite_are_named() -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="last")])
    require_finite_weights(model)
    model.layers[-1].set_weights([np.array([[1.0], [np.inf]]), np.zeros(1)])
    with pytest.raises(DivergedError, match=r"the weights .*last/kernel are not finite"):
        require_finite_weights(model)


def test_non_finite_outputs_are_rejected_for_unaltered_images_only() -> None:
    import keras

    inputs = keras.Input((2, 2), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    network = keras.Model(inputs, keras.ops.divide(flat, keras.ops.max(flat, axis=1, keepdims=True)), name="scaled")
    images = np.array([np.zeros((2, 2)), np.full((2, 2), 255)], np.uint8)
    with pytest.raises(DivergedError, match="model scaled outputs values that are not finite for 1 of 2 images"):
        batch_predictor(network)(images)
    np.testing.assert_array_equal(batch_predictor(network, modified=True)(images), [[0] * 4, [1] * 4])


def test_a_schedule_of_few_steps_comes_down_again() -> None:
    schedule = OneCycle(kind="one_cycle", warm_up=0.9)
    training = TRAININGS["plain"].model_copy(update={"schedule": schedule})
    for steps in (1, 2, 3):
        rates = learning_rate(training, steps)
        assert not isinstance(rates, float)
        assert np.isfinite([float(rates(step)) for step in range(steps)]).all()


def test_a_record_with_numbers_that_are_not_finite_is_a_cache_miss(
    splits: dict[str, SplitRecord], work: Workspace
) -> None:
    """Earlier versions kept such records of diverged trainings."""
    record = train.fn(TRAININGS["plain"].model_copy(update={"epochs": 1}), splits["train"], work)
    (path,) = (work.root / "records").glob("train-*")
    envelope = load_with_checksum(path.read_bytes())
    key = Key(envelope["key"], path.stem)
    assert look_up_record(key, ModelRecord, work.root) == record
    envelope["record"]["history"][0]["loss"] = float("nan")
    path.write_bytes(dump_with_checksum(envelope))
    assert isinstance(look_up_record(key, ModelRecord, work.root), CacheMiss)


def test_a_batch_may_be_larger_than_the_split(splits: dict[str, SplitRecord], work: Workspace) -> None:
    training = TRAININGS["batch_norm"].model_copy(update={"batch": 60_000, "epochs": 1, "validation": 0.5})
    assert train.fn(training, splits["train"], work).trained_on == 300
