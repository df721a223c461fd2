"""Neighbours: what a model learned from that looks to it most like an image.

In: the features of training images, block by block, and of others. Out: the nearest training images of each, and how rare it is
to be so far.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

NEAREST = 5
_MEBIBYTES = 128  # of distances at once

_LARGEST = 1e15  # of a feature: the squared distances of larger ones are beyond float32

Features = NDArray[np.float32]  # (n, units)


class Nearest:
    """The nearest neighbours of some images among all that were seen.

    `distances` (Euclidean, in ascending order) and `places` (in the order of seeing) have NEAREST columns, once so many were
    seen.
    """

    def __init__(self, asked: Features) -> None:
        self.asked = asked.clip(-_LARGEST, _LARGEST)
        self.seen = 0
        self.distances = np.empty((len(asked), 0))
        self.places = np.empty((len(asked), 0), np.intp)

    def see(self, features: Features) -> None:
        """Take further images into account."""
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
    """The share of `usual` nearest distances below each of `distances`; None where there are none."""
    if not len(usual):
        return [None] * len(distances)
    return [float(rank) / len(usual) for rank in np.searchsorted(np.sort(usual), distances)]
