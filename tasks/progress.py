"""Progress: how far a training is.

In: what each batch has cost. Out: a progress artifact, one log line an epoch, and the training's history.
"""

import time
from collections.abc import Sequence

from tasks.bar import Bar
from tasks.log import say
from tasks.records import Epoch


class Figures:
    """Loss and accuracy over `count` images, from those of their batches."""

    def __init__(self) -> None:
        self.count, self.losses, self.right = 0, 0.0, 0.0

    def add(self, count: int, loss: float, accuracy: float) -> None:
        """Take a batch into account."""
        self.count += count
        self.losses += count * float(loss)
        self.right += count * float(accuracy)

    @property
    def loss(self) -> float:
        """The mean loss."""
        return self.losses / self.count

    @property
    def accuracy(self) -> float:
        """The share that was right."""
        return self.right / self.count


class Progress:
    """Reports a training as it runs, and collects its history; `done` is what an earlier run has done of it."""

    def __init__(self, name: str, images: int, epochs: int, done: Sequence[Epoch] = ()) -> None:
        self.name, self.images, self.epochs = name, images, epochs
        self.epoch = self.first = len(done)
        self.history = list(done)
        self.figures = Figures()
        self.bar = Bar(f"training-{name}", f"{name}: starting")
        self.began = self.epoch_began = time.perf_counter()

    def begin(self, epoch: int) -> None:
        """Note which epoch it is, counted from 0."""
        self.epoch, self.figures, self.epoch_began = epoch, Figures(), time.perf_counter()

    def learned(self, count: int, loss: float, accuracy: float) -> None:
        """Take a batch into account, and refresh the artifact, if it is time to."""
        self.figures.add(count, loss, accuracy)
        if self.bar.due():
            self.bar.refresh(self.done, self.line())

    def end(self, validation: Figures | None) -> None:
        """Add a line to the history and to the log."""
        self.history.append(
            Epoch(
                epoch=self.epoch + 1,
                loss=self.figures.loss,
                accuracy=self.figures.accuracy,
                seconds=round(time.perf_counter() - self.epoch_began, 3),
                validation_loss=validation.loss if validation else None,
                validation_accuracy=validation.accuracy if validation else None,
            )
        )
        say(self.line())
        self.bar.refresh(self.done, self.line())

    @property
    def done(self) -> float:
        """The share of all epochs."""
        return (self.epoch + self.figures.count / self.images) / self.epochs

    def line(self) -> str:
        """One line: epoch, loss, accuracy, images a second, time left."""
        elapsed = time.perf_counter() - self.began
        here = self.done - self.first / self.epochs  # what an earlier run has done took no time of this one
        rate, left = here * self.epochs * self.images / elapsed, elapsed * (1 - self.done) / here
        return (
            f"{self.name}: epoch {self.epoch + 1}/{self.epochs}, loss {self.figures.loss:.4f}, "
            f"accuracy {self.figures.accuracy:.2%}, {rate:,.0f} images/s, {left:.0f} s left"
        )
