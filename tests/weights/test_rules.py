"""Patterns of names, and the order of axes."""

import numpy as np
import pytest

from hvjax.weights.rules import CONV, LINEAR, Leaf, match, vector


@pytest.mark.parametrize(
    ("pattern", "name", "numbers"),
    [
        ("layer{stage}.{block}.bn1", "layer3.12.bn1", {"stage": 3, "block": 12}),
        ("layer{stage}.{block}.bn1", "layer3.12.bn11", None),
        ("layer{stage}.{block}.bn1", "xlayer3.12.bn1", None),
        ("bn1", "bn1", {}),
        ("bn1", "bnx", None),
        ("a.b", "axb", None),
    ],
)
def test_match(pattern, name, numbers):
    assert match(pattern, name) == numbers


def test_layouts():
    conv, linear = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7), np.arange(6).reshape(2, 3)
    ours = CONV[0].to_ours(conv)
    assert ours.shape == (5, 7, 3, 2)
    assert ours[4, 6, 1, 0] == conv[0, 1, 4, 6]
    assert CONV[0].shape_there(ours.shape) == conv.shape
    assert np.array_equal(LINEAR[0].to_ours(linear), linear.T)


def test_axes_of_length_one():
    scale, table = np.arange(5.0).reshape(5, 1, 1), np.arange(12.0).reshape(1, 4, 3)
    gamma, positions = vector("gamma", "gamma", ones=2), Leaf("pos", "params", "pos", (0, 1), ones=-1)
    assert np.array_equal(gamma.to_ours(scale), np.arange(5.0))
    assert gamma.shape_there((5,)) == (5, 1, 1)
    assert np.array_equal(positions.to_ours(table), table[0])
    assert positions.shape_there((4, 3)) == (1, 4, 3)
