"""Parallel branches of one input become one convolution.

The train-time over-parameterised blocks of MobileOne (arXiv 2206.04040, section 3.2) and FastViT (arXiv
2303.14189, sections 3.1 and 3.2); all branches are linear, so that kernels add up once each norm is inside
its convolution and each kernel stands in the centre of one as large as the largest.
"""

from __future__ import annotations

import re

from hvjax.ops import conv_math
from hvjax.ops.trees import Tree
from hvjax.reparam.rules import Fuse, affine_of, child_of, into_previous, kernel_of

BRANCH = re.compile(r"conv\d+|scale")  # of a MobileOne block; its norm alone is `skip`


def merge_branches(*, epsilon: float) -> Fuse:
    """Make of a MobileOne block's `conv1`, `conv2`, ..., `scale` and `skip` one `conv` with bias.

    Other children, squeeze-and-excitation, act on the sum and stay.
    """

    def fuse(node: Tree) -> Tree:
        names = [name for name in node if BRANCH.fullmatch(name)]
        rest = {name: child for name, child in node.items() if name not in (*names, "skip")}
        kernel, bias = _sum([_folded(node, name, epsilon) for name in names])
        if "skip" in node:
            skip = _identity(kernel, affine_of(node, "skip", epsilon))
            kernel, bias = conv_math.sum_branches([(kernel, bias), skip])
        return {**rest, "conv": {"kernel": kernel, "bias": bias}}

    return fuse


def merge_convolutions(*names: str, into: str, epsilon: float) -> Fuse:
    """Add up the children `names`, each `{"conv", "norm"}`, to one convolution with bias, `into`."""

    def fuse(node: Tree) -> Tree:
        kernel, bias = _sum([_folded(node, name, epsilon) for name in names])
        rest = {name: child for name, child in node.items() if name not in names}
        return {**rest, into: {"kernel": kernel, "bias": bias}}

    return fuse


def merge_rep_mixer(*, epsilon: float) -> Fuse:
    """Make of `x + layer_scale * (mixer(x) - norm(x))` one depthwise `conv` with bias."""
    merge = merge_branches(epsilon=epsilon)

    def fuse(node: Tree) -> Tree:
        mixer = merge(child_of(node, "mixer"))["conv"]
        minus, shift = _identity(mixer["kernel"], affine_of(node, "norm", epsilon))
        gamma = child_of(node, "layer_scale")["gamma"]
        kernel = (mixer["kernel"] - minus) * gamma + _copy(minus)
        bias = (mixer["bias"] - shift) * gamma
        return {"conv": {"kernel": kernel.astype(minus.dtype), "bias": bias.astype(minus.dtype)}}

    return fuse


def add_identity(layer: str) -> Fuse:
    """Put the residual of `x + layer(x)` into the kernel of the depthwise or 1x1 child `layer`."""

    def fuse(node: Tree) -> Tree:
        target = child_of(node, layer)
        kernel = kernel_of(target, layer)
        return {**node, layer: {**target, "kernel": kernel + _copy(kernel)}}

    return fuse


def _folded(node: Tree, name: str, epsilon: float) -> tuple:
    """Kernel and bias of the branch `name`, its norm inside."""
    conv = into_previous("norm", "conv", epsilon=epsilon)(child_of(node, name))["conv"]
    return conv["kernel"], conv["bias"]


def _sum(branches: list) -> tuple:
    height, width = (max(kernel.shape[axis] for kernel, _ in branches) for axis in (0, 1))
    return conv_math.sum_branches(
        [(conv_math.pad_kernel(kernel, (height, width)), bias) for kernel, bias in branches]
    )


def _identity(kernel, affine: conv_math.Affine) -> tuple:
    """Kernel and bias, of the shape of `kernel`, of an affine map of the input's channels."""
    return conv_math.fuse_conv_affine(_copy(kernel), None, affine)


def _copy(kernel):
    """Kernel of the shape of `kernel` that copies its input, which has as many channels as the output."""
    height, width, per_group, channels = kernel.shape
    return conv_math.identity_kernel(channels, (height, width), channels // per_group, like=kernel)
