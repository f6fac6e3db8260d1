"""What a detector does with boxes, as ONNX: the same boxes in the same order as JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from export._optional import available
from export.batch import BatchRange
from export.bridge import convert
from export.runtimes import BuildOptions, make
from hvjax.dense.anchors import anchors_on_images, pyramid_anchors
from hvjax.dense.boxes import clip, decode, has_area, take
from hvjax.dense.levels import roi_levels
from hvjax.dense.nms import LOWEST, nms, suppress

Check = Callable[..., Any]
SHAPES, STRIDES = [(8, 12), (4, 6)], (8, 16)
COUNT = sum(h * w * 3 for h, w in SHAPES)
SIZES = np.array([[64, 96], [40, 77]], np.int32)
# exponentials differ in their last bits; boxes are up to 100 pixels
PIXELS = 1e-5


def _arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    objectness = rng.permutation(2 * COUNT).reshape(2, COUNT).astype(np.float32) / COUNT
    return objectness, rng.normal(size=(2, COUNT, 4)).astype(np.float32) / 4


def _propose(objectness: jax.Array, moves: jax.Array) -> Any:
    """As a region proposal network: the best anchors, moved and clipped, without doubles."""
    anchors = jnp.asarray(np.concatenate(pyramid_anchors(SHAPES, STRIDES)))
    inside = jnp.concatenate(anchors_on_images(SHAPES, STRIDES, jnp.asarray(SIZES)), 1)
    best, index = lax.top_k(jnp.where(inside, objectness, LOWEST), 60)
    boxes = clip(decode(take(jnp.broadcast_to(anchors, (2, COUNT, 4)), index), take(moves, index)), SIZES)
    groups = (index >= 8 * 12 * 3).astype(jnp.int32)
    chosen, found = nms(boxes, best, 0.4, 20, valid=has_area(boxes), groups=groups)
    boxes = jnp.where(found[..., None], take(boxes, chosen), 0.0)
    return boxes, found, roi_levels(boxes, 3, 16.0)


def test_proposals_are_those_of_jax(same_as_jax: Check) -> None:
    same_as_jax(_propose, *_arrays(), loop_rounds=16, tolerance=PIXELS)
    found = np.asarray(_propose(*map(jnp.asarray, _arrays()))[1])
    assert found.any() and not found.all()


def _chain(count: int) -> tuple[np.ndarray, np.ndarray]:
    left = np.arange(count, dtype=np.float32) * 5
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], -1)
    return boxes[None], np.linspace(1, 0.1, count, dtype=np.float32)[None]


def test_enough_rounds_settle_a_chain(same_as_jax: Check) -> None:
    same_as_jax(lambda boxes, scores: suppress(boxes, scores, 0.3), *_chain(9), loop_rounds=9)


@pytest.mark.parametrize("rounds", [2, 3])
def test_too_few_rounds_keep_too_many_or_too_few(rounds: int) -> None:
    """As the page of the module says: more after an even number, fewer after an odd one."""
    import onnxruntime

    model = convert(lambda boxes, scores: suppress(boxes, scores, 0.3), *_chain(9), loop_rounds=rounds)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [info.name for info in session.get_inputs()]
    (stays,) = session.run(None, dict(zip(names, _chain(9), strict=True)))
    right = np.arange(9) % 2 == 0
    assert (stays[0] != right).any()
    assert (stays[0] | right == (stays[0] if rounds % 2 == 0 else right)).all()


@pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
def test_tensorrt_builds() -> None:
    both = jax.ShapeDtypeStruct((2, COUNT, 5), np.float32)
    model = convert(lambda x: _propose(x[..., 0], x[..., 1:]), both, loop_rounds=4)
    assert make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(2, 2, 2))).engine
