"""Gallery: the images that the report shows, with all that is known of each.

In: splits with their predictions, explanations, and which images to show. Out: Pictures, which hold their pixels.
"""

from collections.abc import Iterable, Sequence
from math import prod

from tasks.data.evaluated_split import EvaluatedSplit
from tasks.data.predictions_parquet import Predictions
from tasks.images.encoding import encode_pixels
from tasks.schemas.findings import Answer, Explanation, Explanations, Picture

MOST_CARDS, _LEAST = 300, 24  # images: with their explanations some 3 MB of report, and half a minute of one core
_MOST_BYTES = 256 << 10  # of their pixels: of larger images, fewer are shown


def most_shown(shape: Sequence[int]) -> int:
    """How many images of a shape a report holds of one kind, so that its size stays bounded."""
    return max(_LEAST, min(MOST_CARDS, _MOST_BYTES // prod(shape)))


def image_cards(
    indices: Iterable[int], judged: EvaluatedSplit, explained: Sequence[Explanations] = ()
) -> tuple[Picture, ...]:
    """One picture an image, in ascending order, with every model's answer and what explains the wrong ones."""
    marks, given, images_at = judged
    known = [found.by_index for found in explained] or [{} for _ in given]
    chosen = sorted(set(indices))
    images = images_at(chosen)
    return tuple(
        Picture(
            index=index,
            number=int(marks.indices[index]),
            sha256=marks.sha256[index].tobytes().hex(),
            label=int(marks.labels[index]),
            pixels=encode_pixels(images[index]),
            answers=tuple(model_answer(p, index, found.get(index)) for p, found in zip(given, known, strict=True)),
        )
        for index in chosen
    )


def model_answer(predictions: Predictions, index: int, explanation: Explanation | None = None) -> Answer:
    """What one model says of one image."""
    probabilities, predicted = predictions.probabilities[index], int(predictions.predicted[index])
    return Answer(
        predicted=predicted,
        probability=float(probabilities[predicted]),
        label_probability=float(probabilities[int(predictions.labels[index])]),
        explanation=explanation,
    )
