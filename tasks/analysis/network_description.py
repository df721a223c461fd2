"""Which layers a model has, and how they are connected."""
# ruff: noqa: PLC0415  # Keras is imported by the worker that describes, and not by the flow

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from tasks.schemas.architecture import Architecture, Node, Shape

if TYPE_CHECKING:
    import keras

Tensor = tuple[str, int, int]  # the layer that made it, at which call, and which of its outputs it is

# Attributes of layers that a reader wants to know, and what they are called. Kernel, stride and activation stand elsewhere.
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
    """Describe a model; one whose graph Keras can't tell, such as a subclass, is described as a single layer."""
    try:
        nodes = tuple(_nodes_of(model))
    except Exception:  # noqa: BLE001  # whatever Keras raises where there is no graph, or a layer that it can't write down
        nodes = (_opaque(model),)
    return Architecture(name=name or model.name, parameters=model.count_params(), nodes=nodes)


def _opaque(model: "keras.Model") -> Node:
    """A model as one layer."""
    shape = getattr(model, "output_shape", None)
    return Node(
        key=model.name,
        name=model.name,
        kind=type(model).__name__,
        shape=_without_batch(shape) if isinstance(shape, tuple) else (),
        parameters=model.count_params(),
    )


def _nodes_of(model: "keras.Model") -> Iterator[Node]:
    """The calls that a model consists of, each after those that it takes from."""
    import keras

    graph = model
    if isinstance(model, keras.Sequential):
        graph = keras.Model(model.inputs, model.outputs)  # a Sequential does not say what its layers take from
    operations = {operation.name: operation for operation in graph.operations}
    # Not `Layer.output`, which fails where a layer is called more than once. What Keras saves names each call's inputs.
    calls = _calls_of(graph.get_config()["layers"])
    shapes = dict(_shapes_in(calls.values()))
    outputs = graph.get_config()["output_layers"]
    shapes |= zip(_tensors_in(outputs), (one.shape for one in graph.outputs), strict=True)
    taken = {
        call: tuple(dict.fromkeys(_key_of_call(*one[:2]) for one in _tensors_in(given)))
        for call, given in calls.items()
    }
    order = TopologicalSorter({_key_of_call(*call): inputs for call, inputs in taken.items()}).static_order()
    places = {key: place for place, key in enumerate(order)}
    # Keras lists the calls of one layer together, though the second may stand behind other layers.
    for call in _calls_in_order(taken, places):
        yield _node_of(operations[call[0]], call, taken[call], shapes.get((*call, 0)))


def _calls_in_order(
    taken: Mapping[tuple[str, int], tuple[str, ...]], places: Mapping[str, int]
) -> list[tuple[str, int]]:
    """The calls in Keras's own order if each stands behind its inputs, else in one that does."""
    seen: set[str] = set()
    for call, inputs in taken.items():
        if not seen.issuperset(inputs):
            return sorted(taken, key=lambda one: places[_key_of_call(*one)])
        seen.add(_key_of_call(*call))
    return list(taken)


def _calls_of(layers: list[dict[str, Any]]) -> dict[tuple[str, int], Any]:
    """What each call takes, by the layer's name and the number of the call."""
    return {
        (layer["name"], number): given
        for layer in layers
        for number, given in enumerate(layer["inbound_nodes"] or [()])  # an input takes nothing
    }


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor that a saved structure names, in order."""
    for history, _ in _histories(value):
        yield history


def _shapes_in(values: Any) -> Iterator[tuple[Tensor, Shape]]:
    """Every tensor that a saved structure names, with its shape."""
    for history, shape in _histories(list(values)):
        if shape is not None:
            yield history, shape


def _histories(value: Any) -> Iterator[tuple[Tensor, Shape | None]]:
    """Every tensor of a saved structure: where it came from, and its shape if that is said."""
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
    """Whether a value names a tensor as a model's outputs do: ["dense", 0, 0]."""
    return isinstance(value, list | tuple) and [type(one) for one in value] == [str, int, int]


def _tensor_of(history: Any) -> Tensor:
    """A tensor's name, of the right types."""
    layer, call, output = history
    return str(layer), int(call), int(output)


def _key_of_call(layer: str, number: int) -> str:
    """How a call is called: by its layer, and from the second on by its number."""
    return layer if number == 0 else f"{layer} (call {number + 1})"


def _node_of(layer: Any, call: tuple[str, int], inputs: tuple[str, ...], shape: Shape | None) -> Node:
    """One call of a layer; `shape` is with the batch, None where nobody takes its output."""
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
    """A shape without its first number."""
    return tuple(None if side is None else int(side) for side in tuple(shape)[1:])


def _sides(layer: Any, attribute: str) -> tuple[int, ...]:
    """An attribute of a layer that holds a whole number for each side."""
    value = getattr(layer, attribute, None)
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | tuple) and all(isinstance(one, int) for one in value) else ()


def _activation_of(layer: Any) -> str:
    """The name of a layer's activation, empty where it has none."""
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    return "" if name == "linear" else name


def _settings_of(layer: Any) -> Iterator[str]:
    """What else a reader wants to know of a layer, in words."""
    for attribute, title in _SETTINGS.items():
        value = getattr(layer, attribute, None)
        usual = _DEFAULTS.get(attribute)
        numbers = isinstance(value, int | float) and not isinstance(value, bool)
        if numbers and value != usual:
            yield f"{title} {value:g}"
        elif attribute in {"padding", "cropping", "dilation_rate"} and isinstance(value, tuple) and set(value) != {1}:
            yield f"{title} {value}".translate(str.maketrans("", "", "()"))
