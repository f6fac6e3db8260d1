"""Counting what TensorRT will launch, from the builder's own layer list, with no GPU.

The builder prints one line per layer of the finished engine ("Engine Layer Information") when the
profiling verbosity is DETAILED and the logger takes verbose messages::

    Name: stem.conv_myl0_1, LayerType: correlation, Inputs: [ { Name: ..., Datatype: Half, ... } ], ...

Every such layer that is not pure synchronisation, nor the arithmetic of a dynamic shape, is one kernel. A
kernel *moves data* when its name holds only transposes, reshapes, slices, copies, casts and the like, and no
arithmetic. At the end of a line the builder names the nodes of the ONNX file that the kernel computes:
``Metadata: [ONNX Layer: a][ONNX Layer: b]``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs:(?P<rest>.*)$", re.MULTILINE)
#: The lists of tensors on a line, each up to the next; a list may hold brackets of its own.
_LISTS = re.compile(
    r"(?P<list>Inputs|Constants|Outputs): ?\[(?P<held>.*?)\]"
    r"(?=, (?:Constants|Outputs|TacticName|StreamId|Tactic|Metadata)\b|$)"
)
_TENSOR = re.compile(
    r"\{ (?:Name: (?P<name>[^,]*), )?[^{}]*?(?:Format/)?Datatype: (?P<dtype>\w+)"
    r"(?:, Format: (?P<layout>[^{}]*?))? ?\}"
)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")

#: Layers that only order streams or compute shapes on the host: no kernel.
SYNCHRONISATION = frozenset({"signal", "wait", "shape_call"})
#: With a dynamic batch: layers that write one integer of a shape ("cast_hvar^246119i64_myl0_7": by its name a
#: host variable) for the product that follows. No data of the network passes through them.
_SHAPE_KINDS = frozenset({"reshape", "cast"})
_ONE_INTEGER = re.compile(r"Dimensions: \[1?\], [^{}]*Datatype: Int64\b")
#: Kinds whose work is told by their name alone; convolutions, products and pools are arithmetic by kind.
_NAMED_BY_CONTENT = frozenset({"kgen", "runtime_function", "copy", "shuffle"})
#: The builder joins four-letter names of the fused operators: "__myl_TranResh_myl0_12".
_MOVES = re.compile("Tran|Move|Resh|Repl|Conc|Slic|Copy|Cast|Pad")
_COMPUTES = re.compile(
    "Add|Mul|Div|Exp|Relu|Erf|Tanh|Sum|Mean|Max|Sub|Corr|Fc|Norm|Sqrt|Rsq|Sigm|Neg|Conv|Dot|Gemm",
    re.IGNORECASE,
)
#: What the builder hangs on a name: the prefix of nodes the exporter named, and its own running number.
_DECORATION = re.compile(r"^node_|_myl0.*$")


@dataclass(frozen=True)
class Tensor:
    """What a kernel reads or writes: name, data type and memory format in the builder's words."""

    name: str
    dtype: str
    layout: str = ""


@dataclass(frozen=True)
class Kernel:
    """One layer of the engine: its name, the builder's kind, the data types it writes.

    `inputs`, `constants` (weights) and `outputs` are the tensors in full; `nodes` are the nodes of the ONNX
    file that the builder says it computes, empty where it says nothing.
    """

    name: str
    kind: str
    writes: tuple[str, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    constants: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def moves_data(self) -> bool:
        if self.kind not in _NAMED_BY_CONTENT or not _MOVES.search(self.name):
            return False
        return not _COMPUTES.search(_DECORATION.sub("", self.name))


def read_kernels(messages: Iterable[str]) -> tuple[Kernel, ...]:
    """The kernels of an engine, in order, from the builder's log messages (or the engine inspector's
    one-line-per-layer text). Empty if no layer list was printed."""
    found = (match for text in messages for match in _LAYER.finditer(text))
    kernels = (m for m in found if m["kind"] not in SYNCHRONISATION and not _shape_arithmetic(m))
    return tuple(_kernel(m["name"], m["kind"], m["rest"]) for m in kernels)


def data_movements(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    return tuple(kernel for kernel in kernels if kernel.moves_data)


def summary(kernels: Iterable[Kernel]) -> dict[str, object]:
    """Counts for the report: kernels, data movements (with their names), kinds and written data types."""
    kernels = tuple(kernels)
    moving = data_movements(kernels)
    return {
        "kernels": len(kernels),
        "data_movements": len(moving),
        "data_movement_names": [kernel.name for kernel in moving],
        "kinds": dict(Counter(kernel.kind for kernel in kernels).most_common()),
        "written_types": dict(Counter(t for kernel in kernels for t in kernel.writes).most_common()),
    }


def _shape_arithmetic(layer: re.Match[str]) -> bool:
    """Whether all that a layer reads and writes is one integer, and it does no more than to hand it on."""
    tensors = layer["rest"].count("Datatype:")
    return layer["kind"] in _SHAPE_KINDS and 0 < tensors == len(_ONE_INTEGER.findall(layer["rest"]))


def _kernel(name: str, kind: str, rest: str) -> Kernel:
    lists = {m["list"]: _tensors(m["held"]) for m in _LISTS.finditer("Inputs:" + rest)}
    outputs = lists.get("Outputs", ())
    return Kernel(
        name,
        kind,
        tuple(tensor.dtype for tensor in outputs),
        inputs=lists.get("Inputs", ()),
        constants=lists.get("Constants", ()),
        outputs=outputs,
        nodes=tuple(dict.fromkeys(_NODE.findall(rest))),
    )


def _tensors(held: str) -> tuple[Tensor, ...]:
    found = _TENSOR.finditer(held)
    return tuple(Tensor(m["name"] or "", m["dtype"], (m["layout"] or "").strip()) for m in found)
