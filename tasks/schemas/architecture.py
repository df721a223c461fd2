"""Describe architectures: the layers of a model, their outputs, and their connections.

A description is plain data, so it can be drawn and tabulated without Keras. The module is separate from
`tasks.schemas.records` because training depends on the records: a change there would cause every model to be trained
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from tasks.base import Frozen
from tasks.schemas.records import FileRecord, Record

Shape = tuple[int | None, ...]  # without the batch; None for a side of variable size


class Node(Frozen):
    """One call of one layer.

    `key` distinguishes the calls of a shared layer, and `inputs` holds the keys of the nodes that feed this node.
    `parameters` is counted at the first call only. `shape` is the shape of the first output. `kernel` also holds the
    window of a pooling layer. `stride` is empty if it is 1 or equal to the pooling window. `settings` describes other
    relevant settings in words. `inner` describes a nested model.
    """

    key: str
    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    shape: Shape = ()
    parameters: int = 0
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    activation: str = ""
    settings: tuple[str, ...] = ()
    channels_first: bool = False
    inner: Architecture | None = None


class Architecture(Frozen):
    """A model as a sequence of nodes, each placed after its inputs.

    `parameters` counts the parameters of shared layers once.
    """

    name: str
    parameters: int
    nodes: tuple[Node, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def in_order(self) -> Self:
        """Reject duplicate keys and inputs that no earlier node provides.

        Raises:
            ValueError: If a key occurs twice, or a node precedes one of its inputs.
        """
        known: set[str] = set()
        for node in self.nodes:
            if node.key in known or not known.issuperset(node.inputs):
                raise ValueError(f"node {node.key!r} occurs twice, or precedes one of its inputs")
            known.add(node.key)
        return self

    def layers(self) -> Iterator[Node]:
        """Yield all nodes; the nodes of a nested model follow the node that contains the model."""
        for node in self.nodes:
            yield node
            if node.inner:
                yield from node.inner.layers()


class ArchitectureRecord(Record):
    """The file with the architecture of one model as JSON."""

    model: str
    file: FileRecord
