"""What the 2018 post published: its results on an Intel i5-6300HQ, to stand beside ours."""

from tasks.base import Frozen


class Published(Frozen):
    """One line of the post's results; `accuracy` is a share of the 10,000 test images."""

    model: str
    epochs: int
    seconds_per_epoch: float
    accuracy: float
    errors: int


_RESULTS = (
    Published(model="plain", epochs=3, seconds_per_epoch=28, accuracy=0.9717, errors=283),
    Published(model="plain", epochs=10, seconds_per_epoch=28, accuracy=0.9867, errors=133),
    Published(model="batch_norm", epochs=3, seconds_per_epoch=45, accuracy=0.9845, errors=155),
    Published(model="batch_norm", epochs=10, seconds_per_epoch=45, accuracy=0.9894, errors=106),
)


def published_for(dataset: str, model: str) -> tuple[Published, ...]:
    """What the post published for a model, which it trained on MNIST alone."""
    return tuple(result for result in _RESULTS if dataset == "mnist" and result.model == model)


def difference_published(dataset: str) -> float | None:
    """The difference that the post saw between its two models at their best: batch norm's accuracy minus the plain one's."""
    if dataset != "mnist":
        return None
    plain, batch_norm = (
        max(one.accuracy for one in published_for(dataset, model)) for model in ("plain", "batch_norm")
    )
    return round(batch_norm - plain, 4)
