"""Describe the layers of a saved model and their connections.

The description is a step of its own, after the training, so that a change to it does not repeat any training. It runs
in a worker process, which has already imported Keras.
"""

from tasks.analysis.network_description import architecture_of
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.architecture import ArchitectureRecord
from tasks.schemas.records import ModelRecord
from tasks.storage.content_files import write_content_addressed
from tasks.storage.folders import Folder
from tasks.training.inference import load_shared_model


@step("describe {model.name}", libraries=("keras", "numpy", "tensorflow"))
def describe(model: ModelRecord, work: Workspace) -> ArchitectureRecord:
    """Describe the architecture of a model from its saved file.

    Raises:
        StorageError: If the model is missing or altered, or the description can't be written.
    """
    found = architecture_of(load_shared_model(work.root, model.file), model.name)
    content = found.model_dump_json(exclude_defaults=True).encode()
    return ArchitectureRecord(
        model=model.name,
        file=write_content_addressed(work.root, Folder.ARCHITECTURES, model.name, ".json", content),
    )
