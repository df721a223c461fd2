"""Describe the layers of a Keras model and their connections."""
# ruff: noqa: PLC0415  # the worker process imports Keras; the flow process does not

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from tasks.schemas.architecture import Architecture, Node, Shape

if TYPE_CHECKING:
    import keras

Tensor = tuple[str, int, int]  # name of the layer, number of the call, number of the output

# Attributes of layers to describe, with their titles. Kernel, stride and activation have fields of their own in Node.
_SETTINGS = {
    "rate": "rate",
    "groups": "groups",
    "dilation_rate": "dilation",
    "num_heads": "heads",
    "key_dim": "key size",
    "padding": "padding",
    "cropping": "cropping",
    "momentum": "momentum",
}
_DEFAULTS: dict[str, object] = {"groups": 1}


def architecture_of(model: "keras.Model", name: str | None = None) -> Architecture:
    """Return the description of a model.

    A model without a graph that Keras can trace, such as a subclassed model, is described as a single layer.
    """
    try:
        nodes = tuple(_nodes_of(model))
    except Exception:  # noqa: BLE001  # Keras raises various errors for a missing graph or a layer that it can't serialize
        nodes = (_opaque(model),)
    return Architecture(name=name or model.name, parameters=model.count_params(), nodes=nodes)


def _opaque(model: "keras.Model") -> Node:
    """Return a node that describes the whole model as one layer."""
    shape = getattr(model, "output_shape", None)
    return Node(
        key=model.name,
        name=model.name,
        kind=type(model).__name__,
        shape=_without_batch(shape) if isinstance(shape, tuple) else (),
        parameters=model.count_params(),
    )


def _nodes_of(model: "keras.Model") -> Iterator[Node]:
    """Yield the layer calls of a model, each after the calls that it takes its inputs from."""
    import keras

    graph = model
    if isinstance(model, keras.Sequential):
        graph = keras.Model(model.inputs, model.outputs)  # a Sequential model does not expose the inputs of its layers
    operations = {operation.name: operation for operation in graph.operations}
    # Not `Layer.output`, which fails for a layer with several calls. The saved configuration names each call's inputs.
    calls = _calls_of(graph.get_config()["layers"])
    shapes = {tensor: shape for tensor, shape in _histories([*calls.values()]) if shape is not None}
    outputs = [tensor for tensor, _ in _histories(graph.get_config()["output_layers"])]
    shapes |= zip(outputs, (one.shape for one in graph.outputs), strict=True)
    taken = {
        call: tuple(dict.fromkeys(_key_of_call(*tensor[:2]) for tensor, _ in _histories(given)))
        for call, given in calls.items()
    }
    order = TopologicalSorter({_key_of_call(*call): inputs for call, inputs in taken.items()}).static_order()
    places = {key: place for place, key in enumerate(order)}
    # Keras lists the calls of one layer together, but the second call may come after other layers.
    for call in _calls_in_order(taken, places):
        yield _node_of(operations[call[0]], call, taken[call], shapes.get((*call, 0)))


def _calls_in_order(
    taken: Mapping[tuple[str, int], tuple[str, ...]], places: Mapping[str, int]
) -> list[tuple[str, int]]:
    """Return the calls in an order in which each follows its inputs.

    This is Keras's own order if possible, else the order of `places`.
    """
    seen: set[str] = set()
    for call, inputs in taken.items():
        if not seen.issuperset(inputs):
            return sorted(taken, key=lambda one: places[_key_of_call(*one)])
        seen.add(_key_of_call(*call))
    return list(taken)


def _calls_of(layers: list[dict[str, Any]]) -> dict[tuple[str, int], Any]:
    """Return the inputs of each call, by the layer's name and the number of the call."""
    return {
        (layer["name"], number): given
        for layer in layers
        for number, given in enumerate(layer["inbound_nodes"] or [()])  # an input layer has no inputs
    }


def _histories(value: Any) -> Iterator[tuple[Tensor, Shape | None]]:
    """Yield every tensor that a saved structure names, with its shape if the structure gives it, else None."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            config = value["config"]
            yield _tensor_of(config["keras_history"]), tuple(config["shape"])
        else:
            yield from _histories(list(value.values()))
    elif _is_history(value):
        yield _tensor_of(value), None
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _histories(item)


def _is_history(value: Any) -> bool:
    """Return whether a value names a tensor in the form of a model's outputs: ["dense", 0, 0]."""
    return isinstance(value, list | tuple) and [type(one) for one in value] == [str, int, int]


def _tensor_of(history: Any) -> Tensor:
    """Return the name of a tensor, with its parts converted to the right types."""
    layer, call, output = history
    return str(layer), int(call), int(output)


def _key_of_call(layer: str, number: int) -> str:
    """Return the key of a call: the name of its layer, followed by the number from the second call on."""
    return layer if number == 0 else f"{layer} (call {number + 1})"


def _node_of(layer: Any, call: tuple[str, int], inputs: tuple[str, ...], shape: Shape | None) -> Node:
    """Return the node of one call of a layer.

    `shape` includes the batch; it is None if nothing uses the output.
    """
    import keras

    given = shape if shape is not None else getattr(layer, "batch_shape", None) or ()
    inner = architecture_of(layer) if isinstance(layer, keras.Model) and call[1] == 0 else None
    kernel = _sides(layer, "kernel_size") or _sides(layer, "pool_size")
    stride = _sides(layer, "strides")
    return Node(
        key=_key_of_call(*call),
        name=layer.name,
        kind=type(layer).__name__,
        inputs=inputs,
        shape=_without_batch(given),
        parameters=layer.count_params() if call[1] == 0 and isinstance(layer, keras.layers.Layer) else 0,
        kernel=kernel,
        stride=() if set(stride) <= {1} or stride == _sides(layer, "pool_size") else stride,
        activation=_activation_of(layer),
        settings=tuple(_settings_of(layer)),
        channels_first=getattr(layer, "data_format", None) == "channels_first",
        inner=inner,
    )


def _without_batch(shape: Any) -> Shape:
    """Return a shape without its first dimension, the batch."""
    return tuple(None if side is None else int(side) for side in tuple(shape)[1:])


def _sides(layer: Any, attribute: str) -> tuple[int, ...]:
    """Return an attribute of a layer with one integer per side; empty if it is absent or not of integers."""
    value = getattr(layer, attribute, None)
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | tuple) and all(isinstance(one, int) for one in value) else ()


def _activation_of(layer: Any) -> str:
    """Return the name of a layer's activation; empty if it has none or a linear one."""
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    return "" if name == "linear" else name


def _settings_of(layer: Any) -> Iterator[str]:
    """Yield the other settings of a layer, in words."""
    for attribute, title in _SETTINGS.items():
        value = getattr(layer, attribute, None)
        usual = _DEFAULTS.get(attribute)
        numbers = isinstance(value, int | float) and not isinstance(value, bool)
        if numbers and value != usual:
            yield f"{title} {value:g}"
        elif attribute in {"padding", "cropping", "dilation_rate"} and isinstance(value, tuple) and set(value) != {1}:
            yield f"{title} {value}".translate(str.maketrans("", "", "()"))
