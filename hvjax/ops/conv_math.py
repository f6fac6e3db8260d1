"""Algebra of fusion: normalisations, convolutions and parallel branches become one convolution.

Every function is pure, takes NumPy or JAX arrays (tracers too) and returns arrays of the same kind and type:
float64 in, float64 out. Kernels are HWIO, `(kh, kw, c_in / groups, c_out)`; those of linear layers are
`(c_in, c_out)`. Sums are written as element-wise products, never as matrix products, which TPUs round.

The identities are those of Ding et al., "RepVGG: Making VGG-style ConvNets Great Again" (arXiv 2101.03697,
section 3.3), and the folding of a normalisation into the layer after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

Array = np.ndarray | jax.Array
Vector = Float[Array, "c"]
Kernel = Float[Array, "*window cin_per_group cout"]  # window: kh kw, or nothing for a linear layer


class Affine(NamedTuple):
    """The map `x -> scale * x + shift` on the channels of `x`; both arrays have shape `(c,)`."""

    scale: Vector
    shift: Vector


def norm_affine(scale: Vector, bias: Vector, mean: Vector, var: Vector, epsilon: float) -> Affine:
    """Return batch normalisation with fixed statistics as an affine map.

    All four arrays have shape `(c,)`; `var` is the variance, not the standard deviation.
    """
    factor = scale / (var + epsilon) ** 0.5
    return Affine(factor, bias - mean * factor)


def compose_affines(first: Affine, second: Affine) -> Affine:
    """Return the affine map `x -> second(first(x))`."""
    return Affine(first.scale * second.scale, first.shift * second.scale + second.shift)


def fuse_conv_affine(kernel: Kernel, bias: Vector | None, after: Affine) -> tuple[Kernel, Vector]:
    """Fold an affine map into the convolution or linear layer before it: `after(conv(x))`.

    Exact for any stride, padding, dilation and number of groups, because the map acts on finished sums.

    Args:
      kernel: `(kh, kw, c_in / groups, c_out)` or `(c_in, c_out)`.
      bias: `(c_out,)`, or None for a layer without one.
      after: the affine map on the `c_out` channels.

    Returns:
      The kernel and the bias of the fused layer, in the type of `kernel`.

    Raises:
      ValueError: if the map has another number of channels than the layer's output.
    """
    _check_channels("output", kernel.shape[-1], after)
    shift = after.shift if bias is None else bias * after.scale + after.shift
    return (kernel * after.scale).astype(kernel.dtype), shift.astype(kernel.dtype)


def fuse_affine_linear(
    before: Affine, kernel: Kernel, bias: Vector | None, groups: int = 1
) -> tuple[Kernel, Vector]:
    """Fold an affine map into the linear layer or 1x1 convolution after it: `linear(before(x))`.

    The kernel is scaled per input channel, and the shift passes through the unscaled kernel into the bias.
    Larger kernels are refused: their zero padding comes after the map; folded, it would come before, and the
    map would turn the zeros into `shift`.

    Args:
      before: the affine map on the `c_in` channels.
      kernel: `(c_in, c_out)`, or `(1, 1, c_in / groups, c_out)`.
      bias: `(c_out,)`, or None for a layer without one.
      groups: number of groups of the 1x1 convolution.

    Returns:
      The kernel and the bias of the fused layer, in the type of `kernel`.

    Raises:
      ValueError: if the kernel covers more than one pixel, or its input channels are not those of the map.
    """
    if kernel.ndim not in (2, 4) or (kernel.ndim == 4 and tuple(kernel.shape[:2]) != (1, 1)):
        raise ValueError(
            f"cannot fold a normalisation into the following layer with kernel {tuple(kernel.shape)}: only"
            " linear layers (c_in, c_out) and 1x1 convolutions (1, 1, c_in/groups, c_out) are exact at edges"
        )
    per_group, c_out = kernel.shape[-2:]
    _check_channels("input", per_group * groups, before)
    if c_out % groups:
        raise ValueError(f"groups={groups} must divide the {c_out} output channels")
    # One column per output channel: the part of the map that its group sees.
    scale, shift = (_per_output_channel(v, groups, per_group, c_out) for v in before)
    carried = (kernel.reshape(per_group, c_out) * shift).sum(axis=0)
    fused_bias = carried if bias is None else bias + carried
    return (kernel * scale).astype(kernel.dtype), fused_bias.astype(kernel.dtype)


def pad_kernel(kernel: Kernel, size: int | tuple[int, int]) -> Kernel:
    """Put a kernel into the centre of a larger one of zeros, so that it can be added to a larger branch.

    Equal to the small convolution where the larger one's padding grows by the same amount on every side.

    Raises:
      ValueError: if the kernel is larger than `size` or the difference is odd (it would have no centre).
    """
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = height - kernel.shape[0], width - kernel.shape[1]
    if rows < 0 or columns < 0 or rows % 2 or columns % 2:
        raise ValueError(
            f"a {kernel.shape[0]}x{kernel.shape[1]} kernel has no centred place in {height}x{width}: "
            "the size must be larger by an even number"
        )
    edges = ((rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0), (0, 0))
    return _namespace(kernel).pad(kernel, edges)


def identity_kernel(
    channels: int, size: int | tuple[int, int] = 1, groups: int = 1, *, like: Array
) -> Kernel:
    """Return the kernel `(kh, kw, channels / groups, channels)` that copies its input: 1 at the centre tap.

    Args:
      channels: number of input and output channels.
      size: odd kernel size, one number or (height, width); the convolution must pad by half of it.
      groups: number of groups.
      like: an array whose kind (NumPy or JAX) and type the kernel takes.

    Raises:
      ValueError: if a size is even or `groups` does not divide `channels`.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"an identity kernel needs odd sizes, got {height}x{width}")
    if groups < 1 or channels % groups:
        raise ValueError(f"groups={groups} must divide the {channels} channels")
    per_group = channels // groups
    kernel = np.zeros((height, width, per_group, channels))
    outputs = np.arange(channels)
    kernel[height // 2, width // 2, outputs % per_group, outputs] = 1
    return _namespace(like).asarray(kernel, dtype=like.dtype)


def sum_branches(branches: Sequence[tuple[Kernel, Vector]]) -> tuple[Kernel, Vector]:
    """Add parallel convolutions of one input: `(kernel, bias)` each, kernels of one shape (see `pad_kernel`).

    Raises:
      ValueError: if there is no branch or the shapes differ.
    """
    shapes = [tuple(kernel.shape) for kernel, _ in branches]
    if len(set(shapes)) != 1:
        raise ValueError(f"branches need kernels of one shape, got {shapes}")
    kernel, bias = branches[0]
    for other_kernel, other_bias in branches[1:]:
        kernel, bias = kernel + other_kernel, bias + other_bias
    return kernel, bias


def _check_channels(side: str, channels: int, affine: Affine) -> None:
    if tuple(affine.scale.shape) != (channels,) or tuple(affine.shift.shape) != (channels,):
        raise ValueError(
            f"the layer has {channels} {side} channels, the normalisation {tuple(affine.scale.shape)} scales "
            f"and {tuple(affine.shift.shape)} shifts"
        )


def _per_output_channel(values: Array, groups: int, per_group: int, c_out: int) -> Array:
    """Spread `(c_in,)` values to `(per_group, c_out)`: the factors of each output channel's kernel column."""
    columns = values.reshape(groups, per_group).T
    return _namespace(values).repeat(columns, c_out // groups, axis=1)


def _namespace(array: Array) -> Any:
    return jnp if isinstance(array, jax.Array) else np
