"""Implement the post's program from its description, as a person would write it in an afternoon.

It decodes IDX with loops over `struct`, keeps images as float64, and uses `model.fit`. It handles one model at a time,
with one process each for training, evaluation and error analysis.

Usage: `python -m benchmarks.post train|evaluate|analyze MIRROR FOLDER MODEL [EPOCHS]`.
"""

import gzip
import os
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

MIRROR = Path(__file__).parents[1] / "data" / "mirror" / "mnist"
FILES = {"train": "train-{}-idx{}-ubyte.gz", "test": "t10k-{}-idx{}-ubyte.gz"}
SHOWN = 5  # patterns whose images are drawn


def read_images(path: Path) -> NDArray[np.float64]:
    """Return the images of an archive, (N, rows, columns) float64, decoded one at a time."""
    data = gzip.open(path).read()
    _, count, rows, columns = struct.unpack_from(">IIII", data, 0)
    offset, form = struct.calcsize(">IIII"), f">{rows * columns}B"
    images = np.empty((count, rows, columns))
    for place in range(count):
        images[place] = np.array(struct.unpack_from(form, data, offset)).reshape(rows, columns)
        offset += struct.calcsize(form)
    return images


def read_labels(path: Path) -> NDArray[np.float64]:
    """Return the labels of an archive, (N,) float64, decoded one at a time."""
    data = gzip.open(path).read()
    _, count = struct.unpack_from(">II", data, 0)
    offset = struct.calcsize(">II")
    labels = np.empty(count)
    for place in range(count):
        labels[place] = struct.unpack_from(">B", data, offset)[0]
        offset += 1
    return labels


def read(mirror: Path, split: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the images of a split, (N, rows, columns, 1) float64 between 0 and 1, and its labels."""
    images = read_images(mirror / FILES[split].format("images", 3))
    return images[..., None] / 255, read_labels(mirror / FILES[split].format("labels", 1))


def train(mirror: Path, folder: Path, model: str, epochs: int) -> None:
    """Train one model and save it."""
    import keras
    from keras import layers

    def pooled() -> list[keras.layers.Layer]:
        return [layers.MaxPooling2D(2), *([layers.BatchNormalization(momentum=0.9)] if model == "batch_norm" else [])]

    def convolution(filters: int) -> keras.layers.Layer:
        return layers.Conv2D(filters, 2, padding="same", activation="relu")

    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            *(convolution(8), convolution(8), *pooled()),
            *(convolution(16), convolution(16), convolution(16), *pooled()),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(256, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    images, labels = read(mirror, "train")
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    network.fit(images, keras.utils.to_categorical(labels), batch_size=512, epochs=epochs, verbose=2)
    network.save(folder / f"{model}.keras")


def evaluate(mirror: Path, folder: Path, model: str) -> None:
    """Print the accuracy of a saved model."""
    import keras

    images, labels = read(mirror, "test")
    network = keras.models.load_model(folder / f"{model}.keras")
    _, accuracy = network.evaluate(images, keras.utils.to_categorical(labels), verbose=0)
    print(f"accuracy {accuracy:.4f}")


def analyze(mirror: Path, folder: Path, model: str) -> None:
    """Count the errors of a saved model by label and by pattern, and draw the most frequent patterns."""
    import keras
    from matplotlib.figure import Figure

    images, labels = read(mirror, "test")
    predicted = keras.models.load_model(folder / f"{model}.keras").predict(images, verbose=0).argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    print(Counter(labels[wrong].tolist()))
    patterns = Counter(zip(predicted[wrong].tolist(), labels[wrong].tolist(), strict=True))
    print(patterns.most_common())
    for rank, (pattern, count) in enumerate(patterns.most_common(SHOWN)):
        figure = Figure(figsize=(2 * count, 2))
        places = [place for place in wrong if (predicted[place], labels[place]) == pattern]
        for column, place in enumerate(places, start=1):
            axes = figure.add_subplot(1, count, column)
            axes.imshow(images[place, ..., 0], cmap="gray")
            axes.set_axis_off()
        figure.savefig(folder / f"{model}-{rank}.png")


if __name__ == "__main__":
    step, place, results, name, *rest = sys.argv[1:]
    steps: dict[str, Callable[..., None]] = {"train": train, "evaluate": evaluate, "analyze": analyze}
    steps[step](Path(place), Path(results), name, *map(int, rest))
