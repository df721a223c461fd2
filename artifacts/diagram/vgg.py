"""Architecture of VGG-16, from which the network of the post was derived.

Source: Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", table 1,
configuration D. The names and the order are those of `keras.applications`, so that a test can compare the two.
"""

from collections.abc import Iterator

from tasks.schemas.architecture import Architecture, Node

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # 3 x 3 convolutions and filters of each block
_HIDDEN, _CLASSES = 4096, 1000
_SIDE = 224  # side of an image in pixels

# Layers of the post's network: two blocks of VGG-16 with fewer filters, and two hidden layers with fewer units.
_SHRUNK = (
    *("Conv2D 8", "Conv2D 8", "MaxPooling2D"),
    *("Conv2D 16", "Conv2D 16", "Conv2D 16", "MaxPooling2D"),
    *("Dense 256", "Dense 256"),
)


def vgg16() -> Architecture:
    """Return VGG-16 for the 1,000 classes of ImageNet."""
    nodes = tuple(_chained(_layers_of_vgg()))
    return Architecture(name="vgg16", parameters=sum(node.parameters for node in nodes), nodes=nodes)


def _layers_of_vgg() -> Iterator[Node]:
    """Yield the layers of VGG-16, not yet connected."""
    side, channels = _SIDE, 3
    yield Node(key="input_layer", name="input_layer", kind="InputLayer", shape=(side, side, channels))
    for block, (count, filters) in enumerate(_BLOCKS, 1):
        for number in range(1, count + 1):
            yield _vgg_layer(
                f"block{block}_conv{number}",
                "Conv2D",
                shape=(side, side, filters),
                parameters=(3 * 3 * channels + 1) * filters,
                kernel=(3, 3),
                activation="relu",
            )
            channels = filters
        side //= 2
        yield _vgg_layer(f"block{block}_pool", "MaxPooling2D", shape=(side, side, channels), kernel=(2, 2))
    units = side * side * channels
    yield _vgg_layer("flatten", "Flatten", shape=(units,))
    for name, outputs, activation in (
        ("fc1", _HIDDEN, "relu"),
        ("fc2", _HIDDEN, "relu"),
        ("predictions", _CLASSES, "softmax"),
    ):
        yield _vgg_layer(name, "Dense", shape=(outputs,), parameters=(units + 1) * outputs, activation=activation)
        units = outputs


def _vgg_layer(name: str, kind: str, **facts: object) -> Node:
    return Node.model_validate({"key": name, "name": name, "kind": kind, **facts})


def _chained(nodes: Iterator[Node]) -> Iterator[Node]:
    """Yield the nodes, each with the previous node as its input."""
    before: tuple[str, ...] = ()
    for node in nodes:
        yield node.model_copy(update={"inputs": before})
        before = (node.key,)


def is_shrunk_vgg(architecture: Architecture) -> bool:
    """Return whether a model is the network of the post.

    Batch normalization, the size of the images and the number of classes do not matter.
    """
    *found, last = [
        f"{node.kind} {node.shape[-1]}" if node.kind in {"Conv2D", "Dense"} else node.kind
        for node in architecture.nodes
        if node.kind in {"Conv2D", "Dense", "MaxPooling2D"} or node.inner
    ] or [""]
    return tuple(found) == _SHRUNK and last.startswith("Dense")
