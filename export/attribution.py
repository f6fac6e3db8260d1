"""Which Flax modules a kernel of the engine computes.

The exporter names the nodes of the ONNX file by module path (`stage2/block4/e_mhsa/q/Conv`), and the builder
says of most kernels which of these nodes they hold. Where it does not, the kernel's own name may still be a
node's. What neither tells is left unattributed: nothing is guessed from the order or from tensor names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from export._optional import require
from export.module_path import modules_of
from export.runtimes.kernels import Kernel, Tensor

#: What the builder appends to a node's name: "_U12", and its own running number.
_SUFFIX = re.compile(r"(_U\d+)?(_myl\d+_\d+)?$")
#: Older builders write the fused nodes into the kernel's name: "a/Conv + a/Relu", "PWN(PWN(a/Mul), a/Add)".
_JOINTS = re.compile(r"\s*\+\s*|PWN\(|[(),\s]+")
#: A region of nodes of which only the first and the last are named: not enough to tell its modules.
_REGION = "ForeignNode["

METADATA, NAME = "metadata", "name"


@dataclass(frozen=True)
class Attribution:
    """`kernel` and the `nodes` of the file and Flax `modules` in it, in order.

    `by` is how they are known: "metadata" (the builder says so), "name" (the kernel is called so) or None.
    """

    kernel: Kernel
    nodes: tuple[str, ...]
    modules: tuple[str, ...]
    by: str | None

    def as_dict(self) -> dict[str, object]:
        kernel = self.kernel
        return {
            "kernel": kernel.name,
            "kind": kernel.kind,
            "moves_data": kernel.moves_data,
            "nodes": list(self.nodes),
            "modules": list(self.modules),
            "attributed_by": self.by,
            "reads": [_tensor(tensor) for tensor in kernel.inputs],
            "weights": sorted({tensor.dtype for tensor in kernel.constants}),
            "writes": [_tensor(tensor) for tensor in kernel.outputs],
        }


def attribute(kernels: Iterable[Kernel], nodes: Iterable[str]) -> tuple[Attribution, ...]:
    """One entry a kernel, in order. `nodes` are the names of the ONNX file's nodes: a name that is not
    among them (another graph's, or one that the builder made up) attributes nothing."""
    known = set(nodes)
    return tuple(_attribute(kernel, known) for kernel in kernels)


def _attribute(kernel: Kernel, known: set[str]) -> Attribution:
    by, found = METADATA, [name for name in kernel.nodes if name in known]
    if not found:
        by, found = NAME, list(_named(kernel.name, known))
    if not found:
        return Attribution(kernel, (), (), None)
    modules = dict.fromkeys(module for name in found for module in modules_of(name))
    return Attribution(kernel, tuple(found), tuple(modules), by)


def _named(name: str, known: set[str]) -> Iterable[str]:
    if _REGION in name:
        return ()
    parts = (name, *_JOINTS.split(name))
    stripped = (_SUFFIX.sub("", part.removeprefix("node_")) for part in parts)
    return dict.fromkeys(part for part in stripped if part in known)


def node_names(model: bytes) -> list[str]:
    """Names of the nodes of an ONNX file."""
    return [node.name for node in require("onnx").load_model_from_string(model).graph.node]


def share(attributions: Sequence[Attribution]) -> float | None:
    """Share of the kernels that are attributed, from 0 to 1; None if there are none."""
    if not attributions:
        return None
    return sum(entry.by is not None for entry in attributions) / len(attributions)


def _tensor(tensor: Tensor) -> dict[str, str]:
    return {"tensor": tensor.name, "type": tensor.dtype, "format": tensor.layout}
