"""Counting what TensorRT will launch, from the builder's own layer list, with no GPU.

The builder prints one line per layer of the finished engine ("Engine Layer Information") when the
profiling verbosity is DETAILED and the logger takes verbose messages::

    Name: stem.conv_myl0_1, LayerType: correlation, Inputs: [ { Name: ..., Datatype: Half, ... } ], ...

Every such layer that is not pure synchronisation is one kernel. A kernel *moves data* when its name holds
only transposes, reshapes, slices, copies, casts and the like, and no arithmetic.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs:(?P<rest>.*)$", re.MULTILINE)
_OUTPUTS = re.compile(r"Outputs: \[(?P<outputs>.*?)\](?:, TacticName|, StreamId|, Tactic|$)")
_DATATYPE = re.compile(r"(?:Format/)?Datatype: (\w+)")

#: Layers that only order streams or compute shapes on the host: no kernel.
SYNCHRONISATION = frozenset({"signal", "wait", "shape_call"})
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
class Kernel:
    """One layer of the engine: its name, the builder's kind, the data types it writes."""

    name: str
    kind: str
    writes: tuple[str, ...] = ()

    @property
    def moves_data(self) -> bool:
        if self.kind not in _NAMED_BY_CONTENT or not _MOVES.search(self.name):
            return False
        return not _COMPUTES.search(_DECORATION.sub("", self.name))


def read_kernels(messages: Iterable[str]) -> tuple[Kernel, ...]:
    """The kernels of an engine, in order, from the builder's log messages (or the engine inspector's
    one-line-per-layer text). Empty if no layer list was printed."""
    found = (match for text in messages for match in _LAYER.finditer(text))
    layers = (Kernel(m["name"], m["kind"], _written_types(m["rest"])) for m in found)
    return tuple(layer for layer in layers if layer.kind not in SYNCHRONISATION)


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


def _written_types(rest: str) -> tuple[str, ...]:
    outputs = _OUTPUTS.search(rest)
    return tuple(_DATATYPE.findall(outputs["outputs"])) if outputs else ()
