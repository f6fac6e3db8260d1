"""The proof sheet: what an export was made from, and what the builder made of every layer of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from export import attribution, provenance
from export.attribution import Attribution
from export.runtimes.kernels import Kernel

if TYPE_CHECKING:
    from export.outcome import Outcome  # which needs JAX: a bundle's engine gets a proof sheet without


def proof_data(outcome: Outcome) -> dict[str, Any]:
    """The part "proof" of report.json."""
    step = outcome.source.training.get("step")
    agreement = outcome.agreement
    return {
        "checkpoint": None if outcome.source.random else provenance.checkpoint(outcome.request.ckpt, step),
        "validation": agreement.as_dict() if agreement else None,
        **engine_proof(outcome.engine.kernels or (), attribution.node_names(outcome.model)),
    }


def engine_proof(kernels: Iterable[Kernel], nodes: Iterable[str]) -> dict[str, Any]:
    """What is known of the layers of an engine. `nodes` are the names of the ONNX file's nodes.

    `layers` has one entry a kernel of the engine, in order; it is empty where the runtime lists none. Its
    "after" names the modules whose kernels wrote what this one reads: where an unattributed kernel stands.
    """
    layers = attribution.attribute(kernels, nodes)
    writers = {tensor.name: layer for layer in layers for tensor in layer.kernel.outputs}
    return {
        "attribution": _attribution(layers),
        "precisions": dict(Counter(precision(layer) for layer in layers).most_common()),
        "layers": [
            {**layer.as_dict(), "after": _after(layer, writers), "precision": precision(layer)}
            for layer in layers
        ],
    }


def precision(layer: Attribution) -> str:
    """The data types that a kernel reads and writes: "Half", or "Float + Half" where it converts.

    Integers that only say where to read (gather, pad) are left out beside floating point ones."""
    kernel = layer.kernel
    types = {tensor.dtype for tensor in (*kernel.inputs, *kernel.outputs)} or set(kernel.writes)
    computed = types - {"Int32", "Int64", "Bool"}
    return " + ".join(sorted(computed or types)) or "not told"


def _after(layer: Attribution, writers: Mapping[str, Attribution]) -> list[str]:
    read = (writers[tensor.name] for tensor in layer.kernel.inputs if tensor.name in writers)
    return list(dict.fromkeys(module for writer in read for module in writer.modules))


def _attribution(layers: Sequence[Attribution]) -> dict[str, Any]:
    ways = Counter(layer.by or "none" for layer in layers)
    return {
        "share": attribution.share(layers),
        "by": dict(ways.most_common()),
        "unattributed": [layer.kernel.name for layer in layers if layer.by is None],
        "fused": sum(len(layer.nodes) > 1 for layer in layers),
    }
