"""The region proposal network: its head, its proposals and its losses, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_detection import assign, clip, greedy, iou, move

from hvjax.blocks.form import Form
from hvjax.dense.anchors import cell_anchors, level_anchors
from hvjax.dense.rpn import Guesses, ProposalHead, proposal_losses, propose
from hvjax.dense.targets import Objects

STRIDES, SHAPES = (4, 8, 16), ((12, 10), (6, 5), (3, 3))
PLACE = 1e-3  # pixels, of boxes of up to 100 of them in float32
ROUNDING = 1e-5  # float32 against float64, relative
SIZES = jnp.array([[48, 40], [31, 22]])


def guesses(seed=0, shapes=SHAPES, sizes=SIZES):
    """What a head might say: random, and the same for a cell whatever the canvas."""
    out = []
    for level, ((height, width), stride) in enumerate(zip(shapes, STRIDES, strict=True)):
        random = np.random.default_rng([seed, level])
        objectness = random.normal(0, 3, (2, 40, 40, 3)).astype(np.float32)[:, :height, :width]
        moves = random.normal(0, 0.3, (2, 40, 40, 3, 4)).astype(np.float32)[:, :height, :width]
        rows = np.arange(height)[:, None] * stride < np.asarray(sizes)[:, :1, None]
        columns = np.arange(width) * stride < np.asarray(sizes)[:, 1:, None]
        inside = np.repeat((rows & columns).reshape(2, -1), 3, axis=1)
        anchors = level_anchors((height, width), stride, scale=3.0)
        out.append(Guesses(anchors, jnp.asarray(inside), objectness.reshape(2, -1), moves.reshape(2, -1, 4)))
    return out


def test_the_head_says_something_of_each_anchor():
    """The channels of a cell are those of its anchors, in their order, one after the other."""
    head = ProposalHead(8, (4, 8), 2.0, (0.5, 1.0, 2.0))
    pyramid = [jax.random.normal(jax.random.key(i), (2, *shape, 8)) for i, shape in enumerate(SHAPES[:2])]
    variables = head.init(jax.random.key(9), pyramid, SIZES)
    assert set(variables["params"]) == {"conv", "objectness", "moves"}
    found = head.apply(variables, pyramid, SIZES)
    parameters = variables["params"]
    for level, guess in enumerate(found):
        height, width = SHAPES[level]
        assert guess.objectness.shape == guess.inside.shape == (2, height * width * 3)
        patch = jnp.pad(pyramid[level], ((0, 0), (1, 1), (1, 1), (0, 0)))[1, 2:5, 3:6]
        hidden = jax.nn.relu(jnp.einsum("hwi,hwio->o", patch, parameters["conv"]["kernel"]))
        cell = 2 * width + 3  # row 2, column 3
        expected = hidden @ parameters["objectness"]["kernel"][0, 0]
        np.testing.assert_allclose(guess.objectness[1, 3 * cell : 3 * cell + 3], expected, rtol=1e-4)
        expected = (hidden @ parameters["moves"]["kernel"][0, 0]).reshape(3, 4)
        np.testing.assert_allclose(guess.moves[1, 3 * cell : 3 * cell + 3], expected, rtol=1e-4)
        stride = (4, 8)[level]
        corner = np.array([3, 2, 3, 2]) * stride
        np.testing.assert_array_equal(
            guess.anchors[3 * cell : 3 * cell + 3], corner.astype(np.float32) + cell_anchors(stride, 2.0)
        )
        # 31 x 22 pixels of the second image
        there = np.asarray(guess.inside[1]).reshape(height, width, 3)[..., 0]
        assert there.any(1).sum() == -(-31 // stride) and there.any(0).sum() == -(-22 // stride)


def plain_propose(found, image, size, candidates, overlap, count):
    """Boxes of one image, best first."""
    out = []
    for guess in found:
        there = np.flatnonzero(np.asarray(guess.inside[image]))
        scores = np.asarray(guess.objectness[image])
        best = sorted(there, key=lambda i: (-scores[i], i))[:candidates]
        boxes = [clip(move(guess.anchors[i], guess.moves[image, i]), size) for i in best]
        there = [(scores[i], box) for i, box in zip(best, boxes, strict=True) if (box[2:] > box[:2]).all()]
        kept = greedy([box for _, box in there], [score for score, _ in there], overlap)
        out += [there[k] for k in kept]
    return np.array([box for _, box in sorted(out, key=lambda one: -one[0])[:count]])


@pytest.mark.parametrize(("candidates", "count"), [(20, 30), (1000, 500)])
def test_proposals_equal_the_plain_rules(candidates, count):
    found = guesses()
    boxes, real = (np.asarray(x) for x in propose(found, SIZES, candidates, 0.5, count))
    for image in range(2):
        plain = plain_propose(found, image, np.asarray(SIZES[image]), candidates, 0.5, count)
        n = real[image].sum()
        assert n == len(plain) and real[image, :n].all()
        np.testing.assert_allclose(boxes[image, :n], plain, atol=PLACE)
        assert not boxes[image, n:].any()


def test_a_larger_canvas_changes_nothing():
    small = propose(guesses(), SIZES, 50, 0.7, 40)
    large = propose(guesses(shapes=((20, 21), (10, 11), (5, 6))), SIZES, 50, 0.7, 40)
    np.testing.assert_array_equal(small[1], large[1])
    np.testing.assert_allclose(small[0], large[0], atol=PLACE)


def objects():
    boxes = np.array([[[3, 4, 17, 15], [20, 10, 40, 45], [0, 0, 0, 0]], [[2, 2, 14, 13]] + [[0] * 4] * 2])
    real = np.array([[True, True, False], [True, False, False]])
    masks = np.zeros((2, 3, 2, 2), np.uint8)
    return Objects(jnp.asarray(boxes, jnp.float32), jnp.zeros((2, 3), jnp.int32), masks, jnp.asarray(real))


def test_losses_equal_the_plain_rules():
    """With so many samples that nothing is left to chance: all positive and negative anchors learn."""
    found = guesses()
    losses = proposal_losses(jax.random.key(0), found, objects(), 1000, 500)
    objectness, distance, count = [], 0.0, 0
    anchors = np.concatenate([guess.anchors for guess in found])
    for image in range(2):
        inside = np.concatenate([guess.inside[image] for guess in found])
        logits = np.concatenate([guess.objectness[image] for guess in found]).astype(np.float64)
        moves = np.concatenate([guess.moves[image] for guess in found])
        truth = np.asarray(objects().boxes[image])[np.asarray(objects().real[image])]
        owner = np.full(len(anchors), -2)
        owner[inside] = assign(anchors[inside], truth, 0.7, 0.3, 0.3)
        assert (owner >= 0).any()
        for i in np.flatnonzero(owner > -2):
            count += 1
            objectness.append(np.log1p(np.exp(-logits[i] if owner[i] >= 0 else logits[i])))
            if owner[i] >= 0:
                (ax, ay, aw, ah), (x, y, w, h) = centre(anchors[i]), centre(truth[owner[i]])
                wanted = [(x - ax) / aw, (y - ay) / ah, np.log(w / aw), np.log(h / ah)]
                distance += np.abs(moves[i] - wanted).sum()
    np.testing.assert_allclose(losses["rpn_objectness"], np.mean(objectness), rtol=ROUNDING)
    np.testing.assert_allclose(losses["rpn_box"], distance / count, rtol=ROUNDING)


def centre(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]


def test_proposals_overlap_by_less_than_asked_within_a_level():
    boxes, real = propose(guesses()[:1], SIZES, 100, 0.4, 50)
    kept = np.asarray(boxes[0])[np.asarray(real[0])]
    assert len(kept) > 5
    assert max(iou(a, b) for i, a in enumerate(kept) for b in kept[:i]) <= 0.4 + ROUNDING


def test_scores_and_boxes_are_not_rounded_to_half_precision():
    """The last layers see rounded features, and add their own weights in float32."""
    head = ProposalHead(8, (4,), form=Form(dtype=jnp.bfloat16))
    pyramid = [jax.random.normal(jax.random.key(1), (2, *SHAPES[0], 8), jnp.bfloat16)]
    guess = head.apply(head.init(jax.random.key(0), pyramid, SIZES), pyramid, SIZES)[0]
    for result in (guess.objectness, guess.moves):
        assert (result != result.astype(jnp.bfloat16)).mean() > 0.9
