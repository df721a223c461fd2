"""Find the training images that are nearest to given images in a model's feature space.

Training features arrive block by block. The distance to the nearest training image also shows how unusual an image is.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

NEAREST = 5
_MEBIBYTES = 128  # of working memory for the distances of one block

_LARGEST = 1e15  # limit of a feature's absolute value, so that squared distances fit into float32

Features = NDArray[np.float32]  # (n, units)


class Nearest:
    """The nearest neighbors of some images among all images that were seen.

    `distances` (Euclidean, in ascending order) and `places` (positions in order of arrival) have NEAREST columns, or
    one column per image seen if there are fewer images.
    """

    def __init__(self, asked: Features) -> None:
        self.asked = asked.clip(-_LARGEST, _LARGEST)
        self.seen = 0
        self.distances = np.empty((len(asked), 0))
        self.places = np.empty((len(asked), 0), np.intp)

    def see(self, features: Features) -> None:
        """Update the neighbors with a block of further images, (n, units)."""
        if len(features) and len(self.asked):
            here = NearestNeighbors(n_neighbors=min(NEAREST, len(features)), algorithm="brute").fit(
                features.clip(-_LARGEST, _LARGEST)
            )
            with config_context(working_memory=_MEBIBYTES):
                distances, places = here.kneighbors(self.asked)
            distances, places = np.hstack([self.distances, distances]), np.hstack([self.places, places + self.seen])
            order = distances.argsort(axis=1, kind="stable")[:, :NEAREST]
            self.distances, self.places = (np.take_along_axis(one, order, axis=1) for one in (distances, places))
        self.seen += len(features)


def nearest_distance_percentile(distances: NDArray[np.float64], usual: NDArray[np.float64]) -> list[float | None]:
    """Return the fraction of the `usual` nearest distances that is below each of `distances`.

    The fractions are None if there are no usual distances.
    """
    if not len(usual):
        return [None] * len(distances)
    return [float(rank) / len(usual) for rank in np.searchsorted(np.sort(usual), distances)]
