"""Group the records that the stages of a flow exchange, by the name of the split or the model.

While a flow runs, the fields hold futures in place of the records.
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
    """The archives and splits of a dataset, and a sample of each split that is too large to analyze in full."""

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
        """The training images to analyze: the sample if there is one, otherwise the full split."""
        return self.samples.get(TRAIN, self.train)

    @property
    def test_sample(self) -> SplitRecord:
        """The test images to analyze: the sample if there is one, otherwise the full split."""
        return self.samples.get(TEST, self.test)

    @property
    def steps(self) -> tuple[Record, ...]:
        """The record of every step, in the order of the data."""
        return (*self.archives.values(), *self.splits.values(), *self.samples.values())


@dataclass(frozen=True)
class TrainedModels:
    """The models that a flow compares: trained networks, and ensembles of networks.

    `trainings` also holds networks that are only members of an ensemble. It holds no training twice.
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
    """The inputs of a run's analysis.

    `train` and `test` are samples if a split is too large. `attributions` also holds the predictions for the training
    split. `explanations` and `robustness` can lack some or all models.
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


@dataclass(frozen=True)
class RunRecords:
    """The records of a run, from the archives to the figures; `layers` can lack some models."""

    data: PreparedData
    trained: TrainedModels
    evidence: RunEvidence
    layers: Mapping[str, ArchitectureRecord]
    analysis: AnalysisRecord
    figures: FiguresRecord | None = None

    @property
    def steps(self) -> tuple[Record, ...]:
        """The record of every step, in the order of the data."""
        evidence = self.evidence
        return (
            *self.data.steps,
            evidence.profile,
            evidence.measures,
            *self.trained.steps,
            *evidence.predictions.values(),
            *evidence.attributions.values(),
            evidence.selection,
            *evidence.explanations.values(),
            *self.layers.values(),
            *evidence.robustness.values(),
            self.analysis,
            *([self.figures] if self.figures else []),
        )
