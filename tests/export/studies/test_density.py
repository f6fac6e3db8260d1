"""Densities, their claims, and the study of TRT-ViT's blocks."""

from __future__ import annotations

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up_lab import MadeUpRuntime
from made_up_records import record
from matplotlib.figure import Figure
from study_runs import command, measured, outcomes, small_options

from export.lab.claim import CANNOT_TELL, NOT_MEASURED, NOT_REPRODUCED, REPRODUCED
from export.lab.heat import Heat
from export.lab.verdict import Verdict
from export.studies import _density, density
from export.studies._density import FLOPS, PARAMS
from export.studies._panels import runs

#: Half precision has ten bits of fraction, and three blocks add up their roundings.
HALF_ERROR = 2e-2


def _counted(name: str, ms: float, macs: int, params: int, batch: int = 1, spread: float = 0.0):  # a record
    return record(name, ms, subject={"macs": macs, "params": params}, batch=batch, spread=spread)


def test_densities_are_work_of_a_call_over_its_latency():
    """2 ms, batch 8, 5 GMACs and 30 M parameters: 80 GFLOPs and 30 M parameters in 2 ms."""
    one = _counted("a", 2.0, 5 * 10**9, 30 * 10**6, batch=8)
    flops, params = _density.density(one, FLOPS), _density.density(one, PARAMS)
    assert flops.value == pytest.approx(40.0) and params.value == pytest.approx(0.015)
    assert flops.low == flops.high == pytest.approx(40.0)


def test_interval_of_a_density_is_that_of_the_latency_upside_down():
    one = _counted("a", 2.0, 10**9, 10**6, spread=0.1)
    found, summary = _density.density(one, PARAMS), one.summary()
    assert found.low == pytest.approx(1e6 / (summary.high / 1e3) / 1e12)
    assert found.high == pytest.approx(1e6 / (summary.low / 1e3) / 1e12)
    assert found.low < found.value < found.high


def test_ratio_of_densities_is_of_times_and_of_work():
    """a does three times the work in twice the time."""
    heat = Heat([_counted("a", 2.0, 3 * 10**9, 10**6), _counted("b", 1.0, 10**9, 10**6)])
    flops, params = (_density.against(heat, "a", "b", metric) for metric in (FLOPS, PARAMS))
    assert flops.ratio == pytest.approx(1.5) and flops.word == _density.DENSER
    assert params.ratio == pytest.approx(0.5) and params.word == _density.SPARSER
    assert _density.against(heat, "a", "a", FLOPS).word == CANNOT_TELL


def test_noise_without_a_difference_cannot_tell():
    heat = Heat([_counted(name, 1.0, 10**9, 10**6, spread=0.1) for name in "ab"])
    found = _density.against(heat, "a", "b", FLOPS)
    assert found.word == CANNOT_TELL and found.low < 1 < found.high


@pytest.mark.parametrize(
    ("ratio", "low", "high", "alike", "reaches"),
    [
        (1.0, 0.97, 1.03, _density.ALIKE, _density.REACHES),
        (1.2, 1.1, 1.3, _density.DIFFERENT, _density.REACHES),
        (0.8, 0.7, 0.9, _density.DIFFERENT, _density.FALLS_SHORT),
        (1.0, 0.9, 1.1, CANNOT_TELL, CANNOT_TELL),
    ],
)
def test_sameness_is_judged_by_the_whole_interval(
    ratio: float, low: float, high: float, alike: str, reaches: str
):
    verdict = Verdict(ratio, low, high, "")
    assert _density.alike(verdict, 0.05).word == alike
    assert _density.reaches(verdict, 0.05).word == reaches


def test_change_compares_two_ratios():
    """a stands at a half of b; c at twice d: four times better."""
    times = {"a": 2.0, "b": 1.0, "c": 1.0, "d": 2.0}
    heat = Heat([_counted(name, ms, 10**9, 10**6) for name, ms in times.items()])
    found = _density.change(heat, ("a", "b"), ("c", "d"), FLOPS)
    assert found.ratio == pytest.approx(4.0) and found.word == _density.DENSER


