"""Report the progress of a training: a progress artifact, one log line per epoch, and the training's history."""

import time
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import SupportsFloat

from tasks.engine.run_log import log
from tasks.engine.task_progress import ProgressBar
from tasks.errors import DivergedError
from tasks.schemas.records import Epoch

Figures = Mapping[str, SupportsFloat]  # "loss" and "accuracy" over the epoch's images so far


class Progress:
    """Progress of one training, with its history.

    `done` is the history of the epochs that an earlier run has finished.
    """

    def __init__(self, name: str, images: int, epochs: int, done: Sequence[Epoch] = ()) -> None:
        self.name, self.images, self.epochs = name, images, epochs
        self.epoch = self.first = len(done)
        self.history = list(done)
        self.seen = 0
        self.figures: Figures = {}
        self.bar = ProgressBar(f"training-{name}", f"{name}: starting")
        self.began = self.epoch_began = time.perf_counter()

    def begin(self, epoch: int) -> None:
        """Start an epoch, counted from 0."""
        self.epoch, self.seen, self.epoch_began = epoch, 0, time.perf_counter()

    def add_batch(self, count: int, figures: Figures) -> None:
        """Record a batch of `count` images and the epoch's loss and accuracy so far.

        The artifact is refreshed if enough time has passed.
        """
        self.seen, self.figures = self.seen + count, figures
        if self.bar.due():
            self.bar.refresh(self.done, self.line())

    def end(self, validation: Figures | None) -> None:
        """Add the finished epoch to the history and to the log.

        Raises:
            DivergedError: If a loss is not finite.
        """
        for what, figures in (("loss", self.figures), ("validation loss", validation)):
            if figures and not isfinite(float(figures["loss"])):
                raise DivergedError(f"the {what} is {float(figures['loss'])}")
        self.history.append(
            Epoch(
                epoch=self.epoch + 1,
                loss=float(self.figures["loss"]),
                accuracy=float(self.figures["accuracy"]),
                seconds=round(time.perf_counter() - self.epoch_began, 3),
                validation_loss=float(validation["loss"]) if validation else None,
                validation_accuracy=float(validation["accuracy"]) if validation else None,
            )
        )
        log(self.line())
        self.bar.refresh(self.done, self.line())

    @property
    def done(self) -> float:
        """The finished fraction of all epochs."""
        return (self.epoch + self.seen / self.images) / self.epochs

    def line(self) -> str:
        """Return one line with epoch, loss, accuracy, images per second and remaining time."""
        elapsed = time.perf_counter() - self.began
        here = self.done - self.first / self.epochs  # epochs of an earlier run took no time in this run
        rate, left = here * self.epochs * self.images / elapsed, elapsed * (1 - self.done) / here
        return (
            f"{self.name}: epoch {self.epoch + 1}/{self.epochs}, loss {float(self.figures['loss']):.4f}, "
            f"accuracy {float(self.figures['accuracy']):.2%}, {rate:,.0f} images/s, {left:.0f} s left"
        )
