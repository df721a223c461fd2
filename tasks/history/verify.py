"""Verify that the files of a run, from the archives to the report, still match their records."""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from tasks.data.predictions_parquet import META_KEY, PredictionsMeta
from tasks.errors import ChecksumError
from tasks.history.champions import ENTRY
from tasks.history.run_store import record_path
from tasks.schemas.records import ManifestEntry
from tasks.schemas.results import VerifiedFile
from tasks.schemas.runs import CompletedRun
from tasks.storage.backend import Root, matching, name_under
from tasks.storage.checksummed_json import may_be_checksummed, read_checked_body
from tasks.storage.folders import KEY, Folder
from tasks.storage.storage import storage_of


def verify_run(
    root: Root, run: CompletedRun, advance: Callable[[int], object] = lambda _bytes: None
) -> Iterator[VerifiedFile]:
    """Yield the result for each file of a run in the order of the data, and for each checksummed file.

    The checksummed files are the run's record, all champions, and the records of steps under the root. Nothing is
    written under the root. Files in an object store are fetched into the local cache. `advance` is called with the size
    of each file of the run when it has been verified.
    """
    models = {entry.file.sha256 for entry in run.manifest if entry.kind in {"train", "combine"}}
    archives = {entry.file.sha256 for entry in run.manifest if entry.kind == "download"}
    for entry in run.manifest:
        fault = storage_of(root).verify(entry.file, again=True)
        if fault is None and entry.file.path.startswith(f"{Folder.PREDICTIONS}/"):
            fault = _foreign_predictions(root, entry, models)
        if fault is None and entry.kind == "decode":
            fault = _foreign_split(run, entry, archives)
        advance(entry.file.bytes)
        yield VerifiedFile(role=entry.role, path=entry.file.path, fault=fault)
    for role, path in _checksummed_files(root, run):
        yield VerifiedFile(role=role, path=name_under(root, path), fault=_checksum_fault(path))


def _foreign_predictions(root: Root, entry: ManifestEntry, models: set[str]) -> str | None:
    """Return what is wrong with predictions that were not made by one of the run's models; None if valid."""
    try:
        meta = PredictionsMeta.model_validate_json(
            pq.read_schema(storage_of(root).cache_dir / entry.file.path).metadata[META_KEY]
        )
    except (OSError, pa.ArrowException, TypeError, KeyError, ValidationError):
        return f"{root / entry.file.path} holds no predictions"
    return (
        None
        if meta.model_sha256 in models
        else f"{root / entry.file.path} holds predictions of a model that is not part of the run"
    )


def _foreign_split(run: CompletedRun, entry: ManifestEntry, archives: set[str]) -> str | None:
    """Return what is wrong with a split that was not made from the run's archives; None if valid."""
    sources = {hash_ for split in (run.train, run.test) if entry.file in split.parts for hash_ in split.archives}
    return (
        None
        if sources and sources <= archives
        else f"{entry.file.path} was made from archives that are not part of the run"
    )


def _checksummed_files(root: Root, run: CompletedRun) -> Iterator[tuple[str, Root]]:
    """Yield the run's record, the champions, and the records of steps, each with its role."""
    yield "run", record_path(root, run.run)
    yield from (("champion", path) for path in matching(root, f"{Folder.CHAMPIONS}/*/{ENTRY}"))
    # The file name identifies a damaged record as ours if it begins with the kind of a step.
    steps = {"profile", *(entry.kind for entry in run.manifest)}
    for path in matching(root, f"{Folder.RECORDS}/*.json"):
        if KEY.fullmatch(path.stem) and (path.stem.rpartition("-")[0] in steps or may_be_checksummed(path)):
            yield "record", path


def _checksum_fault(path: Root) -> str | None:
    """Return what is wrong with a checksummed file; None if it is valid."""
    try:
        read_checked_body(path)
    except ChecksumError as error:
        return str(error)
    return None
