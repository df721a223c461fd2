"""Combine trained networks into one model that averages their probabilities.

The result is a `.keras` model that takes raw bytes, as every other model does. Averaging of probabilities follows
Hansen and Salamon 1990, "Neural network ensembles", IEEE TPAMI 12 (10). Averaging over shifted images follows
Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks", section 4.1.
"""

from collections.abc import Sequence

from tasks.config.recipe import Ensemble
from tasks.engine.cached_task import Hints, step
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ModelRecord
from tasks.storage.content_files import require_valid
from tasks.training.ensemble_model import average_models
from tasks.training.inference import load_model
from tasks.training.keras_runtime import import_keras, seed_everything, threads
from tasks.training.network import save_model


@step(
    "combine {ensemble.name}",
    libraries=("keras", "numpy", "pyarrow", "tensorflow"),
    hints=Hints(result_name="{ensemble.name}"),
)
def combine(ensemble: Ensemble, members: Sequence[ModelRecord], work: Workspace) -> ModelRecord:
    """Combine all members into one model and save it.

    Raises:
        StorageError: If a member is missing or altered, or the model can't be written.
    """
    import_keras()
    seed_everything(members[0].seed)
    networks = [load_model(require_valid(work.root, member.file)) for member in members]
    for number, network in enumerate(networks):
        network.name = f"member_{number}"  # Keras requires distinct names within one model
    model = average_models(networks, ensemble)
    first = members[0]
    return ModelRecord(
        name=ensemble.name,
        file=save_model(model, ensemble.name, work),
        members=tuple(member.file for member in members),
        parameters=model.count_params(),
        trained_on=first.trained_on,
        held_out=first.held_out,
        batch=first.batch,
        seed=first.seed,
        seeds=tuple(member.seed for member in members),
        threads=threads(),
        epochs=first.epochs,
        history=(),
        fit_seconds=round(sum(member.fit_seconds for member in members), 3),
    )
