"""Every convolution of hvjax goes through `conv2d`.

Layouts are NHWC for images and HWIO for kernels. Padding is explicit: `"SAME"` would put the odd row of a
stride-2 convolution at the end, where the PyTorch reference implementations put it at the start.

XLA's CPU backend is fast at dense convolutions and matrix products, and slow at everything between: the
gradient of a grouped convolution runs at 1-3 GFLOP/s there, against 100 and more of the same arithmetic
written as one dense convolution per group. `conv2d` therefore picks an equivalent form from `FASTEST`, at
trace time. The table rests on measurements (docs/results/conv-forms.json, repeated by `python
tests/benchmarks/conv.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, Literal, get_args

import jax
from jaxtyping import Array, Float

from hvjax.ops import conv_forms
from hvjax.ops.conv_forms import Geometry, Pair

Form = Literal["plain", "matmul", "columns", "split", "shift"]
Kind = Literal["dense", "dense_small", "pointwise", "grouped", "grouped_small", "depthwise"]

# The fastest form of each kind of convolution, forward and backward together. What is not listed is plain.
FASTEST: dict[str, dict[Kind, Form]] = {
    "cpu": {
        "dense_small": "columns",
        "pointwise": "matmul",
        "grouped": "split",
        "grouped_small": "columns",
        "depthwise": "shift",
    },
}

# A dense convolution with this many results per image and channel, or fewer, is small.
SMALL_RESULTS = 49

_FORMS: dict[Form, tuple[Callable[[Array, Array, Geometry], Any], tuple[Kind, ...]]] = {
    "plain": (conv_forms.plain, get_args(Kind)),
    "matmul": (conv_forms.matmul, ("pointwise",)),
    "columns": (conv_forms.columns, get_args(Kind)),
    "split": (conv_forms.split, ("grouped", "grouped_small", "depthwise")),
    "shift": (conv_forms.shift, ("depthwise",)),
}

# A context that takes part in the keys of JAX's caches: a function that was jitted outside of
# `plain_convolutions` is traced again inside, so a cached fast form cannot leak into an export, nor a plain
# one out of it.
_form = jax.make_user_context(default_value="auto")


@contextmanager
def convolutions(form: Form | Literal["auto"]) -> Iterator[None]:
    """While active, `conv2d` uses this form wherever it applies and the plain one elsewhere; "auto" chooses.

    Raises:
      ValueError: if there is no form of this name.
    """
    names = (*_FORMS, "auto")
    if form not in names:
        close = difflib.get_close_matches(str(form), names, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown form of convolution {form!r}{hint}; there are {', '.join(names)}")
    with _form(form):
        yield


def plain_convolutions():
    """While active, each `conv2d` traces to exactly one `lax.conv_general_dilated`; pooling is plain too.

    The export uses it. It also serves forward-mode differentiation of depthwise convolutions on CPU, whose
    fast form has a reverse mode only.
    """
    return convolutions("plain")


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
      ValueError: if the shapes, groups, padding, stride and dilation do not fit together.
    """
    at = Geometry(_pair("stride", stride, 1), _sides(padding), _pair("dilation", dilation, 1), groups)
    _check(x.shape, kernel.shape, at)
    function, _ = _FORMS[_choose(_kind(x.shape, kernel.shape, at))]
    return function(x, kernel.astype(x.dtype), at)


def prefers_forms() -> bool:
    """Whether operators may take another form than their plain one: on CPU, unless a form is asked for."""
    return _form.value == "auto" and jax.default_backend() == "cpu"


def _kind(x: tuple[int, ...], kernel: tuple[int, ...], at: Geometry) -> Kind:
    results = prod(at.out_size((x[1], x[2]), (kernel[0], kernel[1])))
    if at.groups == 1:
        if kernel[:2] == (1, 1):
            return "pointwise"
        return "dense_small" if results <= SMALL_RESULTS else "dense"
    if at.groups == x[3]:
        return "depthwise"
    # where XLA would exchange image and kernel, forward or backward (see `conv_forms.columns`)
    return "grouped_small" if min(results, x[1] * x[2]) < kernel[0] * kernel[1] else "grouped"


def _choose(kind: Kind) -> Form:
    asked: Form | Literal["auto"] = _form.value
    if asked == "auto":
        return FASTEST.get(jax.default_backend(), {}).get(kind, "plain")
    return asked if kind in _FORMS[asked][1] else "plain"


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < least for v in pair):
        raise ValueError(f"{name}={value!r}: expected an integer >= {least} or a pair of them")
    return pair


def _sides(padding: int | Pair | tuple[Pair, Pair]) -> tuple[Pair, Pair]:
    sides = tuple(padding) if isinstance(padding, tuple | list) else (padding, padding)
    if len(sides) != 2:
        raise ValueError(f"padding={padding!r}: expected an integer, a pair or a pair of pairs")
    return _pair("padding", sides[0], 0), _pair("padding", sides[1], 0)


def _check(x: tuple[int, ...], kernel: tuple[int, ...], at: Geometry) -> None:
    if len(x) != 4 or len(kernel) != 4:
        raise ValueError(
            f"conv2d takes x (b, h, w, c) and kernel (kh, kw, i, o); got shapes {x} and {kernel}"
        )
    cin, cout, groups = x[3], kernel[3], at.groups
    if groups < 1 or cin % groups or cout % groups:
        raise ValueError(f"groups={groups} must divide the {cin} input and {cout} output channels")
    if kernel[2] != cin // groups:
        raise ValueError(
            f"kernel of shape {kernel} takes {kernel[2]} input channels per group, "
            f"but x of shape {x} in {groups} groups has {cin // groups}"
        )
    axes = zip(("height", "width"), x[1:3], kernel[:2], at.padding, at.dilation, strict=True)
    for name, size, taps, sides, spacing in axes:
        reach = (taps - 1) * spacing + 1
        if size + sum(sides) < reach:
            raise ValueError(
                f"{name} {size} with padding {sides} is smaller than the kernel's reach of {reach}"
            )
