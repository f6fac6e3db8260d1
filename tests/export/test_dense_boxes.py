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
from hvjax.dense.roi_align import roi_align

Check = Callable[..., Any]
SHAPES, STRIDES = [(8, 12), (4, 6)], (8, 16)
COUNT = sum(h * w * 3 for h, w in SHAPES)
SIZES = np.array([[64, 96], [40, 77]], np.int32)
# exponentials differ in their last bits; boxes are up to 100 pixels
PIXELS = 1e-5
# float16 has 11 bits; a convolution before and one behind the cells each round once more
HALF_STEPS = 4 * 2.0**-11


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


def test_too_few_rounds_keep_too_many_or_too_few_by_turns() -> None:
    right = np.arange(9) % 2 == 0
    first, second = (_stays(*_chain(9), rounds) for rounds in (2, 3))
    assert (first != right).any() and (second != right).any()
    few, many = sorted([first, second], key=np.sum)
    assert not (few & ~right).any() and not (right & ~many).any()


def _stays(boxes: np.ndarray, scores: np.ndarray, rounds: int) -> np.ndarray:
    import onnxruntime

    model = convert(lambda boxes, scores: suppress(boxes, scores, 0.3), boxes, scores, loop_rounds=rounds)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [info.name for info in session.get_inputs()]
    (stays,) = session.run(None, dict(zip(names, (boxes, scores), strict=True)))
    return stays[0]


KERNEL = np.random.default_rng(0).standard_normal((3, 3, 3, 5)).astype(np.float32)
PICTURES = np.random.default_rng(2).standard_normal((2, 64, 80, 3)).astype(np.float32)


def _read(pictures: jax.Array) -> jax.Array:
    """Cells of two maps that convolutions make, under boxes that hang on the picture, some across borders."""
    corners = np.random.default_rng(1).uniform(-8, 72, (2, 6, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(2), corners.max(2)], -1)
    boxes = boxes + pictures.astype(jnp.float32).mean((1, 2, 3))[:, None, None]
    order = ("NHWC", "HWIO", "NHWC")
    kernel = KERNEL.astype(pictures.dtype)
    maps = [
        lax.conv_general_dilated(pictures, kernel, (s, s), "SAME", dimension_numbers=order) for s in (4, 8)
    ]
    cells = roi_align(maps, boxes, roi_levels(boxes, 2, 15.0), 3, (4, 8))
    cells = cells.reshape(-1, *cells.shape[2:])
    back = kernel.transpose(0, 1, 3, 2)
    return lax.conv_general_dilated(cells, back, (1, 1), "SAME", dimension_numbers=order)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_features_under_boxes_are_those_of_jax(layout: str, same_as_jax: Check) -> None:
    same_as_jax(_read, PICTURES, input_layout=layout, tolerance=PIXELS)


def test_features_of_half_precision_maps(same_as_jax: Check) -> None:
    same_as_jax(_read, PICTURES.astype(np.float16), tolerance=HALF_STEPS)


@pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
@pytest.mark.parametrize(
    ("fn", "shape", "dtype"),
    [
        (lambda x: _propose(x[..., 0], x[..., 1:]), (2, COUNT, 5), np.float32),
        (_read, PICTURES.shape, np.float32),
        (_read, PICTURES.shape, np.float16),
    ],
    ids=["proposals", "features", "features in float16"],
)
def test_tensorrt_builds(fn: Callable[..., Any], shape: tuple[int, ...], dtype: Any) -> None:
    model = convert(fn, jax.ShapeDtypeStruct(shape, dtype), loop_rounds=4)
    assert make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(2, 2, 2))).engine
