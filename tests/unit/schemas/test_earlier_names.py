"""Test that renamed fields are read under their earlier names, and are written under their present names only."""

import importlib
import json
import pkgutil
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import AliasChoices, JsonValue, TypeAdapter, ValidationError

import tasks.config
import tasks.schemas
from artifacts.report.figures import FIGURES
from artifacts.report.renderer import Rendering
from artifacts.study.renderer import StudyRendering
from tasks.base import Frozen
from tasks.config.dataset import Dataset, load_dataset
from tasks.config.recipe import load_recipe
from tasks.engine.workspace import Workspace
from tasks.history.champions import champion_history, champion_lines
from tasks.history.run_store import finished_runs, read_run
from tasks.schemas.analysis import AugmentationPreview, Report
from tasks.schemas.findings import Attribution, Explanations, NeighborSet
from tasks.schemas.records import ArchiveRecord, AttributionRecord, ManifestEntry, SplitRecord
from tasks.schemas.runs import Champion, CompletedRun, RunRecord
from tasks.schemas.study import Study
from tasks.storage.checksummed_json import dump_with_checksum, load_with_checksum
from tests.support.finished import finished
from tests.support.samples import DECISION, FILE, FIRST, analysis_of_two, explained, model, provenance, record_of
from tests.unit.artifacts.test_study import study_over
from tests.unit.storage.test_roots import FIXTURE

RENAMED = {  # class: present name: earlier name
    "Analysis": {
        "label_issues": "suspects",
        "correction_regions": "mendings",
        "training_pictures": "trained",
        "augmentation_preview": "altered",
    },
    "ArchiveRecord": {"failed_mirrors": "passed_over"},
    "AttributionRecord": {"neighbors": "neighbours"},
    "Champion": {"rollback_to": "below"},
    "Claim": {"source": "said_by"},
    "CompletedRun": {"manifest": "chain"},
    "CorrectionRegion": {"region": "place"},
    "Dataset": {"license": "licence"},
    "Ensemble": {"tta_shift": "shift"},
    "Explanations": {"saliency_maps": "focus"},
    "HardImage": {"predicted": "taken_for"},
    "LabelIssue": {"by_models": "named", "by_cleanlab": "cleanlab"},
    "LabelIssues": {"by_models": "named"},
    "ModelAnalysis": {"saliency_maps": "focus", "confident_errors": "confident"},
    "ModelPair": {"seeds_needed": "needed"},
    "NeighborSet": {"neighbors": "neighbours", "nearest_distance_percentile": "rarity"},
    "Origin": {"environment": "surroundings"},
    "Study": {"license": "licence"},
    "Subject": {"license": "licence"},
}
FIELDS = [(kind, name, earlier) for kind, names in RENAMED.items() for name, earlier in names.items()]


def with_subclasses(kind: type[Frozen]) -> Iterator[type[Frozen]]:
    """Yield a class and all classes that derive from it."""
    yield kind
    for one in kind.__subclasses__():
        yield from with_subclasses(one)


def earlier_names(kind: type[Frozen]) -> dict[str, str]:
    """Return the earlier name of each renamed field of a class."""
    found = {}
    for name, field in kind.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            present, earlier = field.validation_alias.choices
            assert present == name
            found[name] = str(earlier)
    return found


def as_earlier(value: object) -> JsonValue:
    """Return a value as the JSON of an earlier version, with the earlier name of each renamed field."""
    if isinstance(value, Frozen):
        names = {name: name for name, field in type(value).model_fields.items() if not field.exclude}
        names |= earlier_names(type(value))
        return {earlier: as_earlier(getattr(value, name)) for name, earlier in names.items()}
    if isinstance(value, tuple):
        return [as_earlier(one) for one in value]
    if isinstance(value, dict):
        return {str(name): as_earlier(one) for name, one in value.items()}
    found: JsonValue = TypeAdapter(type(value)).dump_python(value, mode="json")
    return found


