"""The study of blocks moved to late stages."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from study_runs import command, measured, outcomes, small_options

from export.lab.claim import NOT_REPRODUCED, REPRODUCED
from export.studies import depth_shift


@pytest.fixture(scope="module")
def plans():
    return depth_shift.plans(small_options())


def _measured(plans, slower: float = 1.0) -> list:
    """Refined networks take `slower` times the 2 ms of the originals."""
    return [
        measured(
            plan, {one.name: 2 * (slower if one.name.startswith("refined") else 1) for one in plan.subjects}
        )
        for plan in plans
    ]


def test_a_heat_for_each_pair(plans):
    names = {plan.key: [subject.name for subject in plan.subjects] for plan in plans}
    assert names == {model: [model, f"refined_{model}"] for model in ("resnet50", "pvt_small", "pvt_medium")}
    assert all(refined.facts["params"] > one.facts["params"] for one, refined in (p.subjects for p in plans))


def test_claim_is_about_parameters_for_latency(plans):
    assert all(set(outcomes(one).values()) == {REPRODUCED} for one in _measured(plans))
    assert all(set(outcomes(one).values()) == {NOT_REPRODUCED} for one in _measured(plans, slower=3.0))


def test_paragraph_tells_what_each_step_changed(plans):
    every = _measured(plans, slower=1.1)
    rows = [line for line in depth_shift.paragraph(every).splitlines() if line.startswith("| resnet50")]
    one, refined = plans[0].subjects
    grown = refined.facts["params"] / one.facts["params"]
    assert len(rows) == 1
    assert "(1, 2, 3, 1) → (1, 1, 4, 2)" in rows[0]
    assert f"| {grown:.2f} |" in rows[0] and "| 1.10 [1.10, 1.10] |" in rows[0]
    assert f"| {grown / 1.1:.2f} [" in rows[0]
    assert rows[0].endswith("| slower in latency, denser in parameters |")


def test_paragraph_without_a_whole_pair(plans):
    half = measured(plans[0], {"resnet50": 1.0})
    assert "No pair was measured" in depth_shift.paragraph([half])


def test_picture_has_a_bar_for_each_network_in_each_panel(plans):
    figure = Figure(layout="constrained")
    depth_shift.STUDY.draw(figure, _measured(plans, slower=1.1))
    assert len(figure.axes) == 4
    assert all(len(axes.patches) == 6 for axes in figure.axes)
    latencies = [patch.get_width() for patch in figure.axes[2].patches]
    assert latencies == pytest.approx([2.0] * 3 + [2.2] * 3)


def test_picture_of_half_a_pair(plans):
    figure = Figure(layout="constrained")
    depth_shift.STUDY.draw(figure, [measured(plans[0], {"refined_resnet50": 1.0})])
    assert all(len(axes.patches) == 1 for axes in figure.axes)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    times = {"pvt_small": 2.0, "refined_pvt_small": 2.1}
    status, folder = command(depth_shift.STUDY, times, tmp_path / "out", monkeypatch, "--only", "pvt_small")
    assert status == 0
    rows = list(csv.DictReader((folder / "depth_shift.csv").read_text().splitlines()))
    assert [(row["name"], row["blocks"]) for row in rows] == [
        ("pvt_small", "(1, 2, 3, 1)"),
        ("refined_pvt_small", "(1, 1, 4, 2)"),
    ]
    assert "Small networks" in (folder / "depth_shift.md").read_text()
