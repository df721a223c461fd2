"""Evidence: the records that the stages of a flow hand on, by the name of the split or of the model that they belong to.

While a flow is under way, its futures stand in these values for the records that they will become.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.base import TEST, TRAIN
from tasks.schemas.analysis import AnalysisRecord
from tasks.schemas.architecture import ArchitectureRecord
from tasks.schemas.records import (
    ArchiveRecord,
    AttributionRecord,
    ExplanationsRecord,
    FiguresRecord,
    MeasuresRecord,
    ModelRecord,
    PredictionsRecord,
    Profile,
    Record,
    SelectionRecord,
    SplitRecord,
)
from tasks.schemas.robustness import RobustnessRecord


@dataclass(frozen=True)
class PreparedData:
    """The archives and the splits of a data set, and a sample of each split that is too large to be analyzed whole."""

    archives: Mapping[str, ArchiveRecord]
    splits: Mapping[str, SplitRecord]
    samples: Mapping[str, SplitRecord]

    @property
    def train(self) -> SplitRecord:
        """The training split."""
        return self.splits[TRAIN]

    @property
    def test(self) -> SplitRecord:
        """The test split."""
        return self.splits[TEST]

    @property
    def train_sample(self) -> SplitRecord:
        """The training images to analyze: all of them, unless there are too many."""
        return self.samples.get(TRAIN, self.train)

    @property
    def test_sample(self) -> SplitRecord:
        """The test images to analyze: all of them, unless there are too many."""
        return self.samples.get(TEST, self.test)

    @property
    def steps(self) -> tuple[Record, ...]:
        """The record of every step, in the order of the data."""
        return (*self.archives.values(), *self.splits.values(), *self.samples.values())


@dataclass(frozen=True)
class TrainedModels:
    """The models that a flow compares: networks from their trainings, and ensembles of networks.

    `trainings` also holds those of networks that are members of ensembles alone, and no training twice.
    """

    models: Mapping[str, ModelRecord]
    trainings: Mapping[str, ModelRecord]
    ensembles: Mapping[str, ModelRecord]

    @property
    def steps(self) -> tuple[ModelRecord, ...]:
        """The record of every step, in the order of the data."""
        return (*self.trainings.values(), *self.ensembles.values())


@dataclass(frozen=True)
class RunEvidence:
    """All that the analysis of a run takes.

    `train` and `test` are samples where a split is too large. `attributions` holds the predictions for the training split.
    `explanations` and `robustness` may lack some models, or all.
    """

    train: SplitRecord
    test: SplitRecord
    profile: Profile
    measures: MeasuresRecord
    models: Mapping[str, ModelRecord]
    predictions: Mapping[str, PredictionsRecord]
    attributions: Mapping[str, AttributionRecord]
    selection: SelectionRecord
    explanations: Mapping[str, ExplanationsRecord] = field(default_factory=dict)
    robustness: Mapping[str, RobustnessRecord] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Record, ...]:
        """The record of every step but those that made the splits and the models, in the order of the data."""
        return (
            self.profile,
            self.measures,
            *self.predictions.values(),
            *self.attributions.values(),
            self.selection,
            *self.explanations.values(),
            *self.robustness.values(),
        )


@dataclass(frozen=True)
class RunRecords:
    """The records of a run, from the archives to the figures; `layers` may lack some models."""

    data: PreparedData
    trained: TrainedModels
    evidence: RunEvidence
    layers: Mapping[str, ArchitectureRecord]
    analysis: AnalysisRecord
    figures: FiguresRecord | None = None

    @property
    def steps(self) -> tuple[Record, ...]:
        """The record of every step, in the order of the data."""
        return (
            *self.data.steps,
            *self.trained.steps,
            *self.evidence.steps,
            *self.layers.values(),
            self.analysis,
            *([self.figures] if self.figures else []),
        )
