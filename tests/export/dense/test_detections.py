"""Lists of detections compared: what is the same although it stands elsewhere, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.detections import ENGINE_LIMITS, LIMITS, LOST_LIMIT, TIE, Unpaired, caution, compare, lines_of
from export.detections import pair as pair_with

PLACES, IMAGES, SIDE = 20, 2, 4
LEAST_SCORE = 0.05

Outputs = dict[str, np.ndarray]


def _detections(real: int = PLACES) -> Outputs:
    """Boxes of 40 px, one in each cell of a grid of 50 px, three classes; `real` of PLACES are there."""
    rng = np.random.default_rng(3)
    row, column = np.divmod(np.arange(PLACES), 5)
    corners = np.stack([column, row], -1) * 50.0 + rng.uniform(0, 30, (IMAGES, PLACES, 2))
    there = np.arange(PLACES) < real
    return {
        "boxes": (np.concatenate([corners, corners + 40], -1) * there[:, None]).astype(np.float32),
        "scores": (np.tile(np.linspace(0.95, 0.3, PLACES), (IMAGES, 1)) * there).astype(np.float32),
        "labels": np.where(there, rng.integers(0, 3, (IMAGES, PLACES)), -1).astype(np.int32),
        "masks": (rng.uniform(size=(IMAGES, PLACES, SIDE, SIDE)) * there[:, None, None]).astype(np.float32),
    }


def _reordered(outputs: Outputs, order: Any) -> Outputs:
    return {name: value[:, order] for name, value in outputs.items()}


def _changed(outputs: Outputs, **changes: Any) -> Outputs:
    """A copy with `value` at `index` of each output that is named: name=(index, value)."""
    copied = {name: value.copy() for name, value in outputs.items()}
    for name, (index, value) in changes.items():
        copied[name][index] = value
    return copied


def pair(found: Outputs, wanted: Outputs) -> Any:
    return pair_with(found, wanted, least_score=LEAST_SCORE)


def _lines(found: Outputs, wanted: Outputs, least_score: float = LEAST_SCORE) -> list[Any]:
    return lines_of("the file", "JAX", found, wanted, IMAGES, least_score=least_score)


def _failed(found: Outputs, wanted: Outputs, least_score: float = LEAST_SCORE) -> dict[str, float]:
    lines = _lines(found, wanted, least_score)
    return {line.output: line.difference.relative for line in lines if not line.passed}


def test_the_same_detections_in_another_order_are_the_same() -> None:
    wanted = _detections()
    found = _reordered(wanted, np.random.default_rng(0).permutation(PLACES))
    paired = pair(found, wanted)
    assert (paired.lost, paired.counted) == (0, IMAGES * PLACES)
    assert all(np.array_equal(paired.outputs[name], wanted[name]) for name in wanted)
    assert _failed(found, wanted) == {}


def test_places_without_a_detection_are_not_compared() -> None:
    wanted = _detections(real=12)
    found = _changed(wanted, boxes=((slice(None), 15), 99.0), masks=((slice(None), 15), 1.0))
    assert _failed(found, wanted) == {}


@pytest.mark.parametrize(
    ("name", "change"), [("boxes", 0.5), ("scores", 0.01), ("masks", 0.1)], ids=lambda value: str(value)
)
def test_a_pair_that_differs_fails_its_line(name: str, change: float) -> None:
    wanted = _detections()
    found = _changed(wanted, **{name: ((0, 4), wanted[name][0, 4] + np.float32(change))})
    assert list(_failed(found, wanted)) == [name]
    little = _changed(wanted, **{name: ((0, 4), wanted[name][0, 4] * np.float32(1 + LIMITS[name] / 10))})
    assert _failed(little, wanted) == {}


def test_another_class_is_no_partner() -> None:
    wanted = _detections()
    found = _changed(wanted, labels=((0, 4), (wanted["labels"][0, 4] + 1) % 3))
    # one that JAX has and the file has not, and one the other way round
    assert pair(found, wanted).lost == 2
    assert list(_failed(found, wanted)) == ["labels"]
    said = [line.sentence() for line in _lines(found, wanted) if not line.passed]
    assert said == ["4.9 % of the detections of the file or of JAX are not the other's (limit 2 %), batch 2"]


def test_a_neighbour_of_the_same_score_is_another_detection() -> None:
    """Few of them are forgiven, as ties are; many are not, and neither is a box that is a little off."""
    wanted = _detections()
    moved = wanted["boxes"] + np.float32(16)
    one = _changed(wanted, boxes=((0, 4), moved[0, 4]))
    assert pair(one, wanted).lost == 2
    assert _failed(_changed(wanted, boxes=(slice(None), moved)), wanted) == {"labels": 1.0}


def test_detections_that_are_lost_or_made_up_count() -> None:
    whole, fewer = _detections(real=12), _detections(real=11)
    for found, wanted in ((fewer, whole), (whole, fewer)):
        paired = pair(found, wanted)
        assert paired.lost == IMAGES and paired.counted == 12 * IMAGES
        assert paired.share_lost == pytest.approx(1 / 12) and paired.share_lost > LOST_LIMIT
        assert list(_failed(found, wanted)) == ["labels"]


def test_nothing_where_something_is_expected_fails() -> None:
    wanted = _detections(real=1)
    nothing = _detections(real=0)
    assert _failed(nothing, wanted) == {"labels": 1.0}
    assert _failed(wanted, nothing) == {"labels": 1.0}
    assert _failed(nothing, nothing) == {}


def test_the_end_of_a_full_list_may_be_another() -> None:
    """Two that are equally sure, and room for one."""
    wanted = _detections()
    last = wanted["scores"][0, -1]
    elsewhere = np.array([900, 900, 940, 940], np.float32)
    found = _changed(wanted, boxes=((0, -1), elsewhere), scores=((0, -1), last))
    assert _failed(found, wanted) == {}
    surer = _changed(found, scores=((0, -1), last + np.float32(0.2)))
    assert "labels" in _failed(surer, wanted)


def test_detections_at_the_least_score_may_be_missing() -> None:
    wanted = _changed(_detections(real=12), scores=((slice(None), 11), 0.0504))
    fewer = _detections(real=11)
    assert _failed(fewer, wanted) == {}
    assert (pair(fewer, wanted).lost, pair(fewer, wanted).forgiven) == (0, IMAGES)


def test_the_least_score_is_that_of_the_model() -> None:
    wanted = _changed(_detections(real=12), scores=((slice(None), 11), 0.2004))
    assert "labels" in _failed(_detections(real=11), wanted)
    assert _failed(_detections(real=11), wanted, least_score=0.2) == {}


def test_ties_are_forgiven_while_they_are_few() -> None:
    """A saturated model: all scores are within a tie of the lowest one of a full list."""
    wanted = _changed(_detections(), scores=(slice(None), np.linspace(0.9995, 0.999, PLACES)))
    assert np.ptp(wanted["scores"]) < TIE
    moved = wanted["boxes"] + np.float32(16)
    assert _failed(_changed(wanted, boxes=(slice(None), moved)), wanted) == {"labels": 1.0}
    for ties, lost, forgiven in ((2, 0, 4), (3, 6, 0)):
        found = _changed(wanted, boxes=((0, slice(ties)), moved[0, :ties]))
        assert (pair(found, wanted).lost, pair(found, wanted).forgiven) == (lost, forgiven)
        assert ("labels" in _failed(found, wanted)) == bool(lost)
        (line,) = [line for line in _lines(found, wanted) if isinstance(line, Unpaired)]
        assert line.as_dict()["forgiven"] == forgiven
        assert ("4 more at the lowest score are forgiven" in line.sentence()) == bool(forgiven)


def test_engines_may_do_more_than_files() -> None:
    wanted = _detections()
    for name in LIMITS:
        changed = wanted[name] * np.float32(1 + (LIMITS[name] + ENGINE_LIMITS[name]) / 2)
        found = {**wanted, name: changed}
        assert list(_failed(found, wanted)) == [name]
        lines = lines_of("the engine", "JAX", found, wanted, IMAGES, least_score=0.0, limits=ENGINE_LIMITS)
        assert all(line.passed for line in lines)


def test_numbers_that_are_none_are_lost() -> None:
    wanted = _detections()
    for name in ("boxes", "scores"):
        assert _failed(_changed(wanted, **{name: (0, np.nan)}), wanted)
    assert list(_failed(_changed(wanted, masks=((0, 3), np.nan)), wanted)) == ["masks"]


def test_a_candidate_is_run_at_every_batch() -> None:
    wanted = _detections()
    images = np.arange(IMAGES, dtype=np.float32).reshape(IMAGES, 1, 1, 1)
    seen = []

    def run(part: np.ndarray) -> Outputs:
        seen.append(len(part))
        return {name: value[part[:, 0, 0, 0].astype(int)] for name, value in wanted.items()}

    references = {"JAX": wanted}
    lines = compare(run, images, references, candidate="the file", batches=(1, 2), least_score=LEAST_SCORE)
    assert seen == [1, 1, 2] and all(line.passed for line in lines)
    assert [(line.output, line.batch, line.images) for line in lines[:4]] == [
        (name, 1, IMAGES) for name in ("boxes", "scores", "labels", "masks")
    ]


def test_an_output_that_is_missing_is_named() -> None:
    wanted = _detections()
    with pytest.raises(ValueError, match="no output masks; it has boxes, scores, labels"):
        pair({name: wanted[name] for name in ("boxes", "scores", "labels")}, wanted)
    with pytest.raises(ValueError, match="shapes of scores differ"):
        pair({**wanted, "scores": wanted["scores"][:, :3]}, wanted)


def test_a_detector_that_finds_nothing_proves_nothing() -> None:
    assert caution(_detections()) is None
    assert caution(_detections(real=0)) == "the model detects nothing on 2 of 2 images of the gate"
