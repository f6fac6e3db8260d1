"""From scores and moves to objects, against plain loops."""

import jax.numpy as jnp
import numpy as np
from plain_detection import clip, greedy, move, random_boxes

from hvjax.dense.boxes import RESULT_SPREAD
from hvjax.dense.detections import NOTHING, detect

CLASSES, LEAST_SCORE, OVERLAP = 4, 0.05, 0.5
PLACE, PROBABILITY = 1e-3, 1e-5  # pixels of boxes in float32; float32 against float64


def case(seed=0, images=2, proposals=40):
    """Scores, moves and proposals of which many are of one object."""
    random = np.random.default_rng(seed)
    centres = random_boxes(random, 6)
    boxes = centres[random.integers(0, 6, (images, proposals))]
    boxes = boxes + random.normal(0, 1, boxes.shape).astype(np.float32)
    logits = random.normal(0, 2, (images, proposals, CLASSES + 1)).astype(np.float32)
    moves = random.normal(0, 0.5, (images, proposals, CLASSES, 4)).astype(np.float32)
    return logits, moves, boxes


def plain_detect(logits, moves, proposals, found, size, count):
    """Best `count` of all classes of one image: (box, score, label)."""
    e = np.exp(logits.astype(np.float64))
    scores = e / e.sum(-1, keepdims=True)
    out = []
    for label in range(CLASSES):
        chosen = [i for i in range(len(proposals)) if found[i] and scores[i, label] > LEAST_SCORE]
        boxes = [clip(move(proposals[i], moves[i, label], RESULT_SPREAD), size) for i in chosen]
        kept = greedy(boxes, [scores[i, label] for i in chosen], OVERLAP)
        out += [(boxes[k], scores[chosen[k], label], label) for k in kept]
    return sorted(out, key=lambda one: -one[1])[:count]


def run(logits, moves, proposals, found=None, sizes=((90, 80), (100, 100)), candidates=1000, count=30):
    found = np.ones(proposals.shape[:2], bool) if found is None else found
    options = {"least_score": LEAST_SCORE, "overlap": OVERLAP, "candidates": candidates, "count": count}
    arrays = [jnp.asarray(x) for x in (logits, moves, proposals, found, np.array(sizes, np.int32))]
    return [np.asarray(part) for part in detect(*arrays, **options)]


def check(result, plain):
    boxes, scores, labels = result
    assert len(plain) > 5
    assert list(labels[: len(plain)]) == [label for _, _, label in plain]
    np.testing.assert_allclose(scores[: len(plain)], [score for _, score, _ in plain], atol=PROBABILITY)
    np.testing.assert_allclose(boxes[: len(plain)], [box for box, _, _ in plain], atol=PLACE)
    assert (labels[len(plain) :] == NOTHING).all()
    assert not boxes[len(plain) :].any() and not scores[len(plain) :].any()


def test_equals_the_plain_rules():
    logits, moves, proposals = case()
    found = np.arange(40) < np.array([[40], [25]])
    sizes = (90, 80), (100, 100)
    for count in (12, 100):  # more and fewer than there are
        result = run(logits, moves, proposals, found, sizes, count=count)
        for image in range(2):
            inputs = logits[image], moves[image], proposals[image], found[image], sizes[image]
            check([part[image] for part in result], plain_detect(*inputs, count))


def test_the_best_candidates_are_enough_for_a_full_list():
    """What is below them could not be in the list any more."""
    inputs = case(1)
    every, best = run(*inputs, count=10), run(*inputs, candidates=60, count=10)
    assert (every[2] != NOTHING).all()
    for one, other in zip(every, best, strict=True):
        np.testing.assert_array_equal(one, other)


def test_boxes_end_at_the_image():
    boxes, _, labels = run(*case(2), sizes=((30, 50), (100, 100)))
    assert boxes[0, :, [0, 2]].max() == 50 and boxes[0, :, [1, 3]].max() == 30 and boxes.min() >= 0
    there = boxes[labels != NOTHING]
    assert (there[:, 2:] > there[:, :2]).all(), "nothing that lies wholly outside"


def test_nothing_found():
    logits, moves, proposals = case()
    boxes, scores, labels = run(logits, moves, proposals, np.zeros((2, 40), bool))
    assert not boxes.any() and not scores.any() and (labels == NOTHING).all()
