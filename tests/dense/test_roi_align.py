"""RoIAlign against ONNX Runtime's operator, a map whose values are known everywhere, and its own adjoint."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.dense import roi_align as module

Draw = Callable[..., np.ndarray]
roi_align = jax.jit(module.roi_align, static_argnames=("size", "strides", "sampling_ratio"))

# sums of 16 products of float32, in another order
ROUNDING = 1e-5


def _maps(
    rng: np.random.Generator, batch: int, shapes: list[tuple[int, int]], c: int = 3
) -> list[np.ndarray]:
    return [rng.normal(size=(batch, h, w, c)).astype(np.float32) for h, w in shapes]


def _by_onnx(
    run: Callable[..., np.ndarray],
    level: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
    stride: int,
    ratio: int,
) -> np.ndarray:
    images, count = boxes.shape[:2]
    cells = run(
        "RoiAlign",
        np.ascontiguousarray(level.transpose(0, 3, 1, 2)),
        boxes.reshape(-1, 4),
        np.repeat(np.arange(images), count),
        mode="avg",
        output_height=size[0],
        output_width=size[1],
        sampling_ratio=ratio,
        spatial_scale=1 / stride,
        coordinate_transformation_mode="half_pixel",
    )
    return cells.transpose(0, 2, 3, 1).reshape(images, count, *size, -1)


@pytest.mark.parametrize(
    ("shape", "size", "stride", "ratio"),
    [
        ((16, 24), (7, 7), 4, 2),
        ((16, 24), (14, 14), 4, 2),
        ((9, 5), (3, 2), 8, 3),
        ((4, 6), (2, 2), 16, 1),
        ((1, 7), (2, 2), 8, 2),
        ((7, 1), (2, 2), 8, 2),
        ((1, 1), (2, 3), 64, 2),
    ],
)
def test_as_onnx_runtime(
    shape: tuple[int, int],
    size: tuple[int, int],
    stride: int,
    ratio: int,
    draw_boxes: Draw,
    onnx_operator: Callable[..., np.ndarray],
) -> None:
    """Boxes in the image, boxes that cross its borders, boxes outside, points, whole images."""
    rng = np.random.default_rng(0)
    (level,) = _maps(rng, 2, [shape])
    image = (shape[0] * stride, shape[1] * stride)
    inside = draw_boxes(rng, 2, 12, size=image, least=0.5)
    across = (
        draw_boxes(rng, 2, 12, size=image) + rng.normal(size=(2, 12, 1)).astype(np.float32) * max(image) / 2
    )
    h, w = image
    special = [
        [0, 0, w, h],
        [0, 0, 0, 0],
        [3, 3, 3, 3],
        [w, h, w, h],
        [w - 1, h - 1, w, h],
        [-2 * w, 0, -w, h],
    ]
    same = np.broadcast_to(np.array(special, np.float32), (2, len(special), 4))
    boxes = np.concatenate([inside, across, same], 1)
    found = roi_align(
        [jnp.array(level)],
        boxes,
        jnp.zeros(boxes.shape[:2], jnp.int32),
        size,
        (stride,),
        sampling_ratio=ratio,
    )
    expected = _by_onnx(onnx_operator, level, boxes, size, stride, ratio)
    assert found.shape == expected.shape == (2, 30, *size, 3)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_every_box_reads_its_level(draw_boxes: Draw, onnx_operator: Callable[..., np.ndarray]) -> None:
    rng, strides = np.random.default_rng(1), (4, 8, 16, 32)
    maps = _maps(rng, 2, [(24, 32), (12, 16), (6, 8), (3, 4)])
    boxes, levels = draw_boxes(rng, 2, 40, size=(96, 128)), rng.integers(0, 4, (2, 40))
    found = roi_align([jnp.array(level) for level in maps], boxes, jnp.array(levels), 7, strides)
    for number, stride in enumerate(strides):
        mine = levels == number
        expected = _by_onnx(onnx_operator, maps[number], boxes, (7, 7), stride, 2)
        assert mine.any()
        np.testing.assert_allclose(np.asarray(found)[mine], expected[mine], atol=ROUNDING)


def test_values_of_a_plane_are_those_at_the_centres(draw_boxes: Draw) -> None:
    """On x + 10 y, in pixels of the image, the mean of a cell is the value at its centre."""
    rng, stride, size = np.random.default_rng(2), 8, 4
    y, x = np.meshgrid((np.arange(20) + 0.5) * stride, (np.arange(30) + 0.5) * stride, indexing="ij")
    plane = jnp.array((x + 10 * y)[None, ..., None], jnp.float32)
    # away from the border by half a cell of the map, behind which values are held
    boxes = draw_boxes(rng, 1, 20, size=(160 - stride, 240 - stride)) + stride / 2
    found = roi_align([plane], boxes, jnp.zeros((1, 20), jnp.int32), size, (stride,))[0, ..., 0]
    x1, y1, x2, y2 = boxes[0].T[..., None]
    at = (np.arange(size) + 0.5) / size
    centres = (x1 + (x2 - x1) * at)[:, None, :] + 10 * (y1 + (y2 - y1) * at)[:, :, None]
    np.testing.assert_allclose(found, centres, rtol=1e-5)


def test_gradient_is_the_adjoint(draw_boxes: Draw) -> None:
    """The operation is linear in the maps: <cells(maps), g> = <maps, gradient(g)> for any maps and g."""
    rng, strides = np.random.default_rng(3), (4, 8)
    boxes = jnp.array(
        draw_boxes(rng, 2, 10, size=(40, 48)) + rng.normal(size=(2, 10, 1)).astype(np.float32) * 10
    )
    levels = jnp.array(rng.integers(0, 2, (2, 10)))
    maps = [jnp.array(level) for level in _maps(rng, 2, [(10, 12), (5, 6)])]
    cells, backward = jax.vjp(lambda *maps: roi_align(maps, boxes, levels, 3, strides), *maps)
    g = jnp.array(rng.normal(size=cells.shape), jnp.float32)
    gradients = backward(g)
    assert [gradient.shape for gradient in gradients] == [level.shape for level in maps]
    other = [jnp.array(level) for level in _maps(rng, 2, [(10, 12), (5, 6)])]
    forward = jnp.vdot(roi_align(other, boxes, levels, 3, strides), g)
    back = sum(jnp.vdot(level, gradient) for level, gradient in zip(other, gradients, strict=True))
    assert float(abs(forward)) > 1
    np.testing.assert_allclose(back, forward, rtol=1e-4)


def test_boxes_get_no_gradient(draw_boxes: Draw) -> None:
    rng = np.random.default_rng(4)
    maps = [jnp.array(level) for level in _maps(rng, 1, [(6, 6)])]
    boxes = jnp.array(draw_boxes(rng, 1, 4, size=(24, 24)))

    @jax.jit
    def loss(maps: list, boxes: jax.Array) -> jax.Array:
        return roi_align(maps, boxes, jnp.zeros((1, 4), jnp.int32), 2, (4,)).sum()

    by_map, by_box = jax.grad(loss, argnums=(0, 1))(maps, boxes)
    np.testing.assert_array_equal(by_box, np.zeros((1, 4, 4)))
    # every cell's weights sum to one, inside the map
    np.testing.assert_allclose(by_map[0].sum(), 4 * 2 * 2 * 3, rtol=1e-5)


def test_half_precision_is_summed_in_float32(draw_boxes: Draw) -> None:
    rng = np.random.default_rng(5)
    (level,) = _maps(rng, 1, [(16, 16)])
    rounded = jnp.array(level, jnp.bfloat16)
    boxes, levels = draw_boxes(rng, 1, 8, size=(64, 64)), jnp.zeros((1, 8), jnp.int32)
    found = roi_align([rounded], boxes, levels, 7, (4,))
    assert found.dtype == jnp.bfloat16
    exact = roi_align([rounded.astype(jnp.float32)], boxes, levels, 7, (4,))
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
    gradient = jax.grad(lambda level: roi_align([level], boxes, levels, 7, (4,)).astype(jnp.float32).sum())(
        rounded
    )
    assert gradient.dtype == jnp.bfloat16 and gradient.shape == rounded.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": [4, 8]}, "1 maps, but strides"),
        ({"size": 0}, "size=0"),
        ({"sampling_ratio": 0}, "sampling_ratio=0"),
        ({"strides": [0]}, r"strides=\(0,\)"),
    ],
)
def test_mistakes(options: dict, message: str) -> None:
    given = {"size": 7, "strides": [4], **options}
    boxes, levels = jnp.zeros((1, 3, 4)), jnp.zeros((1, 3), jnp.int32)
    with pytest.raises(ValueError, match=message):
        module.roi_align([jnp.zeros((1, 4, 4, 2))], boxes, levels, **given)


def test_numpy_integers_are_sizes():
    level, boxes = np.ones((1, 8, 8, 2), np.float32), np.array([[[0, 0, 16, 16]]], np.float32)
    cells = module.roi_align([level], boxes, jnp.zeros((1, 1), jnp.int32), np.int64(3), (4,))
    assert cells.shape == (1, 1, 3, 3, 2)
