import base64
from xml.etree import ElementTree as ET

import pytest

from artifacts.common.formatting import breadth
from artifacts.diagram.boxes import box_of, boxes_of, break_class_name, extent_of, fit_text, kind_of, label_of
from artifacts.diagram.drawing import NARROW, WIDE, models_within, names_shown, svg, svg_url
from artifacts.diagram.vgg import vgg16
from tasks.schemas.architecture import Node
from tests.support import networks
from tests.support.networks import node

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '</text></title>\n\n<script>alert("1")</script>&amp;\x00\x1b\ud800|`*'


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  # our own


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("name", [*networks.ALL, "vgg16"])
def test_a_diagram_is_well_formed_and_names_what_it_shows(name: str, width: int) -> None:
    architecture = networks.ALL.get(name) or vgg16()
    for standalone in (True, False):
        root = parsed(svg(architecture, "A title", "x", width, standalone=standalone))
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        ids = {element.get("id") for element in root.iter() if element.get("id")}
        assert set((root.get("aria-labelledby") or "").split()) == ids == {"x-t", "x-d"}
        assert root.findtext(f"{SVG}title") == "A title"
        said = root.findtext(f"{SVG}desc") or ""
        assert said.startswith(f"{len(architecture.nodes):,} layer")
        assert (root.find(f"{SVG}style") is not None) == standalone
        assert ("prefers-color-scheme" in ET.tostring(root, "unicode")) == standalone
    assert "\n" not in svg(architecture, "t", "x", width), "a blank line would end the HTML within Markdown"


def test_every_layer_has_a_box_its_type_kernel_shape_and_parameters() -> None:
    architecture = vgg16()
    root = parsed(svg(architecture, "t", "x"))
    groups = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    assert len(groups) == len(architecture.nodes) == 23
    for group, layer in zip(groups, architecture.nodes, strict=True):
        said = [text.text for text in group.findall(f"{SVG}text")]
        assert (
            "".join(text.text or "" for text in group.findall(f"{SVG}text") if text.get("class") == "t") == layer.kind
        )
        assert " × ".join(f"{side}" for side in layer.shape) in said or f"{layer.shape[0]:,}" in said
        assert (f"{layer.parameters:,} params" in said) == bool(layer.parameters)
        assert ("3 × 3, relu" in said) == (layer.kind == "Conv2D")
        assert len(group.findall(f"{SVG}path")) == 3
        assert layer.key in (group.findtext(f"{SVG}title") or "")


def test_a_description_in_words_names_every_layer_up_to_forty() -> None:
    said = parsed(svg(vgg16(), "t", "x")).findtext(f"{SVG}desc") or ""
    assert "138,357,544 params" in said
    assert all(layer.key in said for layer in vgg16().nodes)
    assert "and 60 more" in (parsed(svg(networks.chain(100), "t", "x")).findtext(f"{SVG}desc") or "")


def test_names_that_users_write_take_no_effect() -> None:
    inner = networks.chain(2, EVIL)
    mean = networks.model(
        node(EVIL, kind="InputLayer"),
        node("m", EVIL, kind="Sequential", name=EVIL, inner=inner, settings=(EVIL,), activation=EVIL),
        node("k", "m", kind=EVIL),
        name=EVIL,
    )
    text = svg(mean, EVIL, "x", standalone=True)
    root = parsed(text)
    assert "<script" not in text
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg", "title", "desc", "style", "rect", "g", "path", "text",
    }  # fmt: skip
    assert '<script>alert("1")</script>' in (root.findtext(f"{SVG}title") or "")
    assert svg_url(mean, EVIL).startswith("data:image/svg+xml;base64,")
    parsed(base64.b64decode(svg_url(mean, EVIL).partition(",")[2]).decode())


def test_maps_shrink_and_deepen() -> None:
    boxes = boxes_of(vgg16().nodes)
    first, last = boxes["block1_conv1"], boxes["block5_conv3"]
    assert first.height > 3 * last.height
    assert last.width > 2 * first.width
    assert [boxes[f"block{block}_pool"].height for block in range(1, 6)] == sorted(
        (boxes[f"block{block}_pool"].height for block in range(1, 6)), reverse=True
    )
    assert all(box.whole_width <= 108 and box.whole_height <= 110 for box in boxes.values())


