import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from tasks.config.recipe import Ensemble, Training, load_recipe
from tasks.data.predictions_parquet import read_predictions
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.steps.ensemble import combine
from tasks.steps.evaluate import evaluate
from tasks.steps.train import train
from tasks.training.ensemble_model import last_features
from tasks.training.inference import batch_predictor, load_model


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # From TensorFlow's own modules, on import and when a model is traced.
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def members(splits: dict[str, SplitRecord], work: Workspace) -> list[ModelRecord]:
    (plain, norm) = load_recipe("post", epochs=1).trainings()
    wanted: list[Training] = [plain, norm, plain.model_copy(update={"seed": 2})]
    return [train.fn(training, splits["train"], work) for training in wanted]


def test_an_ensemble_answers_by_the_mean_of_its_members(splits: dict[str, SplitRecord], work: Workspace) -> None:
    models = members(splits, work)
    ensemble = combine.fn(Ensemble(name="all", members=("plain", "batch_norm"), seeds=2), models, work)
    each = [read_predictions(work.root / evaluate.fn(one, splits["test"], work).file.path) for one in models]
    whole = read_predictions(work.root / evaluate.fn(ensemble, splits["test"], work).file.path)
    np.testing.assert_allclose(whole.probabilities, np.mean([one.probabilities for one in each], axis=0), atol=1e-6)
    assert ensemble.name == whole.meta.model == "all"
    assert ensemble.parameters == sum(model.parameters for model in models)
    assert (ensemble.seed, ensemble.seeds, ensemble.epochs, ensemble.history) == (1, (1, 1, 2), 1, ())
    assert set(ensemble.files()) == {ensemble.file, *(model.file for model in models)}, "its members are in the chain"


def test_a_shifted_image_is_asked_about_as_if_it_had_been_given(
    splits: dict[str, SplitRecord], work: Workspace
) -> None:
    (plain, *_) = members(splits, work)
    shifted = combine.fn(Ensemble(name="shifted", members=("plain",), shift=2), [plain], work)
    images = read_split([work.root / splits["test"].file.path]).images[:64]
    wide = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    views = [wide[:, top : top + 28, left : left + 28] for top, left in ((2, 2), (0, 2), (4, 2), (2, 0), (2, 4))]
    one, whole = (batch_predictor(load_model(work.root / model.file.path)) for model in (plain, shifted))
    np.testing.assert_allclose(whole(images), np.mean([one(view) for view in views], axis=0), atol=1e-6)


def test_the_same_members_make_the_same_file(splits: dict[str, SplitRecord], work: Workspace) -> None:
    models = members(splits, work)
    ensemble = Ensemble(name="all", members=("plain", "batch_norm"), seeds=2, shift=1)
    first = combine.fn(ensemble, models, work)
    for record in (work.root / "records").glob("combine-*"):
        record.unlink()
    assert combine.fn(ensemble, models, work).file == first.file


def test_an_ensemble_sees_what_all_its_members_see(splits: dict[str, SplitRecord], work: Workspace) -> None:
    models = members(splits, work)
    ensemble = combine.fn(Ensemble(name="all", members=("plain", "batch_norm"), seeds=2, shift=1), models, work)
    images = read_split([work.root / splits["test"].file.path]).images[:8]

    def seen(model: ModelRecord) -> np.ndarray:
        return batch_predictor(last_features(load_model(work.root / model.file.path)))(images)

    assert seen(models[0]).shape == (8, 256)
    np.testing.assert_allclose(seen(ensemble), np.concatenate([seen(model) for model in models], axis=1), rtol=1e-5)
