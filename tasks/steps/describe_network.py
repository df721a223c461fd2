"""Describe: which layers a saved model has, and how they are connected.

In: the record of a model. Out: an ArchitectureRecord, read from the model's file. A step of its own, after the training, so
that no training is repeated for it; it runs in a worker, which has imported Keras already.
"""

from tasks.analysis.network_description import architecture_of
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.architecture import ArchitectureRecord
from tasks.schemas.records import ModelRecord
from tasks.storage.content_files import require_valid, write_content_addressed
from tasks.storage.folders import Folder
from tasks.training.inference import load_model


@step("describe {model.name}", libraries=("keras", "numpy", "tensorflow"))
def describe(model: ModelRecord, work: Workspace) -> ArchitectureRecord:
    """Describe a model by its own file.

    Raises:
        StorageError: the model is gone or altered, or the description can't be written.
    """
    found = architecture_of(load_model(require_valid(work.root, model.file)), model.name)
    content = found.model_dump_json(exclude_defaults=True).encode()
    return ArchitectureRecord(
        model=model.name,
        file=write_content_addressed(work.root, Folder.ARCHITECTURES, model.name, ".json", content),
    )
