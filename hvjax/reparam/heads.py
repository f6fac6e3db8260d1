"""Several linear heads of one input, whose outputs are averaged, become one."""

from __future__ import annotations

from hvjax.ops import conv_math
from hvjax.ops.trees import Tree
from hvjax.reparam.rules import Fuse, child_of, kernel_of


def mean_of_layers(*layers: str) -> Fuse:
    """Replace a node whose output is the mean of its children `layers` by one linear layer.

    The children are linear layers with bias, of one shape. Exact, because a mean of linear maps is linear.
    """

    def fuse(node: Tree) -> Tree:
        if set(node) != set(layers):
            raise ValueError(f"found {', '.join(sorted(node))}; expected the heads {', '.join(layers)} alone")
        children = [child_of(node, layer) for layer in layers]
        kernels = [kernel_of(child, layer) for child, layer in zip(children, layers, strict=True)]
        branches = [(kernel, child["bias"]) for kernel, child in zip(kernels, children, strict=True)]
        kernel, bias = conv_math.sum_branches(branches)
        share = 1 / len(layers)
        return {"kernel": (kernel * share).astype(kernel.dtype), "bias": (bias * share).astype(bias.dtype)}

    return fuse
