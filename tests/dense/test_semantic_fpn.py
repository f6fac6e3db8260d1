"""Semantic FPN against its head written out in NumPy, and against its published size."""

import dense_models
import jax
import numpy as np
import plain_segmentation as plain
import pytest
from families import merged

import hvjax
from hvjax.dense.semantic_fpn import SemanticFPNConfig
from hvjax.facts import count_parameters
from hvjax.registry import MODELS
from hvjax.structure import abstract_variables

ROUNDING = 1e-4  # relative to the largest score: a dozen float32 layers against float64
COUNTS = merged("counts")


@pytest.mark.parametrize("size", [(64, 48), (50, 35)], ids=str)
def test_scores(size):
    model = dense_models.small("resnet50+semantic_fpn")
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model, size)
    taps, scores = jax.jit(
        lambda v, x: (model.apply(v, x, method="taps"), model.apply(v, x, method="scores"))
    )(variables, images)
    params, stats = variables["params"], variables["batch_stats"]
    maps = plain.fpn([np.asarray(tap) for tap in taps], params["fpn"], 4)
    wanted = plain.semantic_fpn(maps, params["head"], stats["head"])
    assert scores["logits"].shape == wanted.shape
    np.testing.assert_allclose(scores["logits"], wanted, rtol=0, atol=ROUNDING * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("name", "published"), [("next_vit_s", 36.3), ("next_vit_b", 49.3), ("next_vit_l", 62.4)]
)
def test_published_parameters_of_next_vit(name, published):
    """bytedance/Next-ViT README.md, in millions. They were counted with the head for 1000 classes and the
    norm before it, which classification has and a segmenter has not."""
    model = hvjax.create_model(f"{name}+semantic_fpn", backbone={"stage_norms": True})
    tree = abstract_variables(model)
    tail = 2 * 1024 + 1000 * (1024 + 1)
    count = count_parameters(tree)
    assert round((count + tail) / 1e6, 1) == published
    stage_norms = 2 * (96 + 256 + 512 + 1024)
    head = count_parameters({"params": {k: v for k, v in tree["params"].items() if k != "backbone"}})
    # laterals and outputs of the pyramid, seven 3x3 convolutions with norm, the classes
    pyramid = 256 * (96 + 256 + 512 + 1024) + 4 * 256 + 4 * (9 * 256 * 256 + 256)
    units = 4 * (9 * 256 * 128 + 256) + 3 * (9 * 128 * 128 + 256)
    assert head == pyramid + units + 150 * (128 + 1)
    assert count == COUNTS[name][0] - tail + stage_norms + head


def test_published_parameters_of_uniformer():
    """25 M, Sense-X/UniFormer semantic_segmentation/README.md."""
    count = count_parameters(abstract_variables(hvjax.create_model("uniformer_s+semantic_fpn")))
    assert round(count / 1e6) == 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels=0: expected an integer >= 1"),
        ({"head_channels": 1.5}, "head_channels=1.5"),
        ({"dropout_rate": 1.0}, "dropout_rate=1.0"),
    ],
)
def test_wrong_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("resnet50+semantic_fpn", **changes)


def test_the_config_takes_a_backbone_without_classes():
    with pytest.raises(ValueError, match="num_classes=1000 of the backbone: expected 0"):
        SemanticFPNConfig(backbone=MODELS["resnet50"].config)
    with pytest.raises(ValueError, match="backbone='resnet50': expected the config of a backbone"):
        SemanticFPNConfig(backbone="resnet50")
