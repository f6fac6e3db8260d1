"""UPerNet against its head written out in NumPy, and against its published size."""

import dense_models
import jax
import numpy as np
import plain_segmentation as plain
import pytest

import hvjax
from hvjax.facts import count_parameters
from hvjax.structure import abstract_variables

ROUNDING = 1e-4  # relative to the largest score: a dozen float32 layers against float64


@pytest.mark.parametrize("size", [(96, 64), (50, 35)], ids=str)
def test_scores(size):
    model = dense_models.small("resnet50+upernet")
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model, size)
    taps, scores = jax.jit(
        lambda v, x: (model.apply(v, x, method="taps"), model.apply(v, x, method="scores"))
    )(variables, images)
    params, stats = variables["params"]["head"], variables["batch_stats"]["head"]
    wanted = plain.upernet([np.asarray(tap) for tap in taps], params, stats, (1, 2, 3, 6))
    assert set(scores) == {"logits"}  # the auxiliary head is for training
    assert scores["logits"].shape == wanted.shape
    np.testing.assert_allclose(scores["logits"], wanted, rtol=0, atol=ROUNDING * np.abs(wanted).max())


def test_the_auxiliary_head():
    """A convolution with norm and ReLU on stage 3, and classes of its own; training alone has it."""
    model = dense_models.small("resnet50+upernet", dropout_rate=0.0)
    variables, images = dense_models.draw_variables(model), dense_models.draw_images(model)

    def train(v, x):
        return model.apply(v, x, train=True, method="outputs", mutable=["batch_stats", "intermediates"])

    outputs, _ = jax.jit(train)(variables, images)
    assert {name: x.shape for name, x in outputs.items()} == {
        "logits": (2, 64, 48, 5),
        "auxiliary": (2, 64, 48, 5),
    }
    maps = jax.jit(lambda v, x: model.apply(v, x, train=True, method="taps", mutable=["batch_stats"])[0])(
        variables, images
    )
    params = variables["params"]["auxiliary"]
    y = plain.conv(np.asarray(maps[2]), params["conv"]["conv"])
    y = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + plain.EPSILON)
    y = np.maximum(y * params["conv"]["norm"]["scale"] + params["conv"]["norm"]["bias"], 0)
    wanted = plain.bilinear(plain.conv(y, params["classify"]["conv"]), (64, 48))
    np.testing.assert_allclose(outputs["auxiliary"], wanted, rtol=0, atol=ROUNDING * np.abs(wanted).max())


def test_without_an_auxiliary_head():
    model = dense_models.small("resnet50+upernet", auxiliary_channels=0)
    assert "auxiliary" not in abstract_variables(model)["params"]
    deployed = hvjax.reparameterize(model, dense_models.draw_variables(model))[1]
    assert set(deployed["params"]) == {"backbone", "head"}


@pytest.mark.parametrize(
    ("name", "published"), [("next_vit_s", 66.3), ("next_vit_b", 79.3), ("next_vit_l", 92.4)]
)
def test_published_parameters_of_next_vit(name, published):
    """bytedance/Next-ViT README.md, in millions; counted with what classification has after stage 4."""
    model = hvjax.create_model(f"{name}+upernet", backbone={"stage_norms": True})
    count = count_parameters(abstract_variables(model)) + 2 * 1024 + 1000 * (1024 + 1)
    assert round(count / 1e6, 1) == published


@pytest.mark.parametrize(("name", "published"), [("swin_t", 60), ("swin_s", 81), ("swin_b", 121)])
def test_published_parameters_of_swin(name, published):
    """microsoft/Swin-Transformer README.md; its outputs have layer norms, which the registry knows."""
    model = hvjax.create_model(f"{name}+upernet")
    assert model.config.output_norms == "layer"
    assert round(count_parameters(abstract_variables(model)) / 1e6) == published


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels=0"),
        ({"pool_scales": ()}, r"pool_scales=\(\)"),
        ({"pool_scales": (1, 0)}, r"pool_scales=\(1, 0\)"),
        ({"auxiliary_channels": -1}, "auxiliary_channels=-1"),
        ({"auxiliary_stage": 5}, "auxiliary_stage=5: a backbone has 4 stages"),
    ],
)
def test_wrong_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("resnet50+upernet", **changes)
