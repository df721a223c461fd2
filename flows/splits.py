"""The first steps of every flow: from the archives to both splits, and to what of them is looked at closely."""

from typing import Any, NamedTuple

from prefect.futures import PrefectFuture

from flows.workers import finished
from tasks.dataset import Dataset
from tasks.decode import decode
from tasks.download import download
from tasks.records import TEST, TRAIN
from tasks.sample import needs_sample, sample
from tasks.workspace import Workspace


class Data(NamedTuple):
    """The archives and the splits, by their names, and samples of those splits that are too large to be looked at whole."""

    archives: dict[str, PrefectFuture[Any]]
    splits: dict[str, Any]  # futures, too; Prefect's types know none as arguments
    samples: dict[str, Any]

    @property
    def looked_at(self) -> dict[str, Any]:
        """What can be taken into memory of each split."""
        return self.splits | self.samples

    @property
    def steps(self) -> list[PrefectFuture[Any]]:
        """All of them, in order."""
        return [*self.archives.values(), *self.splits.values(), *self.samples.values()]


def data_of(source: Dataset, work: Workspace) -> Data:
    """Download and verify the archives, and decode them, all at once."""
    archives = {archive.name: download.submit(archive, source.mirrors, work) for archive in source.archives()}
    splits: dict[str, Any] = {
        name: decode.submit(source, name, archives[split.images.name], archives[split.labels.name], work)  # type: ignore[call-overload]
        for name, split in ((TRAIN, source.train), (TEST, source.test))
    }
    decoded = finished([*archives.values(), *splits.values()])[-len(splits) :]
    samples = {
        name: sample.submit(split, work) for name, split in zip(splits, decoded, strict=True) if needs_sample(split)
    }
    return Data(archives, splits, samples)
