"""Random samples of boxes: how many, which, and in what order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.dense.sampling import sample

N = 40


def draw(positive, negative, count=16, positives=4, seed=0):
    drawn = sample(jax.random.key(seed), jnp.asarray(positive), jnp.asarray(negative), count, positives)
    return [np.asarray(part) for part in drawn]


def kinds(*counts):
    """Masks with so many positive and negative boxes a row, scattered."""
    random = np.random.default_rng(0)
    kind = np.array([random.permutation([1] * p + [-1] * n + [0] * (N - p - n)) for p, n in counts])
    return kind == 1, kind == -1


def test_counts_and_order():
    """Enough of both; few objects; few of both; nothing."""
    positive, negative = kinds((10, 20), (2, 30), (3, 5), (0, 0))
    index, objects, taken = draw(positive, negative)
    assert index.shape == objects.shape == taken.shape == (4, 16)
    np.testing.assert_array_equal(objects.sum(1), [4, 2, 3, 0])
    np.testing.assert_array_equal(taken.sum(1), [16, 16, 8, 0])
    for row in range(4):
        p, t = objects[row].sum(), taken[row].sum()
        assert objects[row, :p].all() and taken[row, :t].all(), "objects first, empty places last"
        assert positive[row, index[row, :p]].all() and negative[row, index[row, p:t]].all()
        assert len(set(index[row, :t])) == t, "no box twice"
        assert ((index[row] >= 0) & (index[row] < N)).all()


def test_fewer_boxes_than_places():
    positive, negative = np.array([[True, True, False]]), np.array([[False, False, True]])
    index, objects, taken = draw(positive, negative)
    assert sorted(index[0]) == [0, 1, 2] and objects.sum() == 2 and taken.all()


def test_every_box_is_equally_likely():
    rounds = 4000
    positive, negative = (np.repeat(mask, rounds, axis=0) for mask in kinds((5, 8)))
    index, _, taken = draw(positive, negative, count=6, positives=2)
    times = np.bincount(index[taken], minlength=N)
    # six deviations of a mean of `rounds` yes-or-no draws
    slack = 6 * np.sqrt(0.25 / rounds)
    np.testing.assert_allclose(times[positive[0]] / rounds, 2 / 5, atol=slack)
    np.testing.assert_allclose(times[negative[0]] / rounds, 4 / 8, atol=slack)
    assert times.sum() == 6 * rounds


def test_images_draw_their_own_numbers():
    positive, negative = (np.repeat(mask, 2, axis=0) for mask in kinds((10, 20)))
    index, _, _ = draw(positive, negative)
    assert not np.array_equal(index[0], index[1])


@pytest.mark.parametrize(("count", "positives"), [(4, 5), (4, 0)])
def test_impossible_numbers(count, positives):
    with pytest.raises(ValueError, match="expected 1 <= positives <= count"):
        draw(*kinds((1, 1)), count=count, positives=positives)
