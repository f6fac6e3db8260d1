"""What is particular to ResNet."""

import jax
import numpy as np
import pytest

import hvjax


def test_initialisation():
    """Kaiming normal (fan out) convolutions, last norm of each block at zero, PyTorch's uniform head."""
    model = hvjax.create_model("resnet50")
    params = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [entry.key for entry in path]
        if names[0] == "head":
            bound = 2048**-0.5
            assert 0.95 * bound < float(abs(leaf).max()) <= bound
            # a uniform distribution's deviation is its bound over sqrt(3); four standard errors of a rough
            # count
            assert abs(float(leaf.std()) * 3**0.5 / bound - 1) < 4 / leaf.size**0.5
        elif names[-1] == "kernel":
            kh, kw, _, cout = leaf.shape
            expected = (2 / (kh * kw * cout)) ** 0.5
            assert abs(float(leaf.std()) / expected - 1) < 4 / (2 * leaf.size) ** 0.5, names
        else:
            value = 1.0 if names[-1] == "scale" and names[-2] != "norm3" else 0.0
            assert bool((leaf == value).all()), names


def test_blocks_start_as_their_shortcut():
    """With the last norm of each block at zero, a block without projection gives what it gets."""
    model = hvjax.create_model("resnet50", depths=(2, 1, 1, 1), widths=(4, 4, 4, 4), stem_channels=4)
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), images)
    _, seen = model.apply(variables, images, capture_intermediates=lambda module, _: module.name == "block1")
    first = seen["intermediates"]["stage1"]["block1"]["__call__"][0]
    np.testing.assert_array_equal(model.apply(variables, images, method="features")["stage1"], first)


@pytest.mark.parametrize("size", [(1, 1), (31, 57)])
def test_any_size(size):
    model = hvjax.create_model("resnet50", depths=(1, 1, 1, 1), widths=(4, 4, 4, 4), num_classes=3)
    images = np.ones((1, *size, 3), np.float32)
    assert model.apply(model.init(jax.random.key(0), images), images).shape == (1, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (3, 4, 6)}, "depths="),
        ({"widths": (64, 128, 0, 512)}, "widths="),
        ({"stem_channels": 0}, "stem_channels=0"),
        ({"drop_path_rate": -0.1}, "drop_path_rate=-0.1"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("resnet50", **changes)