@pytest.mark.parametrize("size", density.SIZES, ids=str)
def test_blocks_have_the_work_of_their_formulas(size: density.Size):
    """Multiply-adds by hand, norms and biases not counted."""
    n, c = size.side**2, size.width
    expected = {
        density.BOTTLENECK: n * (c * c // 4 + 9 * c * c // 16 + c * c // 4),
        density.TRANSFORMER: n * (4 * c * c + 2 * density.MLP_RATIO * c * c) + 2 * n * n * c,
    }
    for kind, macs in expected.items():
        made = density.subject(kind, size)
        assert made.facts["macs"] == density.STACKED * macs
        assert made.shape == (size.side, size.side, c) and made.name == f"{kind} {size}"


def test_transformer_reduced_has_the_work_of_its_formula():
    """Keys and values come from a map that a convolution of kernel and stride s makes."""
    size = density.SIZES[1]
    n, c, s = size.side**2, size.width, size.reduction
    few = n // s**2
    attention = 2 * n * c * c + 2 * few * c * c + few * s * s * c * c + 2 * n * few * c
    macs = attention + 2 * density.MLP_RATIO * n * c * c
    assert density.subject(density.REDUCED, size).facts["macs"] == density.STACKED * macs


def test_mixed_blocks_b_and_c_have_the_same_work():
    size = density.SIZES[-1]
    b, c = (density.subject(kind, size).facts for kind in ("MixBlockB", "MixBlockC"))
    assert b["macs"] == c["macs"] and b["params"] == c["params"]


def test_a_contender_computes_its_blocks_one_after_the_other():
    """By hand, block by block, with the contender's own weights."""
    size = density.SMALL_SIZES[1]
    made = density.subject("MixBlockC", size)
    weights = made.weights()
    maps = jax.random.normal(jax.random.key(0), (2, *made.shape))
    expected = maps
    form = density.Form(jnp.float32, deploy=True)
    for place in range(density.STACKED):
        one = density.block("MixBlockC", size, form)
        expected = one.apply({"params": weights["params"][f"block{place + 1}"]}, expected)
    result = jax.jit(made.function("fp32"))(weights, maps)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)  # order of additions
    half = jax.jit(made.function("fp16"))(weights, maps)
    assert half.dtype == jnp.float32
    assert float(jnp.abs(half - expected).max() / jnp.abs(expected).max()) < HALF_ERROR


@pytest.fixture(scope="module")
def plans():
    return density.plans(small_options())


def test_plans_are_a_heat_for_each_size_and_one_over_all(plans):
    assert [plan.key for plan in plans] == ["16x16", "8x8", "4x4", "2x2", "depth"]
    kinds = [[subject.facts["block"] for subject in plan.subjects] for plan in plans]
    assert kinds[0] == list(density.BLOCKS)
    assert density.REDUCED not in kinds[3]  # no reduction there: it would be the Transformer once more
    assert len(kinds[4]) == 8
    assert len({claim.text for plan in plans for claim in plan.claims}) == sum(len(p.claims) for p in plans)


def test_claims_are_about_contenders_of_their_heat(plans):
    for plan in plans:
        names = {subject.name for subject in plan.subjects}
        assert all({claim.a, claim.b} <= names for claim in plan.claims)


def test_batch_is_the_papers_on_a_gpu_and_one_on_a_cpu():
    assert density.paper_batch(small_options()) == 1
    assert density.paper_batch(small_options(runtime=MadeUpRuntime({}, device="gpu"))) == 8
    assert density.paper_batch(small_options(batch=3)) == 3


def _times(plan, gflops) -> dict[str, float]:
    """Milliseconds with which each contender has the density that `gflops` says for (block, map side)."""
    return {
        one.name: 2 * one.facts["macs"] / gflops(one.facts["block"], one.shape[0]) / 1e6
        for one in plan.subjects
    }


def _as_published(kind: str, side: int) -> float:
    """BottleNeck as dense everywhere, the Transformer as dense only on the smallest map, others between."""
    if kind == density.BOTTLENECK:
        return 2.0
    return {16: 0.5, 8: 1.0, 4: 1.5, 2: 1.99}[side] * (1.0 if kind == density.TRANSFORMER else 1.1)


def test_claims_hold_where_blocks_behave_as_published(plans):
    for plan in plans:
        found = outcomes(measured(plan, _times(plan, _as_published)))
        above = [text for text, outcome in found.items() if outcome != REPRODUCED]
        assert not above, (plan.key, above)


