"""Pictures that a file resizes, crops and normalises: the very pixels that Pillow makes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from export.bridge import convert
from export.ends import resample
from export.ends.front import front
from export.ends.spec import Ends
from export.runtimes.onnxruntime import OnnxSession
from hvjax import preprocessing

#: With this mean and deviation normalised pixels are the pixels.
PLAIN = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    datasets = pytest.importorskip("sklearn.datasets")
    return [np.asarray(image) for image in datasets.load_sample_images().images]


def made(
    ends: Ends, size: tuple[int, int], *, dynamic: bool = False, layout: str = "nhwc", **rule: Any
) -> Any:
    """(session, model) of the front end alone."""
    rule = {"crop_pct": 0.875, "interpolation": "bicubic", **PLAIN, **rule}
    before = front(ends, size, **rule)
    shape = (2, *(ends.source or size), len(rule["mean"]))
    model = convert(
        before.apply,
        jax.ShapeDtypeStruct(shape, np.uint8),
        weights=dict(before.constants),
        input_layout=layout,
        dynamic_batch=dynamic,
    )
    return OnnxSession(model.SerializeToString()), model


def answer(session: OnnxSession, pictures: np.ndarray) -> np.ndarray:
    return session.run(pictures)[session.outputs[0]]


@pytest.mark.parametrize("interpolation", preprocessing.INTERPOLATIONS)
@pytest.mark.parametrize(
    ("source", "size", "crop"),
    [
        ((427, 640), (64, 64), 0.875),  # smaller, antialiased
        ((60, 80), (96, 72), 0.9),  # larger, not square
        ((64, 96), (64, 64), 1.0),  # only cut
        ((64, 64), (64, 64), 1.0),  # nothing at all
        ((90, 41), (33, 47), 0.95),
    ],
)
def test_bit_for_bit_as_pillow(
    photographs: list[np.ndarray], source: Any, size: Any, crop: float, interpolation: str
) -> None:
    pictures = np.stack([image[: source[0], : source[1]] for image in photographs])
    session, _ = made(Ends("full", source), size, crop_pct=crop, interpolation=interpolation)
    wanted = [preprocessing.resize_and_crop(p, size, crop, interpolation) for p in pictures]
    found = answer(session, pictures)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack(wanted))


def test_any_batch_and_layout(photographs: list[np.ndarray]) -> None:
    pictures = np.stack([image[:60, :80] for image in photographs] * 2)[:3]
    session, model = made(Ends("full", (60, 80)), (48, 48), dynamic=True, layout="nchw")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    wanted = np.stack([preprocessing.resize_and_crop(p, 48, 0.875) for p in pictures])
    for count in (1, 3):
        found = answer(session, pictures[:count].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(found, wanted[:count])


def test_weights_of_eleven_places_are_not_enough(
    photographs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the fine part of the weights some pixels are off by one: what the tests above would see."""
    both = resample.halves

    def coarse(found: np.ndarray) -> np.ndarray:
        parts = both(found)
        parts[:, len(found) :] = 0
        return parts

    monkeypatch.setattr(resample, "halves", coarse)
    session, _ = made(Ends("full", (427, 640)), (64, 64))
    pictures = np.stack(photographs)
    wanted = np.stack([preprocessing.resize_and_crop(p, 64) for p in pictures])
    wrong = np.abs(answer(session, pictures) - wanted)
    assert wrong.max() >= 1 and (wrong > 0).mean() > 0.01


@pytest.mark.parametrize("interpolation", preprocessing.INTERPOLATIONS)
def test_both_halves_are_exact_in_eleven_bits(interpolation: str) -> None:
    """So that products with pixels are exact, whatever the order of summation, and in TF32 too."""
    found = resample.matrix(640, 73, interpolation)
    parts = resample.halves(found)
    coarse, fine = parts[:, :73], parts[:, 73:]
    np.testing.assert_array_equal(coarse.astype(np.float64) + fine, found.T / 2**resample.PLACES)
    for part in (coarse, fine):
        assert np.abs(part).max() <= 1
        np.testing.assert_array_equal(part, part.astype(np.float16).astype(np.float32))
        assert np.abs(part).sum(0).max() * 255 * 2**22 < 2**24 * (1 if part is fine else 2**11)


def test_an_unknown_interpolation_is_named() -> None:
    with pytest.raises(ValueError, match="'spline': expected one of nearest, bilinear, bicubic, lanczos"):
        resample.matrix(8, 4, "spline")


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_normalised_as_preprocess_does(photographs: list[np.ndarray], layout: str) -> None:
    rule: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    pictures = np.stack([image[:32, :48] for image in photographs])
    session, model = made(Ends("normalise"), (32, 48), layout=layout, **rule)
    found = answer(session, pictures.transpose(0, 3, 1, 2) if layout == "nchw" else pictures)
    # two roundings of float32 in another order
    np.testing.assert_allclose(found, preprocessing.normalise(pictures, **rule), rtol=0, atol=1e-6)
    kinds = [node.op_type for node in model.graph.node if node.op_type != "Transpose"]
    assert kinds == ["Cast", "Mul", "Add"]
