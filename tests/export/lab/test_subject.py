"""What is measured: networks of the registry, blocks, their counts and their ONNX files."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import hvjax
from export.lab.contender import Contender
from export.lab.files import Files
from export.lab.plan import Plan
from export.lab.setting import Setting
from export.lab.subject import Subject, network, of_function

TINY = {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 4, "num_classes": 5}


def tiny(**changes: object) -> Subject:
    return network("resnet50", image_size=32, **{**TINY, **changes})  # type: ignore[arg-type]


def answer(subject: Subject, precision: str = "fp32") -> jax.Array:
    images = jax.random.normal(jax.random.key(0), (2, *subject.shape))
    return subject.function(precision)(subject.weights(), images)


def test_a_network_is_that_of_the_registry() -> None:
    subject = tiny()
    assert subject.name == "resnet50" and subject.shape == (32, 32, 3)
    described = hvjax.describe("resnet50", image_size=32, **TINY)
    assert subject.facts["params"] == described.params_deploy
    assert subject.facts["macs"] == described.macs
    assert subject.facts["overrides"]["widths"] == "(4, 4, 8, 8)"
    assert (subject.facts["form"], subject.facts["part"]) == ("deploy", "classifier")
    assert answer(subject).shape == (2, 5)


def test_weights_are_the_same_each_time_and_no_answer_vanishes() -> None:
    first, second = answer(tiny()), answer(tiny())
    np.testing.assert_array_equal(first, second)
    assert float(jnp.std(first)) > 0


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_answers_in_float32_and_nearly_the_same(precision: str) -> None:
    exact, half = answer(tiny()), answer(tiny(), precision)
    assert half.dtype == jnp.float32
    scale = float(jnp.abs(exact).max())
    # eps of bfloat16 is 2**-8; errors of a dozen layers add up
    np.testing.assert_allclose(half, exact, atol=0.1 * scale)
    assert float(jnp.abs(half - exact).max()) > 0


def test_a_training_form_has_more_parameters() -> None:
    assert tiny(deploy=False).facts["params"] > tiny().facts["params"]
    assert tiny(deploy=False).facts["form"] == "train"


def test_a_backbone_ends_with_its_last_stage() -> None:
    subject = tiny(backbone=True)
    assert answer(subject).shape == (2, 1, 1, 32)
    assert subject.facts["part"] == "backbone"


def test_images_need_not_be_square() -> None:
    subject = network("resnet50", image_size=(32, 64), name="wide", **TINY)
    assert subject.name == "wide" and subject.shape == (32, 64, 3)
    assert subject.facts["image_size"] == [32, 64]
    assert subject.images(4).shape == (4, 32, 64, 3)


@pytest.mark.parametrize(("model", "field"), [("resnet51", {}), ("resnet50", {"colour": "red"})])
def test_what_is_not_there_is_refused(model: str, field: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=model if not field else "colour"):
        network(model, **field)


def test_a_block_is_counted() -> None:
    """A 1x1 convolution of 3 to 7 channels on 4 x 6 pixels."""
    shapes = {"params": {"kernel": jax.ShapeDtypeStruct((3, 7), jnp.float32)}}
    subject = of_function(
        "one", lambda precision: lambda w, x: x @ w["params"]["kernel"], shapes, (4, 6, 3), depth=1
    )
    assert subject.facts == {"depth": 1, "image_size": [4, 6], "params": 21, "macs": 4 * 6 * 21}


def test_a_file_is_exported_once_for_the_runtimes_of_a_subject() -> None:
    files, subject = Files(), tiny()
    first = files.onnx(subject, 2, "fp32")
    assert files.onnx(subject, 2, "fp32") is first
    assert files.onnx(subject, 3, "fp32") is not first
    model = onnx.load_from_string(first)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 32, 32]


@pytest.mark.parametrize(
    ("field", "value"), [("batch", 0), ("precision", "fp8"), ("threads", 0), ("threads", -1)]
)
def test_a_setting_refuses_nonsense(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field}={value!r}: expected"):
        Setting(**{field: value})  # type: ignore[arg-type]


def test_a_setting_in_words() -> None:
    assert str(Setting()) == "fp32, batch 1"
    every = Setting(8, "fp16", threads=2, cuda_graph=True, transfers=True)
    assert str(every) == "fp16, batch 8, 2 threads, CUDA graph, with transfers"
    assert Setting(**every.as_dict()) == every  # type: ignore[arg-type]


def test_a_mixed_plan_names_the_precision() -> None:
    subject, settings = tiny(), [Setting(), Setting(precision="fp16")]
    plain = Plan("one", [subject]).contenders(settings[:1])
    assert plain == [Contender("resnet50", subject, settings[0])]
    mixed = Plan("one", [subject], mixed=True).contenders(settings)
    assert [one.name for one in mixed] == ["resnet50 fp32", "resnet50 fp16"]
    assert [one.setting for one in mixed] == settings
