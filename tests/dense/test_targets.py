"""What Mask R-CNN learns from a batch: objects, proposals, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_detection import iou, move, random_boxes

from hvjax.dense.boxes import RESULT_SPREAD
from hvjax.dense.targets import IGNORED, mask_targets, objects_of, roi_targets

CLASSES = 5
PLACE = 1e-3  # pixels, of boxes of up to 100 of them in float32


def targets(boxes, labels, crowd=None, size=8):
    boxes = np.asarray(boxes, np.float32)
    labels = np.asarray(labels, np.int32)
    crowd = np.zeros(labels.shape, bool) if crowd is None else np.asarray(crowd)
    return {
        "boxes": boxes,
        "labels": labels,
        "crowd": crowd,
        "masks": np.ones((*labels.shape, size, size), np.uint8),
    }


def test_objects_are_neither_padding_nor_crowds_nor_empty():
    box = [1, 2, 30, 40]
    given = targets([[box, box, box, [5, 5, 5, 9]]], [[3, -1, 2, 1]], [[False, False, True, False]])
    objects = objects_of(given, 1, CLASSES)
    np.testing.assert_array_equal(objects.real, [[True, False, False, False]])
    np.testing.assert_array_equal(objects.labels, [[3, 0, 2, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": None}, "targets have no masks: expected boxes, labels, crowd, masks"),
        ({"labels": np.zeros((2, 3), np.int32)}, r"labels \(2, 3\).*expected boxes \(1, m, 4\)"),
        ({"boxes": np.zeros((1, 2, 5))}, r"boxes \(1, 2, 5\)"),
        ({"masks": np.zeros((1, 2, 8, 9))}, r"masks \(1, 2, 8, 9\)"),
        ({"sizes": np.ones((1, 2))}, "targets have sizes: expected boxes, labels, crowd, masks, size, image"),
        ({"labels": np.ones((1, 2))}, "labels of the targets have type float32: expected integers"),
        ({"crowd": np.ones((1, 2))}, "crowd of the targets have type float32: expected flags"),
        ({"boxes": np.ones((1, 2, 4), bool)}, "boxes of the targets have type bool: expected numbers"),
        ({"labels": np.full((1, 2), CLASSES)}, "targets have the label 5: expected less than num_classes=5"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    given = targets([[[0, 0, 9, 9]] * 2], [[1, 1]]) | change
    with pytest.raises(ValueError, match=message):
        objects_of({name: value for name, value in given.items() if value is not None}, 1, CLASSES)


@pytest.fixture
def case():
    """Two images with 4 and 0 objects, and proposals near and far."""
    random = np.random.default_rng(0)
    boxes = np.stack([random_boxes(random, 5), np.zeros((5, 4), np.float32)])
    labels = np.array([[4, 0, 2, 2, -1], [-1] * 5])
    near = boxes[0, random.integers(0, 4, 30)] + random.normal(0, 2, (30, 4)).astype(np.float32)
    proposals = np.stack([np.concatenate([near, random_boxes(random, 30)]), random_boxes(random, 60)])
    return objects_of(targets(boxes, labels), 2, CLASSES), proposals


def test_sampled_proposals_and_what_they_learn(case):
    objects, proposals = case
    found = np.arange(60) < np.array([[55], [60]])
    drawn = roi_targets(jax.random.key(0), proposals, jnp.asarray(found), objects, CLASSES, 32, 12)
    boxes, labels, moves, owner, (index, positive, taken) = jax.tree.map(np.asarray, drawn)
    assert boxes.shape == (2, 32, 4)
    np.testing.assert_array_equal(positive.sum(1), [12, 0])
    assert taken.all()
    every = np.concatenate([objects.boxes, proposals], axis=1)
    for image, place in np.ndindex(2, 32):
        box = every[image, index[image, place]]
        np.testing.assert_array_equal(boxes[image, place], box)
        overlaps = [iou(box, one) for one in np.asarray(objects.boxes[image, :4])]
        if positive[image, place]:
            one = int(np.argmax(overlaps))
            assert overlaps[one] >= 0.5 and owner[image, place] == one
            assert labels[image, place] == objects.labels[image, one]
            there = move(box, moves[image, place], RESULT_SPREAD)
            np.testing.assert_allclose(there, objects.boxes[image, one], atol=PLACE)
        else:
            assert max(overlaps) < 0.5 and labels[image, place] == CLASSES
    not_found = (index >= 5 + 55)[0]
    assert not not_found.any(), "padding among the proposals is not drawn"


def test_objects_themselves_are_drawn_from(case):
    """Though no proposal is near, each object is learned from its own box; padding is not."""
    objects, _ = case
    nowhere = np.full((2, 20, 4), [90, 90, 91, 91], np.float32)
    drawn = roi_targets(jax.random.key(1), nowhere, jnp.ones((2, 20), bool), objects, CLASSES, 16, 8)
    index, positive, _ = drawn.sample
    assert sorted(np.asarray(index)[np.asarray(positive)]) == [0, 1, 2, 3]
    np.testing.assert_allclose(np.asarray(drawn.moves)[np.asarray(positive)], 0, atol=1e-6)


def test_padding_is_finite():
    """All places are read, also those that hold nothing."""
    objects = objects_of(targets(np.zeros((1, 2, 4)), [[-1, -1]]), 1, CLASSES)
    none = np.zeros((1, 4), bool)
    drawn = roi_targets(jax.random.key(0), np.zeros((1, 4, 4)), none, objects, CLASSES, 6, 2)
    assert not drawn.sample.taken.any() and np.isfinite(drawn.moves).all()


def plain_mask(mask, box, roi, cells, fine=64):
    """Share of each cell that is on, counted at fine x fine points."""
    pixels = mask.shape[0]
    points = (np.arange(cells * fine) + 0.5) / (cells * fine)
    x = (roi[0] + points * (roi[2] - roi[0]) - box[0]) / (box[2] - box[0]) * pixels
    y = (roi[1] + points * (roi[3] - roi[1]) - box[1]) / (box[3] - box[1]) * pixels
    inside = ((y >= 0) & (y < pixels))[:, None] & ((x >= 0) & (x < pixels))[None]
    column, row = (np.clip(np.floor(v), 0, pixels - 1).astype(int) for v in (x, y))
    on = mask[row][:, column] * inside
    return on.reshape(cells, fine, cells, fine).mean(axis=(1, 3))


@pytest.mark.parametrize("roi", [(10, 20, 42, 52), (4, 25, 40, 60), (20, 30, 30, 41), (80, 80, 90, 90)])
def test_masks_through_boxes_near_them(roi):
    random = np.random.default_rng(0)
    mask = np.kron(random.integers(0, 2, (4, 4)), np.ones((4, 4), np.int64)).astype(np.uint8)
    box = (10, 20, 42, 52)
    wanted = mask_targets(
        jnp.asarray(mask)[None, None],
        jnp.asarray(box, jnp.float32)[None, None],
        jnp.asarray(roi, jnp.float32)[None, None],
        7,
    )
    share = plain_mask(mask, box, roi, 7)
    clear = np.abs(share - 0.5) > 0.02  # points count an edge to within a part of 64
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(np.asarray(wanted[0, 0])[clear], (share > 0.5)[clear])


def test_a_mask_through_its_own_box_is_the_mask():
    mask = np.random.default_rng(1).integers(0, 2, (1, 3, 28, 28)).astype(np.uint8)
    boxes = jnp.asarray(random_boxes(np.random.default_rng(2), 3))[None]
    np.testing.assert_array_equal(mask_targets(jnp.asarray(mask), boxes, boxes, 28), mask.astype(bool))


def test_masks_of_padding():
    zeros = jnp.zeros((1, 1, 4))
    assert mask_targets(jnp.ones((1, 1, 8, 8), jnp.uint8), zeros, zeros, 4).shape == (1, 1, 4, 4)


def test_masks_are_on_where_they_are_not_zero():
    """0 and 255, too: a cell that is covered by less than half is off."""
    mask = np.zeros((1, 1, 8, 8), np.uint8)
    mask[..., 3:, 5:] = 255
    box = jnp.array([[[0.0, 0.0, 8.0, 8.0]]])
    wanted = mask_targets(jnp.asarray(mask), box, box, 4)
    np.testing.assert_array_equal(wanted, mask_targets(jnp.asarray(mask // 255), box, box, 4))
    assert wanted.sum() == 5


def test_labels_of_no_class_are_not_learned_under_jit():
    given = targets([[[1, 2, 30, 40]] * 2], [[CLASSES, 1]])
    objects = jax.jit(lambda t: objects_of(t, 1, CLASSES))(given)
    np.testing.assert_array_equal(objects.real, [[False, True]])


def test_what_else_a_batch_holds_is_passed_over():
    given = targets([[[1, 2, 30, 40]]], [[1]]) | {name: np.zeros(1) for name in (*IGNORED, "size")}
    assert objects_of(given, 1, CLASSES).real.all()
