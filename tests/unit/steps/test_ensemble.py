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
from tests.conftest import single_threaded

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def members(shared_splits: dict[str, SplitRecord], shared_work: Workspace) -> list[ModelRecord]:
    (plain, norm) = load_recipe("post", epochs=1).trainings()
    wanted: list[Training] = [plain, norm, plain.model_copy(update={"seed": 2})]
    with single_threaded():
        return [train.fn(training, shared_splits["train"], shared_work) for training in wanted]


def test_an_ensemble_answers_by_the_mean_of_its_members(
    members: list[ModelRecord], shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    ensemble = combine.fn(Ensemble(name="all", members=("plain", "batch_norm"), seeds=2), members, shared_work)
    each = [
        read_predictions(shared_work.root / evaluate.fn(one, shared_splits["test"], shared_work).file.path)
        for one in members
    ]
    whole = read_predictions(shared_work.root / evaluate.fn(ensemble, shared_splits["test"], shared_work).file.path)
    np.testing.assert_allclose(whole.probabilities, np.mean([one.probabilities for one in each], axis=0), atol=1e-6)
    assert ensemble.name == whole.meta.model == "all"
    assert ensemble.parameters == sum(model.parameters for model in members)
    assert (ensemble.seed, ensemble.seeds, ensemble.epochs, ensemble.history) == (1, (1, 1, 2), 1, ())
    assert set(ensemble.files()) == {ensemble.file, *(model.file for model in members)}, "its members are in the chain"


def test_an_ensemble_with_shifts_averages_the_predictions_for_the_shifted_images(
    members: list[ModelRecord], shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    (plain, *_) = members
    shifted = combine.fn(Ensemble(name="shifted", members=("plain",), tta_shift=2), [plain], shared_work)
    images = read_split([shared_work.root / shared_splits["test"].file.path]).images[:64]
    wide = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    views = [wide[:, top : top + 28, left : left + 28] for top, left in ((2, 2), (0, 2), (4, 2), (2, 0), (2, 4))]
    one, whole = (batch_predictor(load_model(shared_work.root / model.file.path)) for model in (plain, shifted))
    np.testing.assert_allclose(whole(images), np.mean([one(view) for view in views], axis=0), atol=1e-6)


def test_the_same_members_make_the_same_file(members: list[ModelRecord], shared_work: Workspace) -> None:
    ensemble = Ensemble(name="all", members=("plain", "batch_norm"), seeds=2, tta_shift=1)
    first = combine.fn(ensemble, members, shared_work)
    for record in (shared_work.root / "records").glob("combine-*"):
        record.unlink()
    assert combine.fn(ensemble, members, shared_work).file == first.file


def test_the_features_of_an_ensemble_are_those_of_all_its_members(
    members: list[ModelRecord], shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    ensemble = combine.fn(
        Ensemble(name="all", members=("plain", "batch_norm"), seeds=2, tta_shift=1), members, shared_work
    )
    images = read_split([shared_work.root / shared_splits["test"].file.path]).images[:8]

    def seen(model: ModelRecord) -> np.ndarray:
        return batch_predictor(last_features(load_model(shared_work.root / model.file.path)))(images)

    assert seen(members[0]).shape == (8, 256)
    np.testing.assert_allclose(seen(ensemble), np.concatenate([seen(model) for model in members], axis=1), rtol=1e-5)
