"""The gate passes a right file, fails a wrong one, and names the stage where it goes wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from export import parity
from export.report_parts import in_short
from export.runtimes.onnxruntime import OnnxSession
from export.stages import first_wrong, stage_errors


def nchw(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def gate(net: Any, model: bytes, batches: tuple[int, ...] = (4,), limit: float = parity.FP32_LIMIT) -> list:
    images = net.images(8)
    references = {"JAX": {"logits": net.features(images)["logits"]}}
    session = OnnxSession(model)
    return parity.compare_batches(
        session.run,
        nchw(images),
        references,
        candidate="model.onnx",
        batches=batches,
        limit=limit,
        exact_top1=limit == parity.FP32_LIMIT,
    )


def begins_at(net: Any, model: bytes, batch: int = 4) -> str | None:
    images = net.images(batch)
    wrong = first_wrong(stage_errors(model, nchw(images), net.features(images)), parity.FP32_LIMIT)
    return wrong.stage if wrong else None


def test_a_right_file_passes(tiny_net: Any) -> None:
    (line,) = gate(tiny_net, tiny_net.make())
    assert line.passed and line.difference.top1 == 1.0 and line.difference.cosine > 0.999999
    assert 0 < line.difference.relative < 1e-6
    assert begins_at(tiny_net, tiny_net.make()) is None


def test_every_stage_of_a_right_file_is_found(tiny_net: Any) -> None:
    images = tiny_net.images(4)
    errors = stage_errors(tiny_net.make(), nchw(images), tiny_net.features(images))
    assert [error.stage for error in errors] == ["stage1", "stage2", "pre_logits", "logits"]
    assert [error.tensor for error in errors] == ["x2", "x4", "x5", "logits"]
    assert all(error.difference and error.difference.relative < 1e-6 for error in errors)


@pytest.mark.parametrize(
    ("weight", "stage"), [("stage1.bias", "stage1"), ("stage2.kernel", "stage2"), ("head.bias", "logits")]
)
def test_one_wrong_weight_fails_the_gate_and_its_stage_is_named(
    tiny_net: Any, weight: str, stage: str
) -> None:
    changed = tiny_net.weights[weight].copy()
    changed.flat[np.abs(changed).argmax()] *= 1.01
    bad = dataclasses.replace(tiny_net, weights={**tiny_net.weights, weight: changed}).make()
    (line,) = gate(tiny_net, bad)
    assert not line.passed
    assert begins_at(tiny_net, bad) == stage


@pytest.mark.parametrize(
    ("operator", "stage"), [("stage1.relu", "stage1"), ("stage2.relu", "stage2"), ("pool", "pre_logits")]
)
def test_one_wrong_operator_fails_the_gate_and_its_stage_is_named(
    tiny_net: Any, operator: str, stage: str
) -> None:
    wrong = {"stage1.relu": "Softplus", "stage2.relu": "Abs", "pool": "ReduceMax"}[operator]
    bad = tiny_net.make(ops={operator: wrong})
    (line,) = gate(tiny_net, bad)
    assert not line.passed
    assert "logits of model.onnx differ from JAX by" in line.sentence()
    assert begins_at(tiny_net, bad) == stage


def test_float16_passes_its_own_limit_and_not_that_of_float32(tiny_net: Any) -> None:
    model = tiny_net.make(half=True)
    assert gate(tiny_net, model, limit=parity.FP16_LIMIT)[0].passed
    assert not gate(tiny_net, model)[0].passed


def test_a_dynamic_batch_is_gated_at_each_size(tiny_net: Any) -> None:
    lines = gate(tiny_net, tiny_net.make("batch"), batches=(1, 3, 8))
    assert [(line.batch, line.images) for line in lines] == [(1, 8), (3, 6), (8, 8)]
    assert all(line.passed for line in lines)


def test_too_few_images_for_a_batch(tiny_net: Any) -> None:
    with pytest.raises(ValueError, match="8 images are not enough for a batch of 16"):
        gate(tiny_net, tiny_net.make(16), batches=(16,))


def test_metrics_by_hand() -> None:
    want = np.array([[3.0, 4.0], [0.0, -5.0]], np.float32)
    got = np.array([[3.0, 4.5], [0.1, -5.0]], np.float32)
    found = parity.difference(got, want, logits=True)
    assert found.max_abs == pytest.approx(0.5)
    assert found.relative == pytest.approx(0.1)
    assert found.mean_abs == pytest.approx(0.15)
    assert found.top1 == 1.0
    assert found.cosine == pytest.approx((9 + 18) / (5 * np.hypot(3, 4.5)))
    assert parity.difference(got[:, ::-1], want, logits=True).top1 == 0.0


def test_nan_never_passes() -> None:
    want = np.ones((2, 3), np.float32)
    bad = want.copy()
    bad[1, 1] = np.nan
    found = parity.difference(bad, want, logits=True)
    line = parity.Comparison("a", "b", "logits", 2, 2, 1.0, False, found)
    assert found.relative == np.inf and not line.passed


def test_a_broken_reference_is_said_to_be_broken() -> None:
    with pytest.raises(ValueError, match="so nothing can be compared"):
        parity.difference(np.ones((1, 2)), np.array([[1.0, np.inf]]))
    with pytest.raises(ValueError, match="shapes differ"):
        parity.difference(np.ones((1, 2)), np.ones((1, 3)))


def test_equal_top1_is_demanded_where_asked() -> None:
    want = np.array([[1.0, 1.0 + 1e-6]], np.float32)
    found = parity.difference(want[:, ::-1], want, logits=True)
    assert parity.Comparison("a", "b", "logits", 1, 1, 1e-5, False, found).passed
    assert not parity.Comparison("a", "b", "logits", 1, 1, 1e-5, True, found).passed


def test_a_model_that_ignores_the_image_is_spoken_of() -> None:
    constant = np.tile(np.array([1.0, 2.0, 3.0]), (8, 1))
    reason = parity.caution(constant, parity.FP32_LIMIT)
    assert reason is not None and "hardly looks at the image" in reason
    moving = constant + np.linspace(0, 1, 8)[:, None]
    assert parity.caution(moving, parity.FP16_LIMIT) is None
    assert parity.caution(np.zeros((4, 3)), parity.FP32_LIMIT) is not None


def test_a_limit_is_not_rounded_to_another() -> None:
    """0.15 shown as 1e-01 would make an accepted error of 0.12 look like a mistake of the gate."""
    told = {limit: in_short(limit) for limit in (1e-5, 2e-3, 0.15, 1.6e-2, 0.1, 0.0)}
    assert list(told.values()) == ["1e-05", "2e-03", "1.5e-01", "1.6e-02", "1e-01", "0e+00"]


def test_maps_have_a_limit_of_their_own() -> None:
    assert parity.float32_limit(np.zeros((2, 7))) == parity.FP32_LIMIT
    assert parity.float32_limit(np.zeros((2, 8, 8, 7))) == parity.FP32_MAP_LIMIT > parity.FP32_LIMIT


def test_maps_of_trained_models_have_the_limit_of_random_weights() -> None:
    vectors, maps = np.zeros((2, 7)), np.zeros((2, 8, 8, 7))
    for precision in ("fp32", "tf32", "fp16", "bf16"):
        same = parity.onnx_limit(precision, trained=True, answer=vectors)
        assert same == parity.onnx_limit(precision, trained=True)
        for trained in (False, True):
            limit = parity.onnx_limit(precision, trained=trained, answer=maps)
            wanted = parity.FP32_MAP_LIMIT if precision == "fp32" else parity.ONNX_LIMITS[precision]
            assert limit == wanted > same


def test_large_answers_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    want = rng.normal(size=(5, 6, 7)).astype(np.float32)
    got = want + rng.normal(size=want.shape).astype(np.float32) / 50
    got[3, 2] *= -1
    whole = parity.difference(got, want, logits=True)
    monkeypatch.setattr(parity, "BLOCK", 13)
    parts = parity.difference(got, want, logits=True)
    assert (parts.max_abs, parts.relative, parts.top1) == (whole.max_abs, whole.relative, whole.top1)
    assert parts.mean_abs == pytest.approx(whole.mean_abs) and parts.cosine == pytest.approx(whole.cosine)
    assert whole.top1 is not None and 0 < whole.top1 < 1
