"""The study of RepMixer: what is measured, said and drawn of it."""

import csv
from pathlib import Path

import pytest
from made_up_heats import QUICK, figure, heat_of, small_options, texts

from export.lab.claim import NOT_REPRODUCED, REPRODUCED
from export.lab.plan import Measured, Plan
from export.lab.study import main
from export.lab.verdict import CANNOT_TELL
from export.studies import repmixer
from export.studies.repmixer import POOLING, REP_MIXER, SIZES, SMALL_SIZES


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return repmixer.plans(small_options())


def measured(plans: list[Plan], ratios: list[float], form: float = 0.8, **changes) -> list[Measured]:
    """RepMixer takes `ratios` of pooling's time, each size; deploy forms `form` of their training forms'."""
    mixers, forms = plans[: len(SIZES)], plans[len(SIZES) :]
    found = [
        heat_of(plan, {POOLING: 10.0 * (size + 1), REP_MIXER: 10.0 * (size + 1) * ratio}, **changes)
        for size, (plan, ratio) in enumerate(zip(mixers, ratios, strict=True))
    ]
    for plan in forms:
        train, deploy = (subject.name for subject in plan.subjects)
        found.append(heat_of(plan, {train: 5.0, deploy: 5.0 * form}, **changes))
    return found


def test_there_is_a_heat_for_each_size_and_for_each_fastvit(plans: list[Plan]) -> None:
    assert [plan.key for plan in plans] == [
        *(f"{size} px" for size in SMALL_SIZES),
        *(f"{model} forms" for model in repmixer.FORMS),
    ]
    assert all(len(plan.subjects) == 2 and plan.batch == 1 for plan in plans)
    for plan, size in zip(plans, SMALL_SIZES, strict=False):
        assert [one.name for one in plan.subjects] == [POOLING, REP_MIXER]
        assert all(one.facts["image_size"] == [size, size] for one in plan.subjects)
    assert all([one.facts["form"] for one in plan.subjects] == ["train", "deploy"] for plan in plans[6:])
    assert repmixer.plans(small_options(batch=3))[0].batch == 3


def test_full_networks_are_those_of_the_paper() -> None:
    plan = repmixer._mixers(384, 384, 1, small=False)
    macs = [one.facts["macs"] * (224 / 384) ** 2 / 1e9 for one in plan.subjects]
    assert macs == pytest.approx([1.8, 1.8], abs=0.05)  # both about 1.8 G at 224 px, as the paper says
    (claim,) = plan.claims
    assert (claim.a, claim.b, claim.published) == (REP_MIXER, POOLING, pytest.approx(1 - 0.251))


def test_only_the_published_sizes_have_a_claim(plans: list[Plan]) -> None:
    published = {
        size: 100 * (1 - claim.published)
        for size, plan in zip(SIZES, plans, strict=False)
        for claim in plan.claims
        if claim.published is not None
    }
    assert published == pytest.approx({384: 25.1, 1024: 43.9})


def test_columns_give_the_reduction_with_its_interval_beside_the_published(plans: list[Plan]) -> None:
    one = heat_of(plans[2], {POOLING: 10.0, REP_MIXER: 7.5})
    row = repmixer.columns(one, REP_MIXER)
    assert row["less_time_pct_low"] < row["less_time_pct_value"] < row["less_time_pct_high"]
    assert row["less_time_pct_value"] == pytest.approx(25, abs=1)  # the made-up noise is 1 %
    assert row["less_time_pct_published"] == pytest.approx(25.1)
    assert repmixer.columns(one, POOLING) == {}
    without = repmixer.columns(heat_of(plans[0], {POOLING: 10.0, REP_MIXER: 7.5}), REP_MIXER)
    assert without["less_time_pct_published"] is None


@pytest.mark.parametrize(
    ("ratios", "outcome"),
    [
        ([0.95, 0.9, 0.8, 0.75, 0.7, 0.6], REPRODUCED),
        ([0.5, 0.5, 0.6, 0.6, 0.7, 0.8], NOT_REPRODUCED),
        ([0.7] * 6, CANNOT_TELL),
    ],
)
def test_the_paragraph_says_whether_the_reduction_grows(
    plans: list[Plan], ratios: list[float], outcome: str
) -> None:
    text = repmixer.paragraph(measured(plans, ratios))
    assert f"from {SMALL_SIZES[2]} px to {SMALL_SIZES[-1]} px: {outcome}, " in text


def test_the_paragraph_follows_what_was_measured(plans: list[Plan]) -> None:
    faster = repmixer.paragraph(measured(plans, [0.8] * 6, form=0.75))
    assert faster.count("less time;") + faster.count("less time.") >= 9
    assert "more time" not in faster
    slower = repmixer.paragraph(measured(plans, [1.25] * 6, form=1.5))
    assert "more time" in slower and "% less time at" not in slower
    equal = repmixer.paragraph(measured(plans, [1.0] * 6, form=1.0, spread=0.05))
    assert "no difference that can be told" in equal


def test_what_was_not_measured_is_left_out(plans: list[Plan]) -> None:
    alone = [heat_of(plans[0], {POOLING: 10.0}), heat_of(plans[6], {})]
    assert repmixer.columns(alone[0], POOLING) == {}
    assert "RepMixer against pooling" not in repmixer.paragraph(alone)
    drawn = figure()
    repmixer.draw(drawn, alone)
    assert "onnxruntime, fp32, batch 1" in texts(drawn)


def test_the_picture_has_a_row_for_each_runtime_and_the_published_points(plans: list[Plan]) -> None:
    drawn = figure()
    ratios = [0.95, 0.9, 0.8, 0.75, 0.7, 0.6]
    repmixer.draw(drawn, measured(plans, ratios) + measured(plans, ratios, runtime="xla"))
    assert len(drawn.axes) == 6
    assert {"onnxruntime, fp32, batch 1", "xla, fp32, batch 1", "published (phone)"} <= texts(drawn)
    (published,) = [line for line in drawn.axes[1].lines if line.get_label() == "published (phone)"]
    assert list(published.get_xdata()) == [SMALL_SIZES[2], SMALL_SIZES[-1]]
    assert list(published.get_ydata()) == pytest.approx([25.1, 43.9])


def test_the_picture_names_no_gain_that_cannot_be_told(plans: list[Plan]) -> None:
    drawn = figure()
    repmixer.draw(drawn, measured(plans, [0.9] * 6, form=1.0, spread=0.05)[-4:])
    assert "cannot tell" in texts(drawn)
    sure = figure()
    repmixer.draw(sure, measured(plans, [0.9] * 6, form=0.8)[-4:])
    assert "cannot tell" not in texts(sure)


def test_the_command_measures_and_writes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--only", "64 px,fastvit_t8 forms", "--out", str(out)]
    assert main(repmixer.STUDY, [*QUICK, *flags]) == 0
    rows = list(csv.DictReader((out / "repmixer.csv").read_text().splitlines()))
    assert {row["plan"] for row in rows} == {"64 px", "fastvit_t8 forms"}
    assert sum(row["less_time_pct_value"] != "" for row in rows) == 2
    assert all((out / f"repmixer{ending}").stat().st_size for ending in (".png", ".svg", ".md", ".jsonl"))