def test_claims_fail_where_blocks_behave_the_other_way(plans):
    """Transformers dense on large maps and sparse on small ones, mixed blocks sparser yet, C far from B."""

    def other_way(kind: str, side: int) -> float:
        if kind == density.BOTTLENECK:
            return 1.0 / (17 - side) ** 4
        slow = {"MixBlockA": 0.5, "MixBlockB": 0.5, "MixBlockC": 0.3}.get(kind, 1.0)
        return slow * (2.0 if side == 16 else 0.5 / (17 - side) ** 4)

    first, last, depth = (measured(plans[i], _times(plans[i], other_way)) for i in (0, 3, 4))
    assert set(outcomes(first).values()) == {NOT_REPRODUCED}
    assert set(outcomes(last).values()) == {NOT_REPRODUCED}
    closer = next(text for text in outcomes(depth) if "come closer" in text)
    assert outcomes(depth)[closer] == NOT_REPRODUCED


def test_paragraph_holds_the_measured_ratios(plans):
    every = [measured(plan, _times(plan, _as_published)) for plan in plans]
    text = density.paragraph(every)
    assert "**onnxruntime, fp32, batch 1.**" in text
    row = next(line for line in text.splitlines() if line.startswith("| Transformer over BottleNeck"))
    assert "0.25 [0.25, 0.25] | 0.50 [0.50, 0.50] | 0.75 [0.75, 0.75] |" in row
    assert "TeraParams of BottleNeck: " in text


def test_paragraph_says_what_is_there_when_blocks_are_missing(plans):
    times = _times(plans[0], _as_published)
    del times["MixBlockA 16x16"]
    one = measured(plans[0], times)
    row = next(line for line in density.paragraph([one]).splitlines() if "MixBlockA over Transformer" in line)
    assert row == "| MixBlockA over Transformer | - |"
    claim = next(text for text in outcomes(one) if "MixBlockA" in text)
    assert outcomes(one)[claim] == NOT_MEASURED


def test_picture_has_a_line_for_each_block_in_both_panels(plans):
    every = [
        measured(plan, _times(plan, _as_published), run) for run in ("onnxruntime", "xla") for plan in plans
    ]
    figure = Figure(layout="constrained")
    density.STUDY.draw(figure, every)
    assert len(figure.axes) == 4
    for axes in figure.axes:
        assert [line.get_label() for line in axes.containers] == list(density.BLOCKS)
        assert len(axes.get_xticks()) == 4
    bottleneck = figure.axes[0].containers[0].lines[0].get_ydata()
    assert list(bottleneck) == pytest.approx([2e-3] * 4, rel=1e-3)  # records keep 0.1 us


def test_picture_and_paragraph_of_the_heat_over_all_sizes_alone(plans):
    """`--only depth`: there is nothing to draw by map size, and no ratio at one."""
    one = measured(plans[-1], _times(plans[-1], _as_published))
    figure = Figure(layout="constrained")
    density.STUDY.draw(figure, [one])
    assert not any(axes.containers for axes in figure.axes)
    assert "Ratios of TeraFLOPS" not in density.paragraph([one])


def test_runs_leave_out_what_nothing_was_measured_of(plans):
    assert runs([measured(plans[0], {})]) == {}


def test_command_writes_table_picture_and_page(plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = plans[3]
    times = _times(wanted, _as_published)
    status, folder = command(density.STUDY, times, tmp_path / "out", monkeypatch, "--only", "2x2")
    assert status == 0
    rows = list(csv.DictReader((folder / "density.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [subject.name for subject in wanted.subjects]
    assert {row["block"] for row in rows} == {one.facts["block"] for one in wanted.subjects}
    assert all(row["TeraFLOPS"] and row["TeraParams"] for row in rows)
    page = (folder / "density.md").read_text()
    assert "Small networks: these numbers say nothing" in page
    assert "the Transformer's TeraFLOPS reach BottleNeck's" in page
    assert (folder / "density.png").stat().st_size and (folder / "density.svg").stat().st_size


def test_command_names_a_block_that_does_not_build(
    plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    times = _times(plans[3], _as_published)
    del times["MixBlockB 2x2"]
    status, folder = command(density.STUDY, times, tmp_path / "out", monkeypatch, "--only", "2x2")
    assert status == 1 and "MixBlockB 2x2 does not build" in capsys.readouterr().err
    assert "MixBlockB 2x2" in (folder / "density.md").read_text()
