"""Which records of a store have a place beside an accuracy, and as what."""

from pathlib import Path

import pytest
from pareto_points import whole

from export.lab.claim import CANNOT_TELL, Claim
from export.lab.pareto import stored
from export.lab.pareto.accuracies import accuracies
from export.lab.pareto.timings import join
from export.lab.record import Record
from export.lab.store import Store


def facts(**changes: object) -> dict[str, object]:
    return {**whole("swin_t", 224, 1.0).subject, **changes}


def written(tmp_path: Path, *records: Record) -> Path:
    path = tmp_path / "store.jsonl"
    Store(path).append(records)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": facts(overrides={"depths": "(1, 1, 1, 1)"})},
        {"subject": facts(form="train")},
        {"subject": facts(part="backbone")},
        {"subject": facts(image_size=[224, 448])},
        {"subject": facts(model="no_model_of_ours")},
        {"subject": {"image_size": [56, 56], "block": "MixBlockA"}},
        {"small": True},
    ],
)
def test_parts_and_changed_networks_are_left_out(tmp_path: Path, changes: dict[str, object]) -> None:
    assert stored.read([written(tmp_path, whole("swin_t", 224, 1.0, **changes))]) == []


def test_the_newest_of_a_series_stands(tmp_path: Path) -> None:
    old = whole("swin_t", 224, 9.0, date="2026-11-20T10:00:00+00:00")
    new = whole("swin_t", 224, 5.0, date="2026-11-22T10:00:00+00:00", heat="h2")
    other = whole("swin_t", 224, 7.0, date="2026-11-19T10:00:00+00:00", batch=8)
    found = stored.timings(stored.read([written(tmp_path, new, old, other)]))
    assert sorted((one.series.batch, round(one.ms)) for one in found) == [(1, 5), (8, 7)]


def test_a_size_without_an_accuracy_is_no_point(tmp_path: Path) -> None:
    found = stored.timings([whole("swin_t", 512, 9.0), whole("swin_t", 224, 5.0)])
    assert [point.timing.image_size for point in join(accuracies(), found)] == [224]


def test_a_point_knows_where_its_time_is_from() -> None:
    (timing,) = stored.timings(
        [whole("swin_t", 224, 5.0, device="gpu", gpu="NVIDIA H100", cuda_graph=True, stable=False)]
    )
    assert timing.series.machine == "NVIDIA H100"
    assert timing.series.options == "CUDA graph"
    assert timing.low is not None and timing.high is not None and timing.low <= timing.ms <= timing.high
    assert timing.origin["study"] == "bench" and timing.origin["versions"]["jax"]
    assert any("warm-up" in note for note in timing.notes)


def test_a_series_is_covered_only_if_it_has_all() -> None:
    records = [whole("swin_t", 224, 5.0), whole("swin_s", 224, 8.0), whole("swin_b", 224, 9.0, batch=8)]
    (series, *_) = [one.series for one in stored.timings(records)]
    assert stored.covers(records, [("swin_t", 224), ("swin_s", 224)], series)
    assert not stored.covers(records, [("swin_t", 224), ("swin_b", 224)], series)
    assert not stored.covers(records, [("swin_t", 384)], series)


def test_stored_heats_are_judged_where_they_hold_both_sides() -> None:
    near, far = whole("swin_t", 224, 5.0, heat="one"), whole("swin_s", 224, 8.0, heat="one")
    alone = whole("swin_b", 224, 9.0, heat="two")
    claims = [
        Claim("T is faster than S", "paper", "swin_t", "swin_s", published=0.5),
        Claim("S is faster than B", "paper", "swin_s", "swin_b"),
    ]
    accepted = {("swin_t", 224), ("swin_s", 224), ("swin_b", 224)}
    one, two = stored.measured([near, far, alone], claims, accepted)
    (finding,) = one.findings
    assert finding.outcome == "reproduced" != CANNOT_TELL
    assert finding.verdict is not None and finding.verdict.ratio == pytest.approx(5 / 8, rel=0.02)
    assert two.findings == ()
    assert list(two.heat) == ["swin_b"]


def test_no_store_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("not a record\n")
    with pytest.raises(ValueError, match="line 1"):
        stored.read([path])
