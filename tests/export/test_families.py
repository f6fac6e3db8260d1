"""Every family exports: small models in both precisions against JAX, and full-size ones by their kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import family_of, merged, pixels
from next_vit_ablations import ABLATIONS
from next_vit_ablations import SMALL as SMALL_ABLATION

import hvjax
from export._optional import available
from export.batch import BatchRange
from export.bridge import convert
from export.runtimes import BuildOptions, make
from export.runtimes.kernels import data_movements
from hvjax.registry import MODELS

Check = Callable[..., Any]
SMALL = merged("small")
# The project's limit for float16 is 2e-3 of the largest logit, for trained weights. These are random, with
# branches as large as the trunk; JAX and ONNX Runtime round at other places.
FLOAT16_TOLERANCE = 5e-3


def _random(path: Any, struct: Any) -> np.ndarray:
    """Weights that keep the scale of activations; nothing is zero or one."""
    rng = np.random.default_rng(struct.size)
    kind = path[-1].key
    if kind == "kernel":
        draw = rng.standard_normal(struct.shape) / np.prod(struct.shape[:-1]) ** 0.5
    else:
        draw = rng.uniform(0.5, 1.5, struct.shape) if kind in ("scale", "gamma", "var") else None
    return (0.3 * rng.standard_normal(struct.shape) if draw is None else draw).astype(struct.dtype)


def _model(
    name: str, dtype: str, size: tuple[int, int] | None = None, **overrides: Any
) -> tuple[Any, Callable, Any]:
    model: Any = hvjax.create_model(name, deploy=True, dtype=jnp.dtype(dtype), **overrides)
    size = size or (family_of(name).image_size if overrides else MODELS[name].image_size)
    size = size if isinstance(size, tuple) else (size, size)
    struct = jax.ShapeDtypeStruct((1, *pixels(model, size), model.config.in_channels), jnp.float32)
    weights = jax.tree_util.tree_map_with_path(_random, jax.eval_shape(model.init, jax.random.key(0), struct))
    return weights, lambda w, x: model.apply(w, x).astype(jnp.float32), struct


def _build(model: Any, batch: BatchRange) -> Any:
    if not available("tensorrt_rtx_bindings"):
        pytest.skip("engines are built with TensorRT for RTX, which is not installed: hvjax[tensorrt-rtx]")
    return make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(batch))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_small_model_is_equal_to_jax_and_builds(name: str, dtype: str, same_as_jax: Check) -> None:
    weights, fn, struct = _model(name, dtype, **SMALL[name])
    x = np.random.default_rng(1).standard_normal((2, *struct.shape[1:])).astype(np.float32)
    half = dtype == "float16"
    options = {"tolerance": FLOAT16_TOLERANCE} if half else {"batches": (1, 2)}
    model = same_as_jax(fn, x, weights=weights, input_layout="nchw", **options)
    kinds = Counter(node.op_type for node in model.graph.node)
    # nothing of what has an operator of its own is left in pieces
    assert not {"BatchNormalization", "Erf", "Exp", "Sqrt", "Reciprocal", "Pow", "Expand"} & kinds.keys()
    assert _build(model, BatchRange(2, 2, 2) if half else BatchRange(1, 2, 2)).engine


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_an_ablation_of_next_vit_is_equal_to_jax(ablation: str, same_as_jax: Check) -> None:
    overrides = {**SMALL_ABLATION, **ABLATIONS[ablation]}
    weights, fn, struct = _model("next_vit_s", "float32", size=(33, 40), **overrides)
    x = np.random.default_rng(1).standard_normal((2, *struct.shape[1:])).astype(np.float32)
    model = same_as_jax(fn, x, weights=weights, input_layout="nchw")
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not {"BatchNormalization", "Erf", "Exp", "Sqrt", "Pow"} & kinds.keys()


# Most nodes, kernels and data movements of a full-size model at its native size, batch 1. Behind them those
# of the fused PyTorch twin: nodes, kernels (movements).
ECONOMY = {
    ("fastvit_sa12", "float32"): (123, 78, 3),  # (145, 80 (3))
    ("fastvit_sa12", "float16"): (133, 78, 8),  # (145, 86 (9))
    ("swin_t", "float32"): (381, 155, 13),  # (529, 189 (61))
    ("swin_t", "float16"): (403, 128, 12),  # (529, 155 (1))
    ("uniformer_s", "float32"): (411, 190, 12),  # (481, 254 (24))
    ("uniformer_s", "float16"): (436, 163, 2),  # (481, 233 (13))
    ("pyramid_tnt_s", "float32"): (689, 283, 1),  # (780, 324 (23))
    ("pyramid_tnt_s", "float16"): (751, 238, 2),  # (780, 360 (11))
    ("cmt_s", "float32"): (992, 359, 4),  # timm has none
    ("cmt_s", "float16"): (1137, 328, 1),
}


@pytest.mark.full_size
@pytest.mark.parametrize(("name", "dtype"), ECONOMY)
def test_economy_of_the_deploy_form(name: str, dtype: str) -> None:
    weights, fn, struct = _model(name, dtype)
    model = convert(fn, struct, weights=weights, input_layout="nchw")
    nodes, kernels, movements = ECONOMY[name, dtype]
    assert len(model.graph.node) <= nodes
    built = _build(model, BatchRange(1, 1, 1))
    assert built.kernels is not None
    assert 0 < len(built.kernels) <= kernels
    assert len(data_movements(built.kernels)) <= movements


def test_a_model_with_position_tables_is_made_for_the_image_size_asked_for() -> None:
    from export.at_size import at_size
    from export.load import load_source

    source = at_size(load_source("pyramid_tnt_ti"), (64, 96))
    assert source.model.config.image_size == source.image_size == (64, 96)
    assert at_size(source, (64, 96)) is source
    free = load_source("resnet50")
    assert at_size(free, (64, 96)) is free
