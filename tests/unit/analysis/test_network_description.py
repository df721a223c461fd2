"""Test the descriptions of Keras's own models."""

from pathlib import Path
from typing import Any

import pytest

from artifacts.diagram.vgg import vgg16
from tasks.analysis.network_description import architecture_of
from tasks.config.recipe import load_recipe
from tasks.engine.workspace import Workspace
from tasks.schemas.architecture import Architecture
from tasks.schemas.records import ModelRecord
from tasks.steps.describe_network import describe
from tasks.training.keras_runtime import seed_everything
from tasks.training.network import build, save_model
from tests.support.samples import model as recorded
from tests.tools import diagrams

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def keras(one_thread: None) -> Any:
    import keras

    keras.utils.clear_session()
    return keras


def inputs(found: Architecture) -> dict[str, tuple[str, ...]]:
    return {node.key: node.inputs for node in found.nodes}


def test_the_posts_networks_are_described_by_their_files(keras: Any, work: Workspace) -> None:
    seed_everything(1)
    for network, parameters in zip(load_recipe("post").models, (272_234, 272_330), strict=True):
        made = build(network, (28, 28), 10)
        record: ModelRecord = recorded(network.name).model_copy(update={"file": save_model(made, network.name, work)})
        described = describe.fn(record, work)
        found = Architecture.model_validate_json((work.root / described.file.path).read_bytes())
        assert described.model == found.name == network.name
        assert found.parameters == sum(node.parameters for node in found.nodes) == parameters == made.count_params()
        assert [node.shape for node in found.nodes][:4] == [(28, 28), (28, 28, 1), (28, 28, 1), (28, 28, 8)]
        first = next(node for node in found.nodes if node.kind == "Conv2D")
        assert (first.kernel, first.stride, first.activation, first.parameters) == ((2, 2), (), "relu", 40)
        assert [node.activation for node in found.nodes][-1] == "softmax"
        assert all(node.inputs == (before.key,) for before, node in zip(found.nodes, found.nodes[1:], strict=False))


def test_vgg16_is_the_one_that_keras_has(keras: Any) -> None:
    found = architecture_of(keras.applications.VGG16(weights=None), "vgg16")
    expected = vgg16()
    assert found == expected


def test_branches_residual_connections_and_several_inputs_and_outputs(keras: Any) -> None:
    layers = keras.layers
    picture, facts = keras.Input((8, 8, 1), name="picture"), keras.Input((3,), name="facts")
    stem = layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(picture)
    added = layers.Conv2D(4, (1, 3), padding="same", name="side")(stem) + stem  # an operation, not a layer
    flat = layers.Flatten(name="flat")(added)
    both = layers.Concatenate(name="both")([flat, layers.Dropout(0.25, name="drop")(facts)])
    model = keras.Model([picture, facts], {"digit": layers.Dense(10, name="digit")(both), "flat": flat})
    found = architecture_of(model)
    nodes = {node.key: node for node in found.nodes}
    assert {"stem": ("picture",), "side": ("stem",), "flat": ("add",), "both": ("flat", "drop")}.items() <= inputs(
        found
    ).items()
    assert set(nodes["add"].inputs) == {"side", "stem"}
    assert (nodes["stem"].stride, nodes["side"].kernel, nodes["drop"].settings) == ((2, 2), (1, 3), ("rate 0.25",))
    assert (nodes["facts"].shape, nodes["both"].shape, nodes["digit"].shape) == ((3,), (67,), (10,))
    assert found.parameters == model.count_params()


def test_shared_layers_and_models_within_models(keras: Any) -> None:
    layers = keras.layers
    encoder = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)], name="encoder")
    one, other = keras.Input((4,), name="one"), keras.Input((4,), name="other")
    shared = layers.Dense(4, name="shared")
    twice = shared(shared(one))
    model = keras.Model([one, other], layers.Add(name="sum")([encoder(twice), encoder(other)]))
    found = architecture_of(model)
    nodes = {node.key: node for node in found.nodes}
    assert nodes["shared (call 2)"].inputs == ("shared",)
    assert nodes["sum"].inputs == ("encoder", "encoder (call 2)")
    assert [node.parameters for node in found.nodes if node.name in {"shared", "encoder"}].count(0) == 2
    assert sum(node.parameters for node in found.nodes) == found.parameters == model.count_params()
    assert nodes["encoder"].inner
    assert [node.shape for node in nodes["encoder"].inner.nodes] == [(4,), (3,), (2,)]
    assert nodes["encoder (call 2)"].inner is None
    assert [node.shape for node in found.nodes if node.kind == "Sequential"] == [(2,), (2,)]


def test_sides_of_any_size_and_several_outputs_of_a_layer(keras: Any) -> None:
    layers = keras.layers
    steps = keras.Input((None, 5))
    sequence, state, _ = layers.LSTM(6, return_sequences=True, return_state=True, name="lstm")(steps)
    pooled = layers.GlobalAveragePooling1D()(
        layers.Bidirectional(layers.GRU(2, return_sequences=True), name="two")(sequence)
    )
    found = architecture_of(keras.Model(steps, layers.Concatenate(name="all")([pooled, state])))
    nodes = {node.key: node for node in found.nodes}
    assert (nodes["lstm"].shape, nodes["two"].shape, nodes["all"].shape) == ((None, 6), (None, 4), (10,))
    assert "lstm" in nodes["all"].inputs


def test_a_model_whose_graph_is_unknown_is_a_single_layer(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="own")
            self.dense = keras.layers.Dense(3)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    model = Own()
    model(keras.ops.zeros((1, 4)))
    found = architecture_of(model)
    assert [(node.kind, node.parameters) for node in found.nodes] == [("Own", 15)]


def test_a_hundred_layers_are_described(keras: Any) -> None:
    model = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4) for _ in range(100))])
    found = architecture_of(model)
    assert len(found.nodes) == 101
    assert found.parameters == 2000


def test_the_docs_show_what_is_drawn_today() -> None:
    for name, text in diagrams.diagrams().items():
        kept = Path(diagrams.FOLDER / name).read_text()
        assert kept == f"{text}\n", f"{name} has changed: run python -m tests.tools.diagrams, and look at it"
    page = (diagrams.FOLDER.parent / "networks.md").read_text()
    assert all(f"networks/{name}" in page for name in diagrams.diagrams())
