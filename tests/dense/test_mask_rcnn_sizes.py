"""Parameters and multiply-adds of Mask R-CNN against published ones."""

import jax
import jax.numpy as jnp
import pytest

import hvjax


def parameters(name, **overrides):
    """Parameters of the detector as built, part by part."""
    model = hvjax.create_model(name, **overrides)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    return tree, sum(leaf.size for leaf in jax.tree.leaves(tree))


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def frozen(tree):
    """Parameters that the recipes do not train, and that mmcv's tool therefore does not count."""
    return size(tree["backbone"]["stem"]) + size(tree["backbone"]["stage1"])


@pytest.mark.parametrize(
    ("name", "published"), [("next_vit_s", 51.8), ("next_vit_b", 64.9), ("next_vit_l", 77.9)]
)
def test_published_parameters_of_next_vit(name, published):
    """They were counted by mmcv's tool, which prints two decimals, when the backbone still had its final norm
    and its head for 1000 classes, which we leave out."""
    tree, count = parameters(f"{name}+mask_rcnn")
    width = 1024
    tail = 2 * width + 1000 * (width + 1)
    printed = round((count + tail - frozen(tree)) / 1e6, 2)
    assert round(printed + 1e-9, 1) == published


@pytest.mark.parametrize(
    ("name", "published"), [("swin_t", 48), ("swin_s", 69), ("uniformer_s", 41), ("uniformer_b", 69)]
)
def test_published_parameters(name, published):
    """Of detectors with a layer norm on each output of the backbone, in millions without decimals."""
    _, count = parameters(f"{name}+mask_rcnn")
    assert round(count / 1e6) == published


def test_published_parameters_of_resnet50():
    """Part by part."""
    tree, count = parameters("resnet50+mask_rcnn")
    assert set(tree) == {"backbone", "fpn", "rpn", "box_head", "mask_head"}
    backbone = 25_557_032 - 2048 * 1000 - 1000
    assert size(tree["backbone"]) == backbone
    # lateral and output convolutions; 3x3, 3 scores and 12 moves; the heads are counted in test_roi_heads
    assert size(tree["fpn"]) == (256 + 512 + 1024 + 2048) * 256 + 4 * 256 + 4 * (256 * 256 * 9 + 256)
    assert size(tree["rpn"]) == 256 * 256 * 9 + 256 + 256 * 15 + 15
    assert round(count / 1e6, 2) == 44.40
    assert round((count - frozen(tree)) / 1e6, 1) == 44.2  # as tables of backbones print it


def test_published_parameters_of_resnet101():
    tree, count = parameters("resnet101+mask_rcnn")
    assert round((count - frozen(tree)) / 1e6, 1) == 63.2


def test_published_multiply_adds():
    """260 G on ResNet-50 at 800x1280: 1.6 G of these are masks of classes that were not found, which we leave
    out, and some are norms and activations, which mmcv's tool counts."""
    count = hvjax.describe("resnet50+mask_rcnn", image_size=(800, 1280)).macs / 1e9
    assert 257 < count < 260 - 1.6


def test_maps_at_other_strides_are_refused():
    """Anchors and RoIAlign would be laid out as if they had those of the family."""
    model = hvjax.create_model("swin_t+mask_rcnn", backbone={"patch_size": 2, "depths": (1, 1, 1, 1)})
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with pytest.raises(
        ValueError, match="stage1 of the backbone is 32x32 for images of 64x64: mask_rcnn expects"
    ):
        jax.eval_shape(model.init, jax.random.key(0), images)


def test_init_takes_what_the_call_takes():
    model = hvjax.create_model("resnet50+mask_rcnn", backbone={"depths": (1, 1, 1, 1)})
    images, sizes = jnp.zeros((1, 64, 64, 3)), jnp.array([[64, 64]])
    found, alone = (
        jax.eval_shape(model.init, jax.random.key(0), *inputs) for inputs in ((images, sizes), (images,))
    )
    assert found == alone
