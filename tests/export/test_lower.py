"""Every operation of the lowering against JAX, in ONNX Runtime, and the layouts that come out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from export.lower.formula import FORMULAS
from export.lower.lowering import LOWERINGS
from export.lower.program import UnsupportedError
from export.passes import PASSES

Check = Callable[..., Any]
# exponentials and the like are other approximations in ONNX Runtime than in XLA
TRANSCENDENTAL = 2e-5


def _draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


UNARY = {
    "abs": jnp.abs,
    "acos": lambda x: jnp.arccos(jnp.tanh(x)),
    "acosh": lambda x: jnp.arccosh(1.5 + x * x),
    "asin": lambda x: jnp.arcsin(jnp.tanh(x)),
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": lambda x: jnp.arctanh(0.9 * jnp.tanh(x)),
    "ceil": jnp.ceil,
    "clamp": lambda x: lax.clamp(np.float32(-0.5), x, np.float32(0.7)),
    "convert": lambda x: (3 * x).astype(jnp.int32),
    "cosh": jnp.cosh,
    "cosine": jnp.cos,
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (1, 9, 0), (2, 3, 4)),
    "erf": lax.erf,
    "erfc": lax.erfc,
    "exponential": jnp.exp,
    "floor": jnp.floor,
    "gather": lambda x: (x[:, np.array([[4, 0], [1, 1]])], x[np.arange(3)[::-1]]),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "group_norm": lambda x: jax.nn.standardize(x, (1, 2)) * np.arange(4) + 1,
    "iota": lambda x: x * lax.broadcasted_iota(jnp.float32, x.shape, 1),
    "layer_norm": lambda x: jax.nn.standardize(x),
    "log": lambda x: jnp.log(1 + x * x),
    "logistic": jax.nn.sigmoid,
    "negate": lambda x: -x,
    "pad": lambda x: lax.pad(x, np.float32(2), ((0, 1, 0), (2, 0, 0), (0, 0, 0))),
    "relu": jax.nn.relu,
    "remainder": lambda x: lax.rem(x, np.float32(0.3)),
    "reverse": lambda x: x[:, ::-1],
    "round_nearest_even": lambda x: jnp.round(3 * x),
    "rsqrt": lambda x: lax.rsqrt(1 + x * x),
    "select": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "sign": jnp.sign,
    "sine": jnp.sin,
    "sinh": jnp.sinh,
    "slice": lambda x: x[:, 1:4:2, 1:],
    "softmax": lambda x: jax.nn.softmax(x, axis=1),
    "sqrt": lambda x: jnp.sqrt(jnp.abs(x)),
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "transpose": lambda x: x.transpose(2, 0, 1),
    "reshape": lambda x: x.reshape(3, -1),
    "reduce": lambda x: (x.sum(1), x.max(0), x.min((1, 2))),
    "reduce_mean": lambda x: (x.mean(1), x.mean((0, 2), keepdims=True)),
    "broadcast_in_dim": lambda x: jnp.broadcast_to(x[:, None], (3, 2, 5, 4)),
}


def test_a_slice_of_everything_is_nothing(same_as_jax: Check) -> None:
    assert len(same_as_jax(lambda x: jnp.roll(x, 0, 1) + 1, _draw(3, 5)).graph.node) == 1
    assert len(same_as_jax(lambda x: lax.dynamic_slice(x, (2, 0), (3, 5)) + 1, _draw(3, 5)).graph.node) == 1


@pytest.mark.parametrize("name", sorted(UNARY))
def test_operation_of_one_array(name: str, same_as_jax: Check) -> None:
    same_as_jax(UNARY[name], _draw(3, 5, 4), tolerance=TRANSCENDENTAL)


BINARY = {
    # with zeros, but none with a minus: the lowering takes -0 for 0
    "atan2": lambda x, y: jnp.arctan2(
        jnp.where(jnp.abs(x) < 0.5, 0, jnp.round(x)), jnp.round(jnp.abs(y)) - 1
    ),
    "add": jnp.add,
    "and": lambda x, y: ((x > 0) & (y > 0)).astype(jnp.float32),
    "compare": lambda x, y: (x < y).astype(jnp.float32) + (x == y) + (x != -y),
    "concatenate": lambda x, y: jnp.concatenate([x, y], axis=1),
    "divide": jnp.divide,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "multiply": jnp.multiply,
    "not": lambda x, y: jnp.where(~(x > y), x, y),
    "or": lambda x, y: ((x > 0) | (y > 0)).astype(jnp.float32),
    "power": lambda x, y: jnp.power(jnp.abs(x), y),
    "subtract": jnp.subtract,
    "xor": lambda x, y: ((x > 0) ^ (y > 0)).astype(jnp.float32),
    "dot_general": lambda x, y: jnp.einsum("abc,dbc->ad", x, y),
}


@pytest.mark.parametrize("name", sorted(BINARY))
def test_operation_of_two_arrays(name: str, same_as_jax: Check) -> None:
    x = _draw(3, 5, 4)
    x[0] = _draw(3, 5, 4, seed=1)[0]  # equal elements too
    same_as_jax(BINARY[name], x, _draw(3, 5, 4, seed=1), tolerance=TRANSCENDENTAL)


MODEL_OPERATIONS = {"convolution", "linear", "average_pool", "reduce_window", "split", "layout", "head_sum"}
# tests/export/lower has a file for each of these
MODEL_OPERATIONS |= {*FORMULAS, "resize", "argmax", "argmin", "top_k", "take_along"}


def test_every_lowering_is_tested_above_or_below() -> None:
    assert set(LOWERINGS) - MODEL_OPERATIONS == set(UNARY) | set(BINARY)


def test_integers_work_bit_by_bit(same_as_jax: Check) -> None:
    x, y = np.arange(12, dtype=np.int32).reshape(3, 4), np.full((3, 4), 6, np.int32)
    same_as_jax(lambda a, b: ((a & b) + (a | b), a ^ b, ~a, a // 5), x, y)


@pytest.mark.parametrize("formula", ["bij,bjk->bik", "bij,bkj->bik", "bji,bjk->bik", "bhid,bhjd->bhij"])
@pytest.mark.parametrize("order", ["nhd", "hnd"])
def test_batched_products_in_every_dimension_order(formula: str, order: str, same_as_jax: Check) -> None:
    sizes = dict(zip("bhijkd", (2, 3, 4, 5, 6, 7), strict=True))
    left, right = formula.split("->")[0].split(",")
    if order == "nhd" and "h" in formula:
        formula = "bihd,bjhd->bhij"
        left, right = formula.split("->")[0].split(",")
    shapes = [[sizes[letter] for letter in side] for side in (left, right)]
    model = same_as_jax(lambda x, y: jnp.einsum(formula, x, y), _draw(*shapes[0]), _draw(*shapes[1], seed=1))
    assert Counter(node.op_type for node in model.graph.node)["MatMul"] == 1


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), "SAME", 1, 1),
        ((2, 2), ((1, 1), (1, 1)), 1, 4),
        ((2, 1), ((0, 1), (2, 0)), 1, 1),
        (None, "VALID", 2, 8),
    ],
)
def test_convolutions(
    stride: Any, padding: Any, dilation: int, groups: int, same_as_jax: Check, operators: Check
) -> None:
    def fn(w: dict, x: jax.Array) -> jax.Array:
        options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": groups}
        y = lax.conv_general_dilated(
            x, w["a"], stride or (1, 1), padding, rhs_dilation=(dilation,) * 2, **options
        )
        return lax.conv_general_dilated(jax.nn.relu(y + w["b"]), w["a"], (1, 1), "SAME", **options)

    weights = {"a": _draw(3, 3, 8 // groups, 8), "b": _draw(8)}
    model = same_as_jax(fn, _draw(2, 9, 11, 8), weights=weights)
    assert operators(model) == ["Transpose", "Conv", "Relu", "Conv", "Transpose"]
    model = same_as_jax(fn, _draw(2, 9, 11, 8), weights=weights, input_layout="nchw", output_layout="nchw")
    assert operators(model) == ["Conv", "Relu", "Conv"]


def test_convolutions_written_in_other_dimension_orders(same_as_jax: Check, operators: Check) -> None:
    def fn(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))

    assert operators(same_as_jax(fn, _draw(2, 3, 8, 9), _draw(5, 3, 3, 3))) == ["Conv"]


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda x: lax.cumlogsumexp(x, 1), "a custom function"),
        (lambda x: jnp.lexsort((x, jnp.round(x))), "sorts by one key"),
        (lambda x: x.at[:, x[0, :, 0, 0].astype(jnp.int32)].set(0), "only known when it runs"),
        (lambda x: x.at[:, jnp.array([1, 1])].multiply(2 * x[:, :2]), "several updates of one place"),
        (lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, x), "a loop that ends when"),
        (lambda x: lax.fori_loop(0, 600, lambda i, y: jnp.sin(y), x), "a loop of more than"),
        (lambda x: x + jax.random.normal(jax.random.key(0), (3,)), "random numbers"),
        (lambda x: jnp.abs(x + 1j * x), "complex"),
        (lambda x: jax.pure_callback(np.sin, x, x), "back into Python"),
        (lambda x: jnp.linalg.inv(x[..., :3, :3]), "a custom call"),
    ],
)
def test_what_cannot_be_exported_says_why_and_where(fn: Callable, why: str, same_as_jax: Check) -> None:
    with pytest.raises(UnsupportedError, match=why) as caught:
        same_as_jax(fn, _draw(2, 4, 4, 3))
    assert "test_lower.py:" in str(caught.value)


def test_an_unknown_operation_is_named_with_its_module_path(same_as_jax: Check) -> None:
    from flax import linen as nn

    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dense(4, name="fc")(lax.lgamma(x))

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Inner(name="inner")(x)

    x = _draw(2, 3)
    weights = Outer().init(jax.random.key(0), x)
    with pytest.raises(UnsupportedError, match=r"chlo.lgamma of 'inner' \(.*test_lower.py:\d+\): .*no ONNX"):
        same_as_jax(lambda w, x: Outer().apply(w, x), x, weights=weights)


def test_a_chain_of_reshapes_is_one_and_an_idle_one_none(same_as_jax: Check, operators: Check) -> None:
    x = _draw(2, 3, 4)
    assert operators(same_as_jax(lambda x: x.reshape(6, 4).reshape(2, 12).reshape(4, 6) + 1, x)) == [
        "Reshape",
        "Add",
    ]
    assert operators(same_as_jax(lambda x: x.reshape(6, 4).reshape(2, 3, 4) + 1, x)) == ["Add"]


def test_transposes_that_cancel_leave_nothing(same_as_jax: Check, operators: Check) -> None:
    x = _draw(2, 3, 4, 5)
    fn = lambda x: jnp.tanh(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)  # noqa: E731
    assert operators(same_as_jax(fn, x)) == ["Tanh"]


def test_outputs_may_be_inputs_constants_and_each_other(same_as_jax: Check) -> None:
    fn = lambda x: (x, x, jnp.ones(3), x + 1, x + 1)  # noqa: E731
    model = same_as_jax(fn, _draw(2, 2), output_names=["a", "b", "c", "d", "e"])
    assert [info.name for info in model.graph.output] == ["a", "b", "c", "d", "e"]


def test_the_documentation_lists_these_operations(repository: Path) -> None:
    page = (repository / "docs" / "export.md").read_text()
    section = page.split("## Operations")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = re.findall(r"`(\w+)`", " ".join(rows))
    assert sorted(listed) == sorted(LOWERINGS)


def test_the_documentation_lists_these_passes(repository: Path) -> None:
    page = (repository / "docs" / "export.md").read_text()
    section = page.split("## Passes")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert listed == list(dict.fromkeys(rewrite.__name__ for rewrite in PASSES))
