"""The Flax module in the name of an ONNX node: `stage3/mlp/fc1/Conv_1` belongs to `stage3/mlp/fc1`.

A trace also passes through methods, which are no modules: Flax writes `block2/block2._attend` where `block2`
calls its own method, `block2._attend` where its parent does, and TensorFlow's road `block2/block2/_attend`.
"""

from __future__ import annotations


def module_of(node: str) -> str:
    """The module's path; "" is the model itself. Modules that the exporter merged stay one: `attn/k+v`."""
    kept: list[str] = []
    for part in node.split("/")[:-1]:  # the last is the operator
        if part.startswith("_"):
            if len(kept) > 1 and kept[-1] == kept[-2]:
                kept.pop()
            continue
        name, _, method = part.partition(".")
        if not method or kept[-1:] != [name]:
            kept.append(name if method else part)
    return "/".join(kept)


def modules_of(node: str) -> tuple[str, ...]:
    """The same, merged modules apart: `attn/k+v/Conv` belongs to `attn/k` and `attn/v`."""
    *parents, last = module_of(node).split("/")
    return tuple("/".join([*parents, part]) for part in last.split("+"))
