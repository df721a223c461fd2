"""Choose the limits beyond which a prediction is doubtful, measure their rate of false alarms, and judge predictions.

The limits are quantiles over images that the model was not trained on: half of these images determine the limits, and
the other half the rate of false alarms, so that the rate is not too low. A model can be confident about an image unlike
all training images, so the distance to the training images counts as well.
Sources: Guo et al. 2017, "On calibration of modern neural networks", ICML (temperature); Sun et al. 2022,
"Out-of-distribution detection with deep nearest neighbors", ICML (distance).
"""
# ruff: noqa: PLC0415  # only the choice of limits needs scipy, whose import would delay each `mnist predict` by a second

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.schemas.doubt import DoubtLimits, Judgment

if TYPE_CHECKING:
    from tasks.analysis.neighbors import Features
    from tasks.data.split_parquet import Labels

_LOW_CONFIDENCE, _FAR_AWAY = "low confidence", "unlike the training images"
_TAIL = 0.02  # fraction of predictions beyond each limit: few enough not to be ignored
_SMALLEST = 1e-7  # as in the loss: the logarithm of a probability of 0 would be infinite
_AT_ONCE = 512  # images whose distances are in memory together: 40 MB with 10,000 reference images
_TEMPERATURES = (0.05, 20.0)  # far beyond those of real networks, which are between 0.5 and 5

_Probabilities = NDArray[np.float32]  # (n, classes)


def calibrated(probabilities: _Probabilities, temperature: float | None) -> NDArray[np.float64]:
    """Return the probabilities at a temperature, (n, classes); without a temperature, as they are.

    Examples:
        >>> calibrated(np.array([[0.9, 0.1]], np.float32), 2.0).round(2).tolist()
        [[0.75, 0.25]]
    """
    if temperature is None:
        return probabilities.astype(np.float64)
    powers = probabilities.astype(np.float64).clip(_SMALLEST, 1) ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(probabilities: _Probabilities, labels: "Labels") -> float:
    """Return the temperature with the lowest log loss."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(exponent: float) -> float:
        found = calibrated(probabilities, float(np.exp(exponent)))[rows, labels]
        return float(-np.log(found.clip(_SMALLEST, 1)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def nearest_distances(features: "Features", reference: "Features") -> NDArray[np.float64]:
    """Return the distance of each image to the nearest reference image, (n,)."""
    known = reference.astype(np.float64)
    squares = np.square(known).sum(axis=1)
    found = [np.empty(0)]
    for start in range(0, len(features), _AT_ONCE):
        some = features[start : start + _AT_ONCE].astype(np.float64)
        squared = np.square(some).sum(axis=1) + (squares - 2 * some @ known.T).min(axis=1)
        found.append(np.sqrt(squared.clip(0)))  # rounding can make the distance of equal features negative
    return np.concatenate(found)


def choose_limits(
    probabilities: _Probabilities,
    features: "Features",
    reference: "Features",
    labels: "Labels | None",
    scale: float,
) -> DoubtLimits:
    """Choose the limits of a model on one half of the images, and measure the false alarms on the other half.

    Args:
        probabilities: Predictions for images that the model was not trained on.
        features: (n, units) the model's last features of these images, divided by `scale`.
        reference: (m, units) the features of some training images, divided by `scale`.
        labels: (n,) labels of the images, or None if they must not be read.
        scale: Number by which all features were divided.
    """
    from tasks.analysis.statistics import share_estimate

    distances = nearest_distances(features, reference)
    order = np.random.default_rng(0).permutation(len(distances))  # the first images of a split may be easier
    chosen, measured = np.array_split(order, 2)
    right = np.ones(len(distances), bool) if labels is None else probabilities.argmax(axis=1) == labels
    temperature = None if labels is None else fit_temperature(probabilities[chosen], labels[chosen])
    confidence = calibrated(probabilities, temperature).max(axis=1)
    usual = chosen[right[chosen]] if right[chosen].any() else chosen
    lowest = float(np.quantile(confidence[usual], _TAIL))
    farthest = float(np.quantile(distances[usual], 1 - _TAIL))
    marked = (confidence < lowest) | (distances > farthest)
    good, bad = measured[right[measured]], measured[~right[measured]]
    return DoubtLimits(
        labeled=labels is not None,
        temperature=temperature,
        confidence=lowest,
        distance=farthest,
        scale=scale,
        reference=len(reference),
        chosen_on=len(chosen),
        false_alarms=share_estimate(int(marked[good].sum()), len(good)),
        caught=None if labels is None else share_estimate(int(marked[bad].sum()), len(bad)),
    )


def judge_predictions(
    probabilities: _Probabilities, features: "Features", reference: "Features", limits: DoubtLimits
) -> list[Judgment]:
    """Return the judgment of each prediction; `features` are the model's last features, not yet divided by the scale."""
    confidence = calibrated(probabilities, limits.temperature).max(axis=1)
    distances = nearest_distances(features / np.float32(limits.scale), reference)
    return [
        Judgment(
            confidence=None if limits.temperature is None else float(sure),
            distance=float(far),
            doubts=(_LOW_CONFIDENCE,) * bool(sure < limits.confidence) + (_FAR_AWAY,) * bool(far > limits.distance),
        )
        for sure, far in zip(confidence, distances, strict=True)
    ]


def scale_of(features: "Features") -> float:
    """Return the number by which features are divided, so that they fit into 16 bits."""
    return float(np.abs(features).max(initial=0)) or 1.0


def encode_reference(features: "Features") -> bytes:
    """Return scaled features as a `.npy` file with 16 bits per number."""
    stream = io.BytesIO()
    np.save(stream, features.astype(np.float16), allow_pickle=False)
    return stream.getvalue()


def decode_reference(content: bytes) -> "Features":
    """Return the features in a file that `encode_reference` made, (m, units)."""
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), np.float32)
