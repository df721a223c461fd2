"""Build architectures for the tests that draw them: chains, branches, nested models."""

from tasks.schemas.architecture import Architecture, Node


def node(
    key: str, *inputs: str, kind: str = "Conv2D", shape: tuple[int | None, ...] = (8, 8, 4), **more: object
) -> Node:
    return Node.model_validate({"key": key, "name": key, "kind": kind, "inputs": inputs, "shape": shape, **more})


def model(*nodes: Node, name: str = "drawn") -> Architecture:
    return Architecture(name=name, parameters=sum(one.parameters for one in nodes), nodes=nodes)


def chain(length: int, name: str = "chain") -> Architecture:
    keys = [f"n{place}" for place in range(length)]
    before: list[tuple[str, ...]] = [(), *((key,) for key in keys)]
    return model(*(node(key, *inputs) for key, inputs in zip(keys, before, strict=False)), name=name)


def residual(blocks: int = 3) -> Architecture:
    """Build blocks of three layers, each with a skip connection around the first two."""
    nodes = [node("in", kind="InputLayer", shape=(8, 8, 1))]
    for block in range(blocks):
        start = nodes[-1].key
        nodes += [
            node(f"a{block}", start),
            node(f"b{block}", f"a{block}"),
            node(f"add{block}", start, f"b{block}", kind="Add"),
        ]
    return model(*nodes, name="residual")


def branched() -> Architecture:
    """Build a model with two inputs, four branches of different lengths, and two outputs."""
    return model(
        node("left", kind="InputLayer"),
        node("right", kind="InputLayer", shape=(12,)),
        node("one", "left"),
        node("two", "left"),
        node("three", "two"),
        node("four", "right", kind="Dense", shape=(16,)),
        node("all", "one", "three", "left", "four", kind="Concatenate", shape=(300,)),
        node("digit", "all", kind="Dense", shape=(10,)),
        node("parity", "all", kind="Dense", shape=(2,)),
        name="branched",
    )


def dense_connections(length: int = 9) -> Architecture:
    """Build a model in which every layer gets the outputs of all previous layers."""
    keys = [f"n{place}" for place in range(length)]
    return model(*(node(key, *keys[:place]) for place, key in enumerate(keys)), name="dense")


def ensemble(members: int = 5) -> Architecture:
    """Build an ensemble of identical members, each of which predicts two views."""
    nodes = [node("in", kind="InputLayer", shape=(8, 8)), node("shifted", "in", kind="Cropping2D", shape=(8, 8))]
    for place in range(members):
        inner = chain(4, f"m{place}")
        nodes += [
            node(f"m{place}", "in", kind="Sequential", shape=(10,), inner=inner, parameters=7),
            node(f"m{place} (call 2)", "shifted", kind="Sequential", shape=(10,), name=f"m{place}"),
        ]
    asked = [one.key for one in nodes if one.kind == "Sequential"]
    return model(*nodes, node("mean", *asked, kind="Average", shape=(10,)), name="ensemble")


ALL = {
    one.name: one for one in (chain(1, "alone"), chain(100), residual(), branched(), dense_connections(), ensemble())
}
