"""The results that the 2018 blog post published, measured on an Intel i5-6300HQ, for comparison with ours."""

from tasks.base import Frozen


class Published(Frozen):
    """One result of the post; `accuracy` is a share of the 10,000 test images."""

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
    """Return the post's results for a model; there are none for datasets other than MNIST."""
    return tuple(result for result in _RESULTS if dataset == "mnist" and result.model == model)


def difference_published(dataset: str) -> float | None:
    """Return the best accuracy of the post's batch norm model minus that of its plain model.

    None for datasets other than MNIST.
    """
    if dataset != "mnist":
        return None
    plain, batch_norm = (
        max(one.accuracy for one in published_for(dataset, model)) for model in ("plain", "batch_norm")
    )
    return round(batch_norm - plain, 4)
