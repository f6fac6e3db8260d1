"""The study of large kernels: what is measured, said and drawn of it."""

import csv
from pathlib import Path

import pytest
from made_up_heats import QUICK, figure, heat_of, small_options, texts

from export.lab.claim import NOT_REPRODUCED, REPRODUCED
from export.lab.plan import Plan
from export.lab.study import main
from export.studies import large_kernel
from hvjax.models.fastvit_config import ABLATION

TIMES = {"V1": 10.0, "V2": 12.0, "V3": 24.0, "V4": 11.2, "V5": 12.5}


@pytest.fixture(scope="module")
def plan() -> Plan:
    (made,) = large_kernel.plans(small_options())
    return made


def test_one_heat_has_all_variants(plan: Plan) -> None:
    assert [one.name for one in plan.subjects] == ["V1", "V2", "V3", "V4", "V5"]
    assert plan.batch == 1  # without a GPU
    assert list(large_kernel.READING) == list(ABLATION)
    counts = [one.facts["macs"] for one in plan.subjects]
    assert len(set(counts)) == len(counts)


def test_the_words_for_the_variants_are_those_of_their_configurations() -> None:
    assert [large_kernel.attention_stages(name) for name in ABLATION] == [(), (4,), (3, 4), (), (4,)]
    assert [large_kernel.has_large_kernels(name) for name in ABLATION] == [False, False, False, True, True]


def test_published_ratios_go_from_the_larger_network_to_the_smaller(plan: Plan) -> None:
    assert [(claim.a, claim.word, claim.b, claim.published) for claim in plan.claims] == [
        ("V3", "slower", "V5", 2.3),
        ("V2", "slower", "V4", 1.071),
    ]


def test_full_variants_have_the_parameters_that_the_page_gives(repository: Path) -> None:
    """docs/studies_fastvit.md: per cent more parameters, beside those of the paper."""
    (full,) = large_kernel.plans(small_options(small=False))
    params = {one.name: one.facts["params"] for one in full.subjects}
    page = " ".join((repository / "docs" / "studies_fastvit.md").read_text().split())
    for slow, fast in large_kernel.PUBLISHED:
        assert f"(here {100 * (params[slow] / params[fast] - 1):.1f} %" in page
    assert full.subjects[0].shape == (256, 256, 3)


@pytest.mark.parametrize(("v3", "outcome"), [(24.0, REPRODUCED), (9.0, NOT_REPRODUCED)])
def test_a_claim_is_judged_by_what_was_measured(plan: Plan, v3: float, outcome: str) -> None:
    one = heat_of(plan, {**TIMES, "V3": v3})
    assert [finding.outcome for finding in one.findings] == [outcome, REPRODUCED]
    assert f"V3 takes {one.findings[0].verdict.ratio:.2f} times" in large_kernel.paragraph([one])


def test_columns_say_what_a_variant_is_and_that_it_is_inferred(plan: Plan) -> None:
    one = heat_of(plan, TIMES)
    assert large_kernel.columns(one, "V3") == {
        "attention_stages": "3 4",
        "large_kernels": "no",
        "inferred_reading": "V2 with attention in stage 3 too",
    }
    assert large_kernel.columns(one, "V4")["attention_stages"] == "none"
    assert large_kernel.INFERRED in large_kernel.paragraph([one])


def test_variants_that_do_not_build_are_left_out(plan: Plan) -> None:
    one = heat_of(plan, {"V1": 10.0, "V5": 12.0})
    assert "V3 takes" not in large_kernel.paragraph([one])
    drawn = figure()
    large_kernel.draw(drawn, [one])
    assert {"V1", "V5"} <= texts(drawn)
    assert "V3" not in texts(drawn)


def test_the_picture_shows_variants_and_published_ratios(plan: Plan) -> None:
    drawn = figure()
    large_kernel.draw(drawn, [heat_of(plan, TIMES), heat_of(plan, TIMES, "xla")])
    assert len(drawn.axes) == 4
    assert {"V1", "V2", "V3", "V4", "V5", "V3 / V5", "V2 / V4", "2.3", "1.071"} <= texts(drawn)
    heights = [bar.get_height() for bar in drawn.axes[0].patches]
    assert heights == pytest.approx(list(TIMES.values()), rel=0.02)  # the made-up noise is 1 %


def test_the_command_measures_and_writes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(large_kernel.STUDY, [*QUICK, "--out", str(out)]) == 0
    rows = {row["name"]: row for row in csv.DictReader((out / "large_kernel.csv").read_text().splitlines())}
    assert rows.keys() == ABLATION.keys()
    assert all(row["inferred_reading"] == large_kernel.READING[name] for name, row in rows.items())
    assert all((out / f"large_kernel{ending}").stat().st_size for ending in (".png", ".svg", ".md"))
