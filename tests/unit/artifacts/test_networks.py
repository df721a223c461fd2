import re
from html.parser import HTMLParser

import pytest

from artifacts.diagram.networks import layer_rows, networks_of
from artifacts.diagram.vgg import is_shrunk_vgg, vgg16
from artifacts.report.renderer import Rendering
from tasks.schemas.analysis import Report
from tasks.schemas.architecture import Architecture
from tests.support import networks
from tests.support.networks import node
from tests.unit.artifacts.test_renderer import analysis, drawn_once, report

__all__ = ["analysis", "report"]  # fixtures


def post(name: str, *between: str) -> Architecture:
    """Build the post's network with layers of other kinds in between."""
    kinds = ["Conv2D 8"] * 2 + ["MaxPooling2D 8", *between] + ["Conv2D 16"] * 3 + ["MaxPooling2D 16", "Flatten 784"]
    nodes = [node("in", kind="InputLayer", shape=(28, 28))]
    for place, said in enumerate([*kinds, "Dense 256", "Dense 256", "Dense 10"]):
        kind, _, units = said.partition(" ")
        shape = (int(units),) if kind in {"Dense", "Flatten"} else (14, 14, int(units))
        nodes.append(node(f"l{place}", nodes[-1].key, kind=kind, shape=shape))
    return networks.model(*nodes, name=name)


def test_vgg16_stands_beside_the_posts_network_alone() -> None:
    assert is_shrunk_vgg(post("plain"))
    assert is_shrunk_vgg(post("batch_norm", "BatchNormalization 8"))
    assert not is_shrunk_vgg(post("deeper", "Conv2D 16"))
    assert not any(map(is_shrunk_vgg, [*networks.ALL.values(), vgg16()]))
    assert [one.name for one in networks_of([post("plain"), networks.residual()])] == ["plain", "residual", "VGG-16"]
    assert [one.name for one in networks_of([networks.residual()])] == ["residual"]


def test_vgg16_is_as_published() -> None:
    found = vgg16()
    assert found.parameters == 138_357_544  # "138 million" in table 2
    assert [one.shape[0] for one in found.nodes if one.kind == "MaxPooling2D"] == [112, 56, 28, 14, 7]


def test_the_table_names_every_layer_and_what_it_takes_from() -> None:
    rows = list(layer_rows(networks.ensemble(2)))
    assert [row["layer"] for row in rows][:6] == ["in", "shifted", "m0", "m0 / n0", "m0 / n1", "m0 / n2"]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[-1]["inputs"] == "m0, m0 (call 2), m1, m1 (call 2)"


@pytest.fixture
def rendering(report: Report) -> Rendering:
    drawn = networks_of([post("plain"), post("other")])
    return Rendering(report, drawn_once(report.analysis.model_dump_json()), drawn)


def test_the_page_shows_every_network_wide_and_narrow(rendering: Rendering) -> None:
    page = rendering.html("title")
    titles = re.findall(r'<title id="([^"]+)">([^<]+)</title>', page)
    names = ("plain", "other", "VGG-16")
    assert titles == [
        (f"network-{rank}-{form}-t", f"The layers of {name}")
        for rank, name in enumerate(names, 1)
        for form in ("wide", "narrow")
    ]
    assert page.index("The networks</h2>") < page.index("<svg") < page.index("Training curves</h2>")
    assert all(f"the layers of {name} as a table" in page for name in names)
    assert page.count("<svg") == page.count("</svg>") == 6
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_a_models_page_shows_its_network_and_vgg16(rendering: Rendering) -> None:
    parts = rendering.parts()
    for name in ("plain", "other"):
        text = parts.models[name]
        assert text.count("data:image/svg+xml;base64,") == 2
        assert "VGG-16: 23 layers, 138,357,544 parameters" in text
        assert "| l0 | Conv2D | – | 14 × 14 × 8 | 0 | in |" in text
        assert len(text.encode()) < 200_000
    assert "svg" not in parts.overview


def test_a_report_without_descriptions_has_no_such_section(report: Report) -> None:
    rendering = Rendering(report, drawn_once(report.analysis.model_dump_json()))
    assert "The networks" not in rendering.html("title")
    assert "svg" not in rendering.markdown()


class Balanced(HTMLParser):
    """A parser that checks that all elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in {"meta", "img", "br", "hr", "col"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Ignore elements that close themselves."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_names_of_layers_take_no_effect_in_either_form(report: Report) -> None:
    evil = "<script>x</script>|[x](javascript:1)`\n\n</svg><img src=x>"
    mean = networks.model(
        node("in", kind="InputLayer"), node(evil, "in", kind="Sequential", inner=networks.chain(2)), name="plain"
    )
    rendering = Rendering(report, drawn_once(report.analysis.model_dump_json()), networks_of([mean]))
    page = rendering.html("title")
    assert page.count("<script>") == 1
    assert page.count("</svg>") == 2
    assert "<img src=x>" not in page
    assert Balanced(page).open == []
    assert "<script>" not in rendering.parts().models["plain"]


def test_a_network_that_is_too_large_to_be_drawn_is_a_table(report: Report) -> None:
    (large,) = networks_of([networks.chain(300, "plain")])
    assert not large.wide
    assert len(large.rows) == 300
    rendering = Rendering(report, drawn_once(report.analysis.model_dump_json()), (large,))
    assert "Too many layers for a diagram." in rendering.html("title")
    assert "svg+xml" not in rendering.parts().models["plain"]
