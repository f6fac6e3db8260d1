"""Interpolation of position tables; recorded numbers of PyTorch (live: tests/parity/live_positions.py)."""

import numpy as np
import pytest

from hvjax.weights.positions import (
    bicubic_matrix,
    bilinear_matrix,
    offset_table,
    pair_table,
    resize_maps,
    token_table,
)

# All is computed in float64; the recorded numbers have 12 digits.
RECORDED, SAME = 1e-10, 1e-12

MAP = np.array([[0, 1, -2, 3], [4, 0.5, 2, -1], [1, 2, 3, 5], [-3, 0, 7, 0.25]])
# torch 2.13, interpolate(MAP, mode="bicubic", align_corners=False)
INTERPOLATED = {
    (6, 5): [
        [-0.431702690972, 1.02923480903, -1.05539279514, -1.13228862847, 3.69315972222],
        [2.38281640625, 1.15334765625, 0.05126953125, -0.02305078125, 0.4697734375],
        [4.18534157986, 1.43253602431, 1.52133065683, 1.82218301505, -0.575261067708],
        [1.84099956597, 1.85172178819, 2.09536856192, 3.17901229745, 4.59738216146],
        [-1.42837890625, 0.02908984375, 3.52294921875, 4.99773828125, 3.0716953125],
        [-3.54001909722, -1.88822048611, 4.58835177951, 6.08123003472, -0.618531467014],
    ],
    (3, 2): [
        [0.984067563657, 0.219346788194],
        [2.21630859375, 2.38916015625],
        [-1.65717230903, 4.31429036458],
    ],
}


# The same with mode="bilinear".
BILINEAR = {
    (6, 5): [
        [0.0, 0.7, -0.5, -0.5, 3.0],
        [2.0, 1.125, 0.375, 0.3, 1.0],
        [3.5, 1.575, 1.45833333333, 1.51666666667, 0.0],
        [1.5, 1.675, 2.29166666667, 3.18333333333, 4.0],
        [-1.0, 0.4, 3.0, 4.2875, 2.625],
        [-3.0, -0.9, 3.5, 4.975, 0.25],
    ],
    (3, 2): [[0.791666666667, 0.5], [1.875, 2.25], [-1.0, 3.6875]],
}


@pytest.mark.parametrize("grid", INTERPOLATED, ids=str)
@pytest.mark.parametrize(
    ("recorded", "lines"),
    [(INTERPOLATED, bicubic_matrix), (BILINEAR, bilinear_matrix)],
    ids=["bicubic", "bilinear"],
)
def test_recorded_numbers(grid, recorded, lines):
    np.testing.assert_allclose(resize_maps(MAP, grid, lines), recorded[grid], rtol=0, atol=RECORDED)


@pytest.mark.parametrize("lines", [bicubic_matrix, bilinear_matrix])
@pytest.mark.parametrize(("old", "new"), [(4, 4), (3, 11), (11, 3), (1, 5)])
def test_rows_are_means(lines, old, new):
    """A constant table stays constant; the same size is the identity."""
    matrix = lines(old, new)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=SAME)
    assert old != new or np.array_equal(matrix, np.eye(old))


def test_one_vector_a_position():
    tokens = np.stack([MAP.ravel(), 2 * MAP.ravel()], axis=-1)[None]  # (1, 16, 2)
    ours = token_table((6, 5))(tokens, (1, 30, 2))
    np.testing.assert_allclose(ours[0, :, 0].reshape(6, 5), INTERPOLATED[6, 5], rtol=0, atol=RECORDED)
    np.testing.assert_allclose(ours[..., 1], 2 * ours[..., 0], rtol=0, atol=SAME)


def test_one_value_a_pair():
    """An outer product of two maps becomes the outer product of the interpolated maps."""
    keys = np.array([[1.0, 2.0], [3.0, 5.0]])
    pairs = np.einsum("q,k->qk", MAP.ravel(), keys.ravel())[None, None]
    ours = pair_table((6, 5), (3, 3))(pairs, (1, 1, 30, 9))
    expected = np.einsum("q,k->qk", np.ravel(INTERPOLATED[6, 5]), resize_maps(keys, (3, 3)).ravel())
    np.testing.assert_allclose(ours[0, 0], expected, rtol=0, atol=RECORDED)


def test_one_vector_an_offset():
    offsets = np.random.default_rng(0).normal(size=(9, 4))  # window 2x2: offsets -1, 0, 1
    ours = offset_table((3, 2))(offsets, (15, 4))
    expected = resize_maps(offsets.T.reshape(4, 3, 3), (5, 3)).reshape(4, 15).T
    np.testing.assert_allclose(ours, expected, rtol=0, atol=SAME)


def test_what_cannot_be_fitted():
    with pytest.raises(ValueError, match="12 positions are no square map"):
        token_table((4, 4))(np.ones((1, 12, 3)), (1, 16, 3))
    with pytest.raises(ValueError, match="more than the number of positions differs"):
        token_table((4, 4))(np.ones((1, 9, 3)), (1, 16, 5))
