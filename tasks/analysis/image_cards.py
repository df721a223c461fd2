"""Collect the images that the report shows, each with its pixels and with every model's prediction and explanation."""

from collections.abc import Iterable, Sequence
from math import prod

from tasks.data.evaluated_split import EvaluatedSplit
from tasks.data.predictions_parquet import Predictions
from tasks.images.encoding import encode_pixels
from tasks.schemas.findings import Answer, Explanation, Explanations, Picture

MAX_CARDS, _MIN_CARDS = 300, 24  # images: with explanations, 300 take about 3 MB of the report and 30 s of one core
_MAX_BYTES = 256 << 10  # of pixels: a report shows fewer of larger images


def max_images_shown(shape: Sequence[int]) -> int:
    """Return the maximum number of images of one kind that a report shows; it bounds the report's size."""
    return max(_MIN_CARDS, min(MAX_CARDS, _MAX_BYTES // prod(shape)))


def image_cards(
    indices: Iterable[int], evaluated: EvaluatedSplit, explained: Sequence[Explanations] = ()
) -> tuple[Picture, ...]:
    """Return one picture per distinct index, in ascending order.

    The explanations are in the order of the predictions; `explained` is empty if there are none.
    """
    split_index, given, images_at = evaluated
    known = [found.by_index for found in explained] or [{} for _ in given]
    chosen = sorted(set(indices))
    images = images_at(chosen)
    return tuple(
        Picture(
            index=index,
            number=int(split_index.indices[index]),
            sha256=split_index.sha256[index].tobytes().hex(),
            label=int(split_index.labels[index]),
            pixels=encode_pixels(images[index]),
            answers=tuple(model_answer(p, index, found.get(index)) for p, found in zip(given, known, strict=True)),
        )
        for index in chosen
    )


def model_answer(predictions: Predictions, index: int, explanation: Explanation | None = None) -> Answer:
    """Return one model's prediction for one image."""
    probabilities, predicted = predictions.probabilities[index], int(predictions.predicted[index])
    return Answer(
        predicted=predicted,
        probability=float(probabilities[predicted]),
        label_probability=float(probabilities[int(predictions.labels[index])]),
        explanation=explanation,
    )
