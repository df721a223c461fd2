"""Neighbours: what a model learned from that looks to it most like an image.

In: the features of training images and of others. Out: the nearest training images of each, and how rare it is to be so far.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

NEAREST = 5
MEBIBYTES = 128  # of distances at once

Features = NDArray[np.float32]  # (n, units)


def nearest(learned: Features, asked: Features) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distances (Euclidean, in ascending order) and places of the nearest of `learned`, (len(asked), NEAREST) each."""
    found = NearestNeighbors(n_neighbors=min(NEAREST, len(learned)), algorithm="brute").fit(learned)
    with config_context(working_memory=MEBIBYTES):
        distances, places = found.kneighbors(asked)
    return distances.astype(np.float64), places


def rarity(distances: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of `usual` nearest distances below each of `distances`."""
    return np.searchsorted(np.sort(usual), distances) / max(1, len(usual))
