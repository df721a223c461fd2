"""The results that the 2018 blog post published, measured on an Intel i5-6300HQ, for comparison with ours."""

from tasks.base import Frozen
from tasks.config.dataset import BUILT_IN_TEST_CONTENT


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


def published_for(test_content: str, model: str) -> tuple[Published, ...]:
    """Return the post's results for a model; there are none for test images other than MNIST's."""
    return tuple(result for result in _RESULTS if _is_mnist(test_content) and result.model == model)


def _is_mnist(test_content: str) -> bool:
    """Return whether a test split is MNIST's, given its `content_sha256`, whatever the name of the dataset."""
    return test_content == BUILT_IN_TEST_CONTENT["mnist"]


def difference_published(test_content: str) -> float | None:
    """Return the best accuracy of the post's batch norm model minus that of its plain model.

    None for test images other than MNIST's.
    """
    if not _is_mnist(test_content):
        return None
    plain, batch_norm = (
        max(one.accuracy for one in published_for(test_content, model)) for model in ("plain", "batch_norm")
    )
    return round(batch_norm - plain, 4)
