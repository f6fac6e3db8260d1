"""What ONNX Runtime made of a file: which nodes of the file each of its operators computes, and their
modules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from export._optional import require
from export.lab.profile.kinds import HEAVY, MOVEMENT, of_onnx
from export.lab.profile.modules import common, owner
from export.module_path import module_of

#: What rewrites append to the name of the node that they replace.
_SUFFIX = re.compile(r"(_nchwc|_nhwc|/[A-Z]\w*Fusion/?|_token_\d+)+$")


class FileGraph:
    """The nodes of an ONNX file, by name and by the tensors they write.

    Args:
      graph: its GraphProto.
    """

    def __init__(self, graph: Any):
        self.nodes = {node.name: node for node in graph.node if node.name}
        self.writer = {tensor: node for node in graph.node for tensor in node.output if tensor}

    def kind(self, name: str) -> str:
        return of_onnx(self.nodes[name].op_type)

    def module(self, names: Iterable[str]) -> str | None:
        """The module that an operator of these nodes belongs to."""
        return owner((module_of(name), self.kind(name)) for name in names)

    def heavy_before(self, name: str, taken: frozenset[str]) -> list[str]:
        """Convolutions and products whose result reaches node `name` through cheap nodes only, but for
        `taken` ones, which are operators of their own, and all that is before these."""
        found: dict[str, None] = {}
        seen: set[str] = set()
        wait = list(self.nodes[name].input)
        while wait:
            node = self.writer.get(wait.pop())
            if node is None or node.name in seen or node.name in taken:
                continue
            seen.add(node.name)
            if self.kind(node.name) in HEAVY:
                found[node.name] = None
            else:
                wait += node.input
        return list(found)


class Operators:
    """The operators of ONNX Runtime's optimised graph, found in the file.

    A node's name says it where it was kept or only extended; where it was not, the tensor that it writes. A
    convolution or product that is called as the activation after it is the one before that activation. An
    operator that ONNX Runtime put between others (a change of layout) belongs to the module that holds these.
    What none of this tells stays unattributed."""

    def __init__(self, file: bytes, optimised: bytes | None):
        load = require("onnx").load_model_from_string
        self.file = FileGraph(load(file).graph)
        nodes = [] if optimised is None else list(load(optimised).graph.node)
        self._made = {node.name: node for node in nodes}
        self._writer = {tensor: node.name for node in nodes for tensor in node.output if tensor}
        self._readers: dict[str, list[str]] = {}
        for node in nodes:
            for tensor in node.input:
                self._readers.setdefault(tensor, []).append(node.name)
        anchors = (self._anchor(name) for name in self._made)
        self._taken = frozenset(name for name in anchors if name is not None)

    def module(self, name: str, op_type: str) -> str | None:
        """Module of the operator called `name`; None if nothing tells."""
        nodes = self._nodes(name, op_type)
        if nodes:
            return self.file.module(nodes)
        return self._between(name) if of_onnx(op_type) == MOVEMENT else None

    def _anchor(self, name: str) -> str | None:
        """The one node of the file that the operator is called after or writes the tensor of."""
        for called in (name, _SUFFIX.sub("", name)):
            if called in self.file.nodes:
                return called
        made = self._made.get(name)
        if made is None or made.op_type in ("ReorderInput", "ReorderOutput"):
            return None
        written = (self.file.writer.get(tensor) for tensor in made.output)
        return next((node.name for node in written if node is not None), None)

    def _nodes(self, name: str, op_type: str) -> list[str]:
        anchor = self._anchor(name)
        if anchor is None:
            return []
        if of_onnx(op_type) not in HEAVY or self.file.kind(anchor) in HEAVY:
            return [anchor]
        return [*self.file.heavy_before(anchor, self._taken - {anchor}), anchor]

    def _between(self, name: str) -> str | None:
        made = self._made.get(name)
        if made is None:
            return None
        near = [self._writer.get(tensor) for tensor in made.input]
        near += [reader for tensor in made.output for reader in self._readers.get(tensor, ())]
        known = [self._nodes(one, self._made[one].op_type) for one in near if one is not None]
        modules = [module for nodes in known if nodes and (module := self.file.module(nodes)) is not None]
        return common(modules) if modules else None
