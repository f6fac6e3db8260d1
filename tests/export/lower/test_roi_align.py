"""RoIAlign arrives by its name and becomes the operator of ONNX."""

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
from export.lower.program import UnsupportedError
from export.runtimes import BuildOptions, make
from hvjax.dense.levels import roi_levels
from hvjax.dense.roi_align import roi_align

Check = Callable[..., Any]
STRIDES = (4, 8)
KERNEL = np.random.default_rng(0).standard_normal((3, 3, 3, 5)).astype(np.float32)


def _boxes(batch: int) -> np.ndarray:
    """In a picture of 64 x 80, also across its borders."""
    corners = np.random.default_rng(1).uniform(-8, 72, (batch, 6, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(2), corners.max(2)], -1)


def _read(pictures: jax.Array, boxes: jax.Array) -> jax.Array:
    """Cells of two maps that convolutions make, through another convolution."""
    order = ("NHWC", "HWIO", "NHWC")
    kernel = KERNEL.astype(pictures.dtype)
    maps = [
        lax.conv_general_dilated(pictures, kernel, (s, s), "SAME", dimension_numbers=order) for s in STRIDES
    ]
    cells = roi_align(maps, boxes, roi_levels(boxes, 2, 15.0), 3, STRIDES)
    cells = cells.reshape(-1, *cells.shape[2:])
    last = kernel.transpose(0, 1, 3, 2)
    return lax.conv_general_dilated(cells, last, (1, 1), "SAME", dimension_numbers=order)


def _pictures(batch: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((batch, 64, 80, 3)).astype(dtype)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("batch", [1, 2])
def test_maps_are_read_where_they_lie(layout: str, batch: int, same_as_jax: Check, operators: Check) -> None:
    levels = np.asarray(roi_levels(_boxes(batch), 2, 15.0))
    assert 0 < levels.sum() < levels.size
    found = operators(same_as_jax(_read, _pictures(batch), _boxes(batch), input_layout=layout))
    assert found.count("RoiAlign") == 2 and found.count("Where") == 1
    assert found.count("Transpose") <= (layout == "nhwc") + 1 and "GatherND" not in found


def test_one_map_needs_no_choice(same_as_jax: Check, operators: Check) -> None:
    def fn(level: jax.Array, boxes: jax.Array) -> jax.Array:
        return roi_align([level], boxes, jnp.zeros(boxes.shape[:2], jnp.int32), (2, 4), [8], sampling_ratio=3)

    found = operators(same_as_jax(fn, _pictures(2), _boxes(2)))
    assert found.count("RoiAlign") == 1 and "Where" not in found


def test_boxes_of_half_precision_maps_stay_float32(operators: Check) -> None:
    model = convert(_read, _pictures(1, np.float16), _boxes(1))
    for node in (node for node in model.graph.node if node.op_type == "RoiAlign"):
        assert node.input[1] == "input_1" or "Reshape" in node.input[1]
    found = operators(model)
    assert found.count("RoiAlign") == 2 and found.count("Cast") >= 3


def test_an_open_batch_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="number of their image"):
        convert(_read, _pictures(2), _boxes(2), dynamic_batch=True)


@pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_tensorrt_builds(dtype: Any) -> None:
    def fn(pictures: jax.Array) -> jax.Array:
        moved = pictures.astype(jnp.float32).mean((1, 2, 3))[:, None, None]
        return _read(pictures, _boxes(2) + moved)

    model = convert(fn, _pictures(2, dtype))
    assert make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(2, 2, 2))).engine
