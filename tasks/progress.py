"""Progress: how far a training is.

In: Keras's callbacks. Out: a progress artifact, one log line an epoch, and the training's history.
"""

import time
from collections.abc import Sequence
from typing import Any

import keras

from tasks.bar import Bar
from tasks.log import say
from tasks.records import Epoch


class Progress(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Reports a training as it runs, and collects its history."""

    def __init__(self, name: str, images: int, epochs: int, batch: int, done: Sequence[Epoch] = ()) -> None:
        super().__init__()
        self.name, self.images, self.epochs = name, images, epochs
        self.steps = -(-images // batch)
        self.epoch = self.first = len(done)
        self.history_lines: list[Epoch] = list(done)
        self.bar = Bar(f"training-{name}", f"{name}: starting")
        self.began = self.epoch_began = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Note which epoch it is, counted from 0."""
        self.epoch, self.epoch_began = epoch, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Refresh the artifact, if it is time to."""
        if self.bar.due():
            done = (self.epoch * self.steps + batch + 1) / (self.epochs * self.steps)
            self.bar.refresh(done, self.line(done, time.perf_counter() - self.began, logs or {}))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add a line to the history and to the log."""
        figures: dict[str, Any] = logs or {}
        line = Epoch(
            epoch=epoch + 1,
            loss=figures["loss"],
            accuracy=figures["accuracy"],
            seconds=round(time.perf_counter() - self.epoch_began, 3),
            validation_loss=figures.get("val_loss"),
            validation_accuracy=figures.get("val_accuracy"),
        )
        self.history_lines.append(line)
        done, elapsed = (epoch + 1) / self.epochs, time.perf_counter() - self.began
        text = self.line(done, elapsed, figures)
        say(text)
        self.bar.refresh(done, text)

    def line(self, done: float, elapsed: float, logs: dict[str, float]) -> str:
        """One line: epoch, loss, accuracy, images a second, time left."""
        here = done - self.first / self.epochs  # what an earlier run has done took no time of this one
        rate, left = here * self.epochs * self.images / elapsed, elapsed * (1 - done) / here
        return (
            f"{self.name}: epoch {self.epoch + 1}/{self.epochs}, loss {logs.get('loss', 0):.4f}, "
            f"accuracy {logs.get('accuracy', 0):.2%}, {rate:,.0f} images/s, {left:.0f} s left"
        )
