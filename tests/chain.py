"""Chain: every step after the trainings, as the flow calls them, in this process."""

from collections.abc import Mapping

from tasks.analyse import analyse
from tasks.attribute import attribute
from tasks.config.dataset import Dataset
from tasks.config.recipe import Recipe
from tasks.engine.workspace import Workspace
from tasks.evaluate import evaluate
from tasks.explain import explain
from tasks.measure import measure
from tasks.profile import profile
from tasks.schemas.analysis import AnalysisRecord
from tasks.schemas.evidence import RunEvidence
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.select import select
from tasks.stress import stress


def analyzed(
    dataset: Dataset, recipe: Recipe, splits: Mapping[str, SplitRecord], models: Mapping[str, ModelRecord],
    work: Workspace, *, robustness: bool = False,
) -> AnalysisRecord:  # fmt: skip
    train, test = splits["train"], splits["test"]
    predictions = {name: evaluate.fn(model, test, work) for name, model in models.items()}
    attributions = {name: attribute.fn(model, predictions[name], train, test, work) for name, model in models.items()}
    selection = select.fn(predictions, test, work)
    evidence = RunEvidence(
        train=train,
        test=test,
        profile=profile.fn(train, test, work),
        measures=measure.fn(test, work),
        models=models,
        predictions=predictions,
        attributions=attributions,
        selection=selection,
        explanations={
            name: explain.fn(model, predictions[name], attributions[name], selection, test, work)
            for name, model in models.items()
        },
        robustness={name: stress.fn(model, test, work) for name, model in models.items() if robustness},
    )
    return analyse.fn(dataset, recipe, evidence, work)
