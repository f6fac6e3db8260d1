"""Detections of half precision: what a detector is sure of must be found again, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export import sure
from export.detections import ENGINE_LIMITS, LIMITS, caution, limits, lines_of
from export.pairing import Unpaired

PLACES, IMAGES, SIDE = 20, 2, 4
LEAST_SCORE = 0.05
HALF = ("fp16", "bf16")

Outputs = dict[str, np.ndarray]


def _detections(surest: float = 0.95, lowest: float = 0.3) -> Outputs:
    """Boxes of 40 px, one in each cell of a grid of 50 px, three classes; the list is not full."""
    rng = np.random.default_rng(3)
    row, column = np.divmod(np.arange(PLACES), 5)
    corners = np.stack([column, row], -1) * 50.0 + rng.uniform(0, 10, (IMAGES, PLACES, 2))
    there = np.arange(PLACES) < PLACES - 1
    scores = np.tile(np.linspace(surest, lowest, PLACES), (IMAGES, 1)) * there
    return {
        "boxes": (np.concatenate([corners, corners + 40], -1) * there[:, None]).astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": np.where(there, rng.integers(0, 3, (IMAGES, PLACES)), -1).astype(np.int32),
        "masks": rng.uniform(size=(IMAGES, PLACES, SIDE, SIDE)).astype(np.float32),
    }


def _without(outputs: Outputs, *places: tuple[int, int]) -> Outputs:
    """Detections (image, row) taken away."""
    copied = {name: value.copy() for name, value in outputs.items()}
    for image, row in places:
        copied["labels"][image, row], copied["scores"][image, row] = -1, 0
    return copied


def _lines(found: Outputs, wanted: Outputs, precision: str = "fp16") -> dict[str, Any]:
    said = lines_of(
        "the file", "JAX", found, wanted, IMAGES, least_score=LEAST_SCORE, limits=limits(precision)
    )
    return {line.output: line for line in said}


def _failed(found: Outputs, wanted: Outputs, precision: str = "fp16") -> list[str]:
    return [name for name, line in _lines(found, wanted, precision).items() if not line.passed]


@pytest.mark.parametrize("precision", HALF)
def test_random_weights_are_sure_of_nothing(precision: str) -> None:
    """Whatever scores they give: all of them missing is no error, and the report says what was compared."""
    wanted, allowed = _detections(surest=0.999), limits(precision, trained=False)
    nothing = _without(wanted, *((image, row) for image in range(IMAGES) for row in range(PLACES)))
    said = lines_of("the file", "JAX", nothing, wanted, IMAGES, least_score=LEAST_SCORE, limits=allowed)
    assert all(line.passed for line in said)
    assert "labels" in _failed(nothing, wanted, precision), "trained ones must be found again"
    assert "only the steps" in (caution(wanted, allowed) or "")
    assert limits("fp32", trained=False) is LIMITS, "without rounding everything is compared"


def test_limits_are_of_a_precision() -> None:
    assert limits("fp32") is LIMITS and limits("fp32", engine=True) is ENGINE_LIMITS
    assert limits("fp32", tf32=True) == limits("fp16") == limits("fp16", engine=True)
    for name in LIMITS:
        assert LIMITS[name] <= limits("fp16")[name] < limits("bf16")[name]


@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("name", LIMITS)
def test_pairs_are_held_to_the_limits_of_the_precision(precision: str, name: str) -> None:
    wanted = _detections()
    scale = np.abs(wanted[name]).max() if name == "boxes" else wanted[name][:, :9].max()
    little, much = (
        {**wanted, name: wanted[name] + np.float32(share * limits(precision)[name] * scale)}
        for share in (0.5, 1.5)
    )
    assert _failed(little, wanted, precision) == []
    # boxes that are too far away have no partner
    assert _failed(much, wanted, precision) in ([name], ["labels"] if name == "boxes" else [])


def test_what_is_not_sure_may_be_missing_or_anywhere() -> None:
    wanted = _detections()
    unsure = [(image, row) for image in range(IMAGES) for row in range(PLACES) if _score(wanted, row) < 0.5]
    assert len(unsure) > 4
    assert _failed(_without(wanted, *unsure), wanted) == _failed(wanted, _without(wanted, *unsure)) == []


def _score(outputs: Outputs, row: int) -> float:
    return float(outputs["scores"][0, row])


def test_what_is_sure_must_be_there_but_for_one() -> None:
    wanted = _detections()
    for lost, failed in (([(0, 0)], []), ([(0, 0), (1, 0)], ["labels"])):
        missing = _without(wanted, *lost)
        assert _failed(missing, wanted) == _failed(wanted, missing) == failed
    line = _lines(_without(wanted, (0, 0)), wanted)["labels"]
    assert isinstance(line, Unpaired) and line.forgiven == 1 and line.difference.relative == 0
    assert (
        "with a score above 0.5 of the file" in line.sentence() and "1 more are forgiven" in line.sentence()
    )


def test_one_by_another_proposal_is_forgiven() -> None:
    """Either side lacks one of the other's."""
    wanted = _detections()
    found = {name: value.copy() for name, value in wanted.items()}
    found["boxes"][0, 0] += 500
    line = _lines(found, wanted)["labels"]
    assert line.passed and line.forgiven == 2 and line.difference.relative == 0


def test_numbers_that_are_none_fail_where_nothing_is_compared() -> None:
    wanted, allowed = _detections(), limits("fp16", trained=False)
    for name in LIMITS:
        broken = {**wanted, name: wanted[name].copy()}
        broken[name][0, -2:] = np.nan
        said = lines_of("it", "JAX", broken, wanted, IMAGES, least_score=LEAST_SCORE, limits=allowed)
        assert not all(line.passed for line in said), name


def test_few_detections_forgive_nothing() -> None:
    """Of two images with three sure detections each, one that is lost is no rounding."""
    wanted = _detections(surest=0.53)
    assert 0 < (wanted["scores"] > 0.5).sum() < sure.AMONG
    assert _failed(_without(wanted, (0, 0)), wanted) == ["labels"]


def test_a_neighbour_or_another_class_is_another_detection() -> None:
    wanted = _detections()
    moved, other = ({name: value.copy() for name, value in wanted.items()} for _ in range(2))
    moved["boxes"][:, :3] += 16
    other["labels"][:, :3] = (other["labels"][:, :3] + 1) % 3
    assert "labels" in _failed(moved, wanted) and "labels" in _failed(other, wanted)


def test_the_end_of_a_full_list_may_be_another() -> None:
    """All are sure, and there is room for twenty."""
    wanted = _detections(lowest=0.7)
    wanted["labels"][:, -1], wanted["scores"][:, -1] = 0, 0.7
    wanted["boxes"][:, -1] = [900, 900, 940, 940]
    found = {name: value.copy() for name, value in wanted.items()}
    found["boxes"][:, -1] = [700, 700, 740, 740]
    line = _lines(found, wanted)["labels"]
    assert line.passed and line.difference.max_abs == 0 and line.forgiven == 0


def test_numbers_that_are_none_fail() -> None:
    wanted = _detections()
    for name in LIMITS:
        broken = {**wanted, name: wanted[name].copy()}
        broken[name][:, :5] = np.nan
        assert _failed(broken, wanted), name


def test_a_detector_that_is_sure_of_nothing_proves_little() -> None:
    unsure = _detections(surest=0.4, lowest=0.1)
    assert caution(unsure) is None and caution(_detections(), limits("fp16")) is None
    said = caution(unsure, limits("fp16"))
    assert said is not None and "sure of nothing (no score above 0.5) on 2 of 2 images" in said
