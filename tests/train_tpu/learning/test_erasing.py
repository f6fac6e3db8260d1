"""Random erasing: the law of the boxes, and what is in them.

That boxes equal timm's is in test_timm_augmentation.py.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import KS_LIMIT, ks

from train_tpu.learning.erasing import (
    AREA,
    ASPECT,
    ATTEMPTS,
    draw_erasure,
    erase,
    first_fitting,
    inside_boxes,
)

COUNT = 2000


def erased(probability: float, shape=(COUNT, 40, 40, 1)) -> np.ndarray:
    """A batch of tens, erased: what is not ten is noise."""
    erasure = draw_erasure(jax.random.key(0), *shape[:3], probability)
    return np.asarray(erase(jnp.full(shape, 10.0), erasure))


@pytest.fixture(scope="module")
def all_erased() -> np.ndarray:
    return erased(1.0)


def sides(mask: np.ndarray) -> tuple[int, int]:
    """Height and width of what is marked, which must be one filled rectangle."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    h, w = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert mask.sum() == h * w, "one rectangle"
    return int(h), int(w)


def test_boxes_follow_the_law(all_erased) -> None:
    """Area uniform, aspect log-uniform, up to boxes that do not fit and to whole pixels."""
    boxes = np.array([sides(image[..., 0] != 10) for image in all_erased])
    shares = boxes.prod(1) / 1600
    assert AREA[0] * 0.8 < shares.min() and shares.max() < AREA[1] * 1.1
    # whole pixels move a box by some percent, and few large boxes of extreme aspect do not fit
    slack = 0.02 * math.sqrt(COUNT)
    assert ks(shares, *AREA) < KS_LIMIT + slack
    aspects = np.log(boxes[:, 0] / boxes[:, 1])
    assert ks(aspects, math.log(ASPECT[0]), math.log(ASPECT[1])) < KS_LIMIT + slack


def test_boxes_lie_anywhere(all_erased) -> None:
    """The share of images in which a pixel is erased falls from the middle to the corners, evenly."""
    share = (all_erased[..., 0] != 10).mean(0)
    assert share.min() > 0
    np.testing.assert_allclose(
        share, share[::-1], atol=0.06
    )  # 4 standard deviations of 2000 halves, and more
    np.testing.assert_allclose(share, share[:, ::-1], atol=0.06)


def test_noise_is_standard_normal_and_of_each_pixel(all_erased) -> None:
    noise = all_erased[all_erased != 10]
    n = len(noise)
    assert abs(noise.mean()) < 5 / math.sqrt(n) and abs(noise.std() - 1) < 5 / math.sqrt(2 * n)
    assert len(np.unique(noise)) > 0.9 * n


def test_each_channel_has_its_own_noise() -> None:
    images = erased(1.0, (1, 32, 32, 3))
    noise = images[0][images[0, ..., 0] != 10]
    assert not np.any(noise[:, 0] == noise[:, 1])


def test_probability() -> None:
    done = (erased(0.25) != 10).any((1, 2, 3))
    assert abs(done.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / COUNT)
    assert (erased(0.0) == 10).all()


def test_where_nothing_fits_nothing_is_erased() -> None:
    shares = jnp.full((1, ATTEMPTS), 1 / 3)
    boxes = first_fitting(shares, jnp.full((1, ATTEMPTS), 1.0), jnp.zeros((1, 2)), 4, 400)
    assert boxes.tolist()[0][2:] == [0, 0]
    assert not inside_boxes(boxes, 4, 400).any()


def test_the_first_box_that_fits_is_taken() -> None:
    shares = jnp.array([[1 / 3, 1 / 3, 0.1, 0.02]])
    aspects = jnp.array([[0.3, 0.3, 1.0, 1.0]])
    box = first_fitting(shares, aspects, jnp.array([[0.999999, 0.0]]), 20, 20)
    assert box.tolist() == [[14, 0, 6, 6]], "sqrt(0.1) of 20 pixels is 6.3; 21 columns do not fit in 20"


def test_places_reach_the_last_row_and_no_further() -> None:
    """A place just below 1, that float32 rounds up in the product."""
    places = jnp.full((1, 2), np.nextafter(np.float32(1), np.float32(0)))
    shares, aspects = jnp.full((1, 1), 0.25), jnp.full((1, 1), 1.0)
    top, left, h, w = first_fitting(shares, aspects, places, 224, 224).tolist()[0]
    assert (top + h, left + w) == (224, 224)
