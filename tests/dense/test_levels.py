"""The level of a box, against the formula of the paper and the borders of mmdetection."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from hvjax.dense.levels import roi_levels


def _square(side: float) -> list[float]:
    return [10, 20, 10 + side, 20 + side]


@pytest.mark.parametrize(
    ("side", "level"),
    [(0, 0), (1, 0), (56, 0), (111.9, 0), (112, 1), (223.9, 1), (224, 2), (447.9, 2), (448, 3), (5000, 3)],
)
def test_borders(side: float, level: int) -> None:
    found = roi_levels(jnp.array([_square(side)]))
    assert found.dtype == jnp.int32 and found.tolist() == [level]


def test_it_is_the_area_that_counts() -> None:
    boxes = jnp.array([[0, 0, 448, 28], [0, 0, 447, 28], [0, 0, 0, 900], [300, 300, 0, 0]], jnp.float32)
    assert roi_levels(boxes).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_formula_of_the_paper(count: int) -> None:
    sides = np.random.default_rng(0).uniform(1, 2000, (2, 500, 2))
    corners = np.zeros_like(sides)
    expected = np.floor(np.log2(np.sqrt(sides.prod(-1)) / 56))
    found = roi_levels(jnp.array(np.concatenate([corners, sides], -1), jnp.float32), count)
    np.testing.assert_array_equal(found, np.clip(expected, 0, count - 1))


def test_another_finest_side() -> None:
    assert roi_levels(jnp.array([_square(40), _square(39)]), finest_side=20.0).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"), [({"count": 0}, "count=0"), ({"finest_side": 0.0}, "finest_side=0.0")]
)
def test_mistakes(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        roi_levels(jnp.zeros((1, 4)), **options)
