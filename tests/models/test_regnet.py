"""What is particular to RegNetY."""

import re

import jax
import numpy as np
import pytest

import hvjax
from hvjax.models.regnet import linear_design


def test_the_published_numbers_make_the_published_stages():
    """w0, wa, wm, depth and group width of RegNetY-16GF and RegNetY-4GF, as timm has them."""
    config = hvjax.create_model("regnety_160").config
    made = linear_design(200, 106.23, 2.48, 18, 112)
    assert made == {"depths": config.depths, "widths": config.widths}
    assert linear_design(96, 31.41, 2.24, 22, 64) == {
        "depths": (2, 6, 12, 2),
        "widths": (128, 192, 512, 1088),
    }


def test_a_design_without_four_stages():
    with pytest.raises(ValueError, match=r"make 1 stages of widths \(200,\): expected 4"):
        linear_design(200, 1.0, 2.48, 18, 112)


def test_initialisation():
    """Kaiming normal (fan out, of a group) convolutions, last norm of each block at zero, head of 0.01."""
    model = hvjax.create_model("regnety_160", depths=(1, 1, 1, 1), widths=(112, 224, 224, 448))
    params = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [entry.key for entry in path]
        if names[-1] == "kernel":
            outputs = leaf.shape[-1] if names[-2] != "conv2" else 112
            expected = 0.01 if names[0] == "head" else (2 / (np.prod(leaf.shape[:-2]) * outputs)) ** 0.5
            assert abs(float(leaf.std()) / expected - 1) < 5 / (2 * leaf.size) ** 0.5, names
        else:
            value = 1.0 if names[-1] == "scale" and names[-2] != "norm3" else 0.0
            assert bool((leaf == value).all()), names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (224, 448, 1232, 3025)}, "expected multiples of group_width=112"),
        ({"group_width": 0}, "group_width=0: expected an integer >= 1"),
        ({"squeeze_ratio": 0}, "squeeze_ratio=0: expected a number > 0"),
        ({"depths": (1, 1)}, "depths=(1, 1): expected 4 integers >= 1"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        hvjax.create_model("regnety_160", **changes)
