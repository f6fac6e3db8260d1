"""Which object a box learns, against mmdetection's steps in plain loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from plain_detection import assign as plain_assign
from plain_detection import random_boxes

from hvjax.dense.assign import ANCHORS, BACKGROUND, PROPOSALS, UNDECIDED, Thresholds, assign
from hvjax.dense.boxes import pairwise_iou


def assigned(boxes, objects, thresholds, real=None, usable=None):
    overlaps = pairwise_iou(jnp.asarray(boxes), jnp.asarray(objects))
    real = np.ones(len(objects), bool) if real is None else real
    usable = np.ones(len(boxes), bool) if usable is None else usable
    return np.asarray(assign(overlaps, jnp.asarray(real), jnp.asarray(usable), thresholds))


@pytest.mark.parametrize("thresholds", [ANCHORS, PROPOSALS, Thresholds(0.6, 0.4)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_plain_rules(thresholds, seed):
    random = np.random.default_rng(seed)
    objects = random_boxes(random, 6)
    near = objects[random.integers(0, 6, 120)] + random.normal(0, 6, (120, 4)).astype(np.float32)
    boxes = np.concatenate([random_boxes(random, 80), near, objects[:2]])
    rules = thresholds.object, thresholds.background, thresholds.closest
    plain = plain_assign(boxes, objects, *rules)
    assert len(np.unique(plain)) > 5, "the case has all kinds of boxes"
    np.testing.assert_array_equal(assigned(boxes, objects, thresholds), plain)


def test_each_object_has_its_closest_boxes():
    """All of those that tie, though they overlap no object by enough, or overlap another one more."""
    objects = np.array([[0, 0, 20, 20], [4, 0, 24, 20]], np.float32)
    boxes = np.array([[3, 0, 23, 20], [60, 0, 80, 20]], np.float32)
    only = np.array([[0, 0, 20, 20], [2, 0, 22, 20]], np.float32)
    np.testing.assert_array_equal(assigned(boxes, objects, Thresholds(0.7, 0.3, 0.3)), [1, BACKGROUND])
    # the second box overlaps both objects equally, and is the closest to the second: that one wins
    np.testing.assert_array_equal(assigned(only, objects, Thresholds(0.7, 0.3, 0.3)), [0, 1])
    tied = np.array([[-10, 0, 10, 20], [10, 0, 30, 20]], np.float32)  # 1/3 each
    np.testing.assert_array_equal(assigned(tied, objects[:1], Thresholds(0.7, 0.3, 0.3)), [0, 0])
    np.testing.assert_array_equal(assigned(tied, objects[:1], Thresholds(0.7, 0.3)), [UNDECIDED, UNDECIDED])


def test_padding_changes_nothing():
    random = np.random.default_rng(5)
    boxes, objects = random_boxes(random, 50), random_boxes(random, 4)
    alone = assigned(boxes, objects, ANCHORS)
    more = np.concatenate([objects, boxes[:3]])
    real = np.arange(7) < 4
    np.testing.assert_array_equal(assigned(boxes, more, ANCHORS, real), alone)
    more = np.concatenate([boxes, objects])  # would be the closest of all
    usable = np.arange(54) < 50
    np.testing.assert_array_equal(assigned(more, objects, ANCHORS, usable=usable)[:50], alone)
    assert (assigned(more, objects, ANCHORS, usable=usable)[50:] == UNDECIDED).all()


def test_without_objects_everything_is_background():
    boxes = random_boxes(np.random.default_rng(0), 5)
    found = assigned(boxes, np.zeros((2, 4), np.float32), ANCHORS, real=np.zeros(2, bool))
    assert (found == BACKGROUND).all()