def values_in(value: object) -> Iterator[Frozen]:
    """Yield a value and all values that it contains."""
    if isinstance(value, Frozen):
        yield value
        for name in type(value).model_fields:
            yield from values_in(getattr(value, name))
    elif isinstance(value, tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from values_in(one)


@cache
def report() -> Report:
    """Return the content of a report, with each of its optional parts that has a renamed field."""
    preview = AugmentationPreview(before=("AAAAAA==",), after=("////AA==",))  # 2 x 2 pixels
    analysis = analysis_of_two().model_copy(update={"augmentation_preview": preview})
    archive = ArchiveRecord(name="a", file=FILE, mirror="https://b/", failed_mirrors=("https://c/: HTTP 404",))
    origins = provenance().model_copy(update={"archives": (archive,)})
    return Report(provenance=origins, decision=DECISION, changes=None, analysis=analysis)


@cache
def documents() -> tuple[Frozen, ...]:
    """Return documents and records that contain every renamed field."""
    recipe = load_recipe("best")
    predictions = record_of("plain", FIRST)
    file = ManifestEntry(role="train plain", kind="train", file=FILE)
    split = SplitRecord(
        name="test", file=FILE, count=6, shape=(2, 2), classes=("a", "b"), pixels_sha256="", archives=("", "")
    )
    run = RunRecord(
        run="r", began=provenance().began, dataset="drawn", train=split, test=split, libraries={}, code="", recipe=recipe,
        models=(model("plain"),), predictions=(predictions,), manifest=(file,),
    )  # fmt: skip
    champion = Champion(
        number=2, at=run.began, action="promoted", dataset="drawn", run="r", model=model("plain"), predictions=predictions,
        rollback_to=1,
    )  # fmt: skip
    attribution = AttributionRecord(**dict(predictions), neighbors=FILE)
    explanations = explained("plain", FIRST)
    near = next(iter(explanations.by_index.values()))
    neighbors = NeighborSet(**{name: getattr(near, name) for name in NeighborSet.model_fields})
    attributions = Attribution(model="plain", by_index={1: neighbors})
    dataset = load_dataset("mnist").model_copy(update={"mirrors": ()})
    return (report(), study_over(5), run, champion, attribution, explanations, attributions, dataset)


def test_every_renamed_field_is_in_the_table() -> None:
    for package in (tasks.config, tasks.schemas):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    kinds = [kind for kind in with_subclasses(Frozen) if kind.__module__.startswith("tasks.")]
    declared = {
        kind.__name__: {name: old for name, old in earlier_names(kind).items() if name in kind.__annotations__}
        for kind in kinds
    }
    assert {name: fields for name, fields in declared.items() if fields} == RENAMED


@pytest.mark.parametrize(("kind", "name", "earlier"), FIELDS, ids=str)
def test_a_field_is_read_under_its_earlier_name_and_not_under_both(kind: str, name: str, earlier: str) -> None:
    found = (one for document in documents() for one in values_in(document))
    value = next(one for one in found if kind in {base.__name__ for base in type(one).__mro__})
    content = value.model_dump(mode="json")
    assert earlier not in content
    with pytest.raises(ValidationError):
        type(value).model_validate({**content, earlier: content[name]})
    content[earlier] = content.pop(name)
    assert type(value).model_validate(content) == value


@pytest.mark.parametrize(
    "kind", [Report, Study, RunRecord, Champion, AttributionRecord, Explanations, Attribution, Dataset]
)
def test_a_document_of_an_earlier_version_is_read_and_written_with_the_present_names(kind: type[Frozen]) -> None:
    (document,) = (one for one in documents() if type(one) is kind)
    text = json.dumps(as_earlier(document))
    assert text != document.model_dump_json()
    found = kind.model_validate_json(text)
    assert found == document
    assert found.model_dump_json() == document.model_dump_json()


def test_a_report_is_rendered_from_a_document_of_an_earlier_version() -> None:
    found = Report.model_validate_json(json.dumps(as_earlier(report())))
    figures = {name: f"data:,{name}" for name in FIGURES}
    text = Rendering(found, figures).markdown()
    assert text == Rendering(report(), figures).markdown()
    parts = ("The same images, augmented", "https://c/: HTTP 404", "farther away than for 97 %", "data:,saliency_maps")
    for part in (*parts, "all models confidently predict the same class"):
        assert part in text


def test_a_study_is_rendered_from_a_document_of_an_earlier_version() -> None:
    study = study_over(5)
    found = Study.model_validate_json(json.dumps(as_earlier(study)))
    text = StudyRendering(found, provenance(), {}).markdown()
    assert text == StudyRendering(study, provenance(), {}).markdown()
    for part in ("most often predicted: **", "The post reported", "seeds needed"):
        assert part in text


def test_the_record_of_a_run_with_an_ensemble_of_an_earlier_version_is_listed(
    work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset
) -> None:
    run = finished(work, splits, tiny, 1).model_copy(update={"recipe": load_recipe("best"), "number": 1})
    path = work.root / "runs" / run.run / "run.json"
    path.write_bytes(dump_with_checksum(as_earlier(run)))
    recipe = load_with_checksum(path.read_bytes())["recipe"]
    assert {one["shift"] for one in recipe["ensembles"]} >= {1}
    assert finished_runs(work.root) == [run]


def test_the_documents_in_the_root_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "root"
    runs = [read_run(path) for path in sorted(root.glob("runs/*/run.json"))]
    assert all(isinstance(run, CompletedRun) and run.manifest for run in runs)
    (line,) = champion_lines(root)
    assert [entry.rollback_to for entry in champion_history(root, line)] == [None, 1]
    for path in root.glob("explanations/*"):
        written, explanations = json.loads(path.read_bytes()), Explanations.model_validate_json(path.read_bytes())
        assert [one.model_dump() for one in explanations.saliency_maps] == written["focus"]
    for path in root.glob("attributions/*"):
        written, attribution = json.loads(path.read_bytes()), Attribution.model_validate_json(path.read_bytes())
        for index, one in attribution.by_index.items():
            assert one.nearest_distance_percentile == written["by_index"][str(index)]["rarity"]
    records = [load_with_checksum(path.read_bytes())["record"] for path in root.glob("records/download-*")]
    assert all("passed_over" in record for record in records)
    assert all(ArchiveRecord.model_validate(record).failed_mirrors == () for record in records)