@pytest.mark.parametrize(
    ("shape", "extent"),
    [
        ((), (0, 0, 1)),
        ((10,), (0, 0, 10)),
        ((28, 28, 1), (28, 28, 1)),
        ((5, 400, 3), (5, 400, 3)),
        ((None, None, 3), (1, 1, 3)),
        ((16, 64), (16, 1, 64)),
        ((4, 8, 9, 2), (8, 9, 8)),
    ],
)
def test_every_rank_has_an_extent_and_a_box(shape: tuple[int | None, ...], extent: tuple[int, int, int]) -> None:
    one = node("n", shape=shape)
    assert extent_of(one) == extent
    box = box_of(one, extent, max(extent[:2]))
    assert min(box.width, box.height) > 2
    assert box.whole_width <= 108


def test_channels_may_come_first_and_gray_images_have_none() -> None:
    assert extent_of(node("n", shape=(3, 32, 30), channels_first=True)) == (32, 30, 3)
    assert extent_of(node("n", shape=(28, 28)), frozenset({(28, 28)})) == (28, 28, 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Conv2DTranspose", "convolution"), ("SeparableConv2D", "convolution"), ("GlobalMaxPooling2D", "pooling"),
        ("BatchNormalization", "normalization"), ("Dense", "dense"), ("Add", "merge"), ("LSTM", "sequence"),
        ("ConvLSTM2D", "convolution"), ("MultiHeadAttention", "sequence"), ("Dropout", "other"), ("InputLayer", "input"),
    ],
)  # fmt: skip
def test_layers_are_colored_by_kind(kind: str, expected: str) -> None:
    assert kind_of(node("n", kind=kind)) == expected
    assert f'<g class="{expected}">' in svg(networks.model(node("n", kind=kind)), "t", "x")


def test_labels_fit_below_their_boxes() -> None:
    wide = node("n" * 300, kind="VeryLongNamedGlobalAveragePoolingOfEverything3D", shape=(10**9, 10**9, 10**9, 10**9),
                parameters=10**12, kernel=(3, 3, 3), stride=(2, 1, 2), settings=("padding 1, 2, 3, 4, 5, 6, 7",))  # fmt: skip
    for kind, line in label_of(wide, [wide.name, "漢" * 80]):
        assert breadth(line, 11 if kind == "t" else 10, bold=kind == "t") <= 108
    assert break_class_name("MaxPooling2D", 11, bold=True) == ["MaxPooling2D"]
    assert break_class_name("BatchNormalization", 11, bold=True) == ["Batch", "Normalization"]
    assert fit_text("a" * 100).count("…") == 1
    assert ("p", "1,000,000,000,000") in label_of(wide), "a number is never shortened"


def test_members_of_one_form_are_drawn_once() -> None:
    whole, *inner = models_within(networks.ensemble())
    assert [one.key for one in whole.nodes] == ["in", "shifted", "m0", "mean"]
    members = whole.nodes[2]
    assert members.inputs == ("in", "shifted")
    assert members.parameters == 5 * 7
    assert [part.title for part in inner] == ["Within m0 and 4 alike"]
    said = texts(parsed(svg(networks.ensemble(), "t", "x")))
    assert {"m0", "and 4 alike", "2 calls each", "Within m0 and 4 alike"} <= set(said)


def test_models_of_another_form_are_drawn_apart() -> None:
    unlike = networks.model(
        node("in"),
        node("a", "in", kind="Sequential", inner=networks.chain(2)),
        node("b", "in", kind="Sequential", inner=networks.chain(3)),
        node("sum", "a", "b", kind="Add"),
    )
    assert [part.title for part in models_within(unlike)] == ["drawn", "Within a", "Within b"]


def test_a_network_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="300 layers are too many"):
        svg(networks.chain(300), "t", "x")


def test_an_architecture_whose_layers_are_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="precedes one of its inputs"):
        networks.model(node("a", "b"), node("b"))
    with pytest.raises(ValueError, match="occurs twice"):
        networks.model(node("a"), node("a"))


def test_names_of_keras_itself_are_not_shown() -> None:
    shown = [Node(key="k", name=name, kind=kind, shape=(3,)) for name, kind in (
        ("max_pooling2d_12", "MaxPooling2D"), ("re_lu", "ReLU"), ("dense", "Dense"), ("digit", "Dense"),
    )]  # fmt: skip
    assert [any(kind == "n" for kind, _ in label_of(one, names_shown([one]))) for one in shown] == [
        False,
        False,
        False,
        True,
    ]
