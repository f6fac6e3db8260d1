"""The study of the path to TRT-ViT."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from study_runs import command, measured, outcomes, small_options

import hvjax
from export.lab.claim import NOT_MEASURED, NOT_REPRODUCED, REPRODUCED
from export.lab.heat import Heat
from export.studies import mixnet


@pytest.fixture(scope="module")
def plans():
    return mixnet.plans(small_options())


def test_heats_are_the_path_the_placements_and_the_ratios(plans):
    names = {plan.key: [subject.name for subject in plan.subjects] for plan in plans}
    assert names["path"] == list(mixnet.STEPS)
    assert names["placement"] == ["C-C-C-C", "C-C-C-M", "C-C-M-M", "C-M-M-M", "M-M-M-M"]
    assert names["R"] == ["R = 0.25", "R = 0.5", "R = 0.75"]
    assert [plan.reference for plan in plans] == [None, "C-C-C-M", "R = 0.5"]


def test_claims_are_about_contenders_of_their_heat(plans):
    for plan in plans:
        names = {subject.name for subject in plan.subjects}
        assert all({claim.a, claim.b} <= names for claim in plan.claims)
    assert not plans[2].claims  # no latency of another R is published


def test_small_networks_keep_the_order_of_the_steps(plans):
    """A mixed block for each Transformer, deeper late stages: what the full networks differ in."""
    path = {subject.name: subject.facts for subject in plans[0].subjects}
    assert path["mixnet_b"]["macs"] == path["mixnet_c"]["macs"]
    assert path["refined_mixnet_v"]["params"] > path["mixnet_v"]["params"] > path["resnet50"]["params"]
    placed = [subject.facts["params"] for subject in plans[1].subjects]
    assert placed == sorted(placed)


def test_full_size_is_the_registry(monkeypatch: pytest.MonkeyPatch):
    """Names and overrides of the full study are those that docs/trt_vit.md lists; nothing is traced here."""
    asked: list[tuple[str, dict[str, object]]] = []
    traced = mixnet.net

    def note(model: str, *, small: bool, name: str | None = None, **overrides: object):
        assert not small
        asked.append((model, overrides))
        return traced(model, small=True, name=name, **overrides)

    monkeypatch.setattr(mixnet, "net", note)
    mixnet.plans(small_options(small=False))
    assert [model for model, overrides in asked if not overrides] == list(mixnet.STEPS)
    reductions = {"reduction_ratios": (8, 4, 2, 1)}
    assert [o for _, o in asked if "placement" in o] == [
        {"placement": p, **reductions} for p in mixnet.PLACEMENTS
    ]
    for model, overrides in asked:
        hvjax.create_model(model, **overrides)  # the numbers fit together at full size


def _times(plan, rate) -> dict[str, float]:
    """Milliseconds at `rate` (name) GFLOPS."""
    return {one.name: 2 * one.facts["macs"] / rate(one.name) / 1e6 for one in plan.subjects}


def test_claims_follow_the_measured_latencies(plans):
    names = {"resnet50": 1.0, "mixnet_v": 1.3, "refined_mixnet_v": 1.32, "mixnet_a": 1.1, "mixnet_b": 1.2,
             "mixnet_c": 1.21, "trt_vit_c": 1.5, "pvt_medium": 3.0}  # fmt: skip
    assert set(outcomes(measured(plans[0], names)).values()) == {REPRODUCED}
    names |= {"mixnet_a": 1.5, "refined_mixnet_v": 1.6}
    found = outcomes(measured(plans[0], names))
    assert found["MixNetA is faster than MixNetV"] == NOT_REPRODUCED
    kept = next(text for text in found if text.startswith("Refined-MixNetV keeps"))
    assert found[kept] == NOT_REPRODUCED
    assert found["MixNetB is faster than MixNetV"] == REPRODUCED


def test_early_mixed_blocks_are_judged_by_latency_and_density(plans):
    slow_early = measured(plans[1], _times(plans[1], lambda name: 1.0 / (1 + name.count("M"))))
    assert set(outcomes(slow_early).values()) == {REPRODUCED}
    fast_early = measured(plans[1], _times(plans[1], lambda name: 1.0 + 5 * name.count("M")))
    assert set(outcomes(fast_early).values()) == {NOT_REPRODUCED}


def test_paragraph_tells_ratios_to_each_heats_reference(plans):
    every = [measured(plan, _times(plan, lambda name: 1.0)) for plan in plans]
    text = mixnet.paragraph(every)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + sum(len(plan.subjects) for plan in plans)
    late = next(line for line in lines if "| C-C-C-M |" in line)
    assert late.endswith("| 1 | 1 | 1 |")
    early = next(line for line in lines if "| M-M-M-M |" in line)
    macs = {subject.name: subject.facts["macs"] for subject in plans[1].subjects}
    ratio = macs["M-M-M-M"] / macs["C-C-C-M"]
    assert f"| {ratio:.2f} [{ratio:.2f}, {ratio:.2f}] | 1.00 [1.00, 1.00] |" in early
    assert "refined_mixnet_v does " in text


def test_without_the_reference_there_are_no_ratios(plans):
    times = _times(plans[2], lambda name: 1.0)
    del times["R = 0.5"]
    text = mixnet.paragraph([measured(plans[2], times)])
    assert text.count("| - | - | - |") == 2


def test_a_missing_network_leaves_its_claims_open(plans):
    times = _times(plans[0], lambda name: 1.0)
    del times["pvt_medium"]
    found = outcomes(measured(plans[0], times))
    assert found["MixNetC is faster than PVT-Medium"] == NOT_MEASURED


def test_picture_has_latency_and_density_of_each_heat(plans):
    every = [measured(plan, _times(plan, lambda name: 1.0)) for plan in plans]
    figure = Figure(layout="constrained")
    mixnet.STUDY.draw(figure, every)
    assert len(figure.axes) == 6
    for axes, one in zip(figure.axes[:3], every, strict=True):
        base = one.heat[str(one.reference)].summary().typical
        assert [label.get_text() for label in axes.get_yticklabels()] == [s.name for s in one.plan.subjects]
        widths = [patch.get_width() for patch in axes.patches]
        assert widths == pytest.approx([one.heat[s.name].summary().typical / base for s in one.plan.subjects])


def test_picture_and_page_compare_the_parts_of_a_split_heat_by_their_reference(plans):
    """The machine was half as fast while the second part was measured: the ratio does not show it."""
    whole = measured(plans[2], {"R = 0.25": 1.0, "R = 0.5": 2.0, "R = 0.75": 3.0}).heat
    later = measured(plans[2], {"R = 0.5": 4.0, "R = 0.75": 6.0}, "another heat").heat
    records = [whole["R = 0.25"], whole["R = 0.5"], later["R = 0.5"], later["R = 0.75"]]
    one = replace(measured(plans[2], {}), heat=Heat(records))
    figure = Figure(layout="constrained")
    mixnet.STUDY.draw(figure, [one])
    assert [patch.get_width() for patch in figure.axes[0].patches] == pytest.approx([0.5, 1.0, 1.5])
    assert "| 1.50 [1.50, 1.50] |" in mixnet.paragraph([one])


def test_picture_of_one_heat_alone(plans):
    figure = Figure(layout="constrained")
    mixnet.STUDY.draw(figure, [measured(plans[2], _times(plans[2], lambda name: 1.0))])
    assert len(figure.axes) == 2


def test_command(plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    times = _times(plans[2], lambda name: 1.0)
    status, folder = command(mixnet.STUDY, times, tmp_path / "out", monkeypatch, "--only", "R")
    assert status == 0
    rows = list(csv.DictReader((folder / "mixnet.csv").read_text().splitlines()))
    assert {row["name"] for row in rows} == {"R = 0.25", "R = 0.5", "R = 0.75"}
    assert {row["reference"] for row in rows} - {""} == {"R = 0.5"}
