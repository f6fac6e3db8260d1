"""Every convolution of hvjax goes through `conv2d`.

Layouts are NHWC for images and HWIO for kernels. Padding is explicit and symmetric by default, as in the
PyTorch reference implementations (`"SAME"` puts the odd row at the end and would shift stride-2 convolutions).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax import lax
from jaxtyping import Array, Float

Pair = tuple[int, int]

# A context that takes part in the keys of JAX's caches: a function that was jitted outside of
# `plain_convolutions` is traced again inside, so a cached fast form can never leak into an export.
_plain = jax.make_user_context(default_value=False)


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """While active, every `conv2d` traces to exactly one `lax.conv_general_dilated` (used by the export)."""
    with _plain(True):
        yield


def conv2d(
    x: Float[Array, "b h w cin"],
    kernel: Float[Array, "kh kw cin_per_group cout"],
    *,
    stride: int | Pair = 1,
    padding: int | Pair | tuple[Pair, Pair] = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> Float[Array, "b ho wo cout"]:
    """2-D convolution (cross-correlation, as in PyTorch) computed in the type of `x`.

    Args:
      x: images or feature maps, NHWC.
      kernel: HWIO weights; the input axis holds `cin / groups` channels. Cast to the type of `x`.
      stride: step, one number or (vertical, horizontal).
      padding: zeros around the image: one number, (vertical, horizontal) or ((top, bottom), (left, right)).
      groups: number of independent channel groups; must divide `cin` and `cout`.
      dilation: spacing of the kernel taps, one number or (vertical, horizontal).

    Raises:
      ValueError: if the shapes, groups, padding and stride do not fit together.
    """
    strides, dilations = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    pads = _padding(padding)
    _check(x.shape, kernel.shape, pads, dilations, groups)
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        strides,
        pads,
        rhs_dilation=dilations,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < least for v in pair):
        raise ValueError(f"{name}={value!r}: expected an integer >= {least} or a pair of them")
    return pair


def _padding(padding: int | Pair | tuple[Pair, Pair]) -> tuple[Pair, Pair]:
    vertical, horizontal = (padding, padding) if isinstance(padding, int) else padding
    sides = [(side, side) if isinstance(side, int) else tuple(side) for side in (vertical, horizontal)]
    return _pair("padding", sides[0], 0), _pair("padding", sides[1], 0)


def _check(x: tuple[int, ...], kernel: tuple[int, ...], pads: tuple[Pair, Pair], dilations: Pair, groups: int):
    if len(x) != 4 or len(kernel) != 4:
        raise ValueError(f"conv2d takes x (b, h, w, c) and kernel (kh, kw, i, o); got shapes {x} and {kernel}")
    cin, cout = x[3], kernel[3]
    if groups < 1 or cin % groups or cout % groups:
        raise ValueError(f"groups={groups} must divide the {cin} input and {cout} output channels")
    if kernel[2] != cin // groups:
        raise ValueError(
            f"kernel {kernel} takes {kernel[2]} input channels per group; x {x} in {groups} groups has {cin // groups}"
        )
    for name, size, pad, k, d in zip(("height", "width"), x[1:3], pads, kernel[:2], dilations, strict=True):
        reach = (k - 1) * d + 1
        if size + sum(pad) < reach:
            raise ValueError(f"{name} {size} with padding {pad} is smaller than the kernel's reach of {reach}")
