"""Gallery: the images that the report shows, with all that is known of each.

In: splits, predictions, explanations, and which images to show. Out: Pictures, which hold their pixels.
"""

import base64
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.findings import Answer, Explanation, Explanations, Picture
from tasks.predictions import Predictions
from tasks.split import Split


def pictures(
    indices: Iterable[int], split: Split, given: Sequence[Predictions], explained: Sequence[Explanations] = ()
) -> tuple[Picture, ...]:
    """One picture an image, in ascending order, with every model's answer and what explains the wrong ones."""
    known = [found.by_index for found in explained] or [{} for _ in given]
    return tuple(
        Picture(
            index=index,
            sha256=split.sha256[index].hex(),
            label=int(split.labels[index]),
            pixels=encoded(split.images[index]),
            answers=tuple(answer(p, index, found.get(index)) for p, found in zip(given, known, strict=True)),
        )
        for index in sorted(set(indices))
    )


def encoded(image: NDArray[np.uint8]) -> str:
    """An image's bytes, rows x columns, in base64."""
    return base64.b64encode(image.tobytes()).decode()


def answer(predictions: Predictions, index: int, explanation: Explanation | None = None) -> Answer:
    """What one model says of one image."""
    probabilities, predicted = predictions.probabilities[index], int(predictions.predicted[index])
    return Answer(
        predicted=predicted,
        probability=float(probabilities[predicted]),
        label_probability=float(probabilities[int(predictions.labels[index])]),
        explanation=explanation,
    )
