"""Architectures: which layers a model has, what each makes, and from which others.

A description is plain data, so that it can be drawn and tabulated without Keras. A module of its own: were it among the
records that trainings know, a change to it would train every model again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from tasks.base import Frozen
from tasks.schemas.records import FileRecord, Record

Shape = tuple[int | None, ...]  # without the batch; None where a side has any size


class Node(Frozen):
    """One call of one layer.

    `key` tells the calls of a shared layer apart, `inputs` names the nodes that this one takes from, and `parameters` counts at
    the first call alone. `shape` is that of the output, the first of several. `kernel` is a pooling's window, too; `stride` is
    empty where it is one, or the window's. `settings` holds what else matters, in words. `inner` describes a model within the
    model.
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
    """A model: its nodes, each after those that it takes from. `parameters` counts those of shared layers once."""

    name: str
    parameters: int
    nodes: tuple[Node, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def in_order(self) -> Self:
        """Refuse nodes of one key, and nodes that take from a later one or from none that is there."""
        known: set[str] = set()
        for node in self.nodes:
            if node.key in known or not known.issuperset(node.inputs):
                raise ValueError(f"node {node.key!r} is there twice, or stands before one of its inputs")
            known.add(node.key)
        return self

    def layers(self) -> Iterator[Node]:
        """All nodes, those of models within it after the node that holds them."""
        for node in self.nodes:
            yield node
            if node.inner:
                yield from node.inner.layers()


class ArchitectureRecord(Record):
    """The architecture of one model, as JSON."""

    model: str
    file: FileRecord
