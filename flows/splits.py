"""The first stage of every flow: from the archives to both splits, and to a sample of each that is too large."""

from flows.workers import submit, wait_for_all
from tasks.base import TEST, TRAIN
from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace
from tasks.schemas.evidence import PreparedData
from tasks.steps.decode import decode
from tasks.steps.download import download
from tasks.steps.sample import needs_sample, sample


def prepare_data(dataset: Dataset, work: Workspace) -> PreparedData:
    """Download and verify the archives, and decode them, all at once."""
    archives = {archive.name: submit(download, archive, dataset.mirrors, work) for archive in dataset.archives()}
    splits = {
        name: submit(decode, dataset, name, archives[split.images.name], archives[split.labels.name], work)
        for name, split in ((TRAIN, dataset.train), (TEST, dataset.test))
    }
    _, decoded = wait_for_all((archives, splits))
    samples = {name: submit(sample, splits[name], work) for name, split in decoded.items() if needs_sample(split)}
    return PreparedData(archives, splits, samples)
