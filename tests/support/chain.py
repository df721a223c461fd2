"""Run every step after the trainings in this process, in the order of the flow."""

from collections.abc import Mapping

from tasks.config.dataset import Dataset
from tasks.config.recipe import Recipe
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import AnalysisRecord
from tasks.schemas.evidence import RunEvidence
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.steps.analyze import analyze
from tasks.steps.attribute_errors import attribute
from tasks.steps.evaluate import evaluate
from tasks.steps.explain_errors import explain
from tasks.steps.measure_features import measure
from tasks.steps.profile_data import profile
from tasks.steps.robustness import stress
from tasks.steps.select_examples import select


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
    return analyze.fn(dataset, recipe, evidence, work)
