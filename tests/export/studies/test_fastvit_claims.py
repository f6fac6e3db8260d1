"""The study of FastViT's claims: what is measured, said and drawn of it."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_heats import QUICK, figure, heat_of, small_options, texts

from export.lab.claim import NOT_REPRODUCED, REPRODUCED
from export.lab.plan import Measured, Plan
from export.lab.study import main
from export.studies import fastvit_claims
from export.studies._claim_pairs import PAIRS, SMALL

GPU = (SimpleNamespace(device="gpu"),)


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {plan.key: plan for plan in fastvit_claims.plans(small_options())}


def measured(plans: dict[str, Plan], factor: float, **changes) -> list[Measured]:
    """All pairs, in each of which the FastViT is `factor` times as fast."""
    return [
        heat_of(plans[pair.key], {pair.fastvit: 10.0, pair.other: 10.0 * factor}, **changes) for pair in PAIRS
    ]


def test_each_pair_is_a_heat_with_the_other_network_as_reference(plans: dict[str, Plan]) -> None:
    assert list(plans) == [pair.key for pair in PAIRS]
    for pair in PAIRS:
        plan = plans[pair.key]
        assert [one.name for one in plan.subjects] == [pair.fastvit, pair.other]
        assert plan.reference == pair.other
        assert {one.facts["part"] for one in plan.subjects} == {"backbone" if pair.backbone else "classifier"}


def test_batches_are_the_papers_on_a_gpu_and_one_on_a_cpu(plans: dict[str, Plan]) -> None:
    assert {plan.batch for plan in plans.values()} == {1}
    on_gpu = {plan.key: plan.batch for plan in fastvit_claims.plans(small_options(runtimes=GPU))}
    assert on_gpu == {"mobileone": 8, "convnext": 8, "efficientformer": 8, "cmt": 2, "poolformer": 2}
    asked = fastvit_claims.plans(small_options(runtimes=GPU, batch=4))
    assert {plan.batch for plan in asked} == {4}


def test_claims_give_the_papers_number_as_a_ratio_of_times(plans: dict[str, Plan]) -> None:
    published = {key: claim.published for key, plan in plans.items() for claim in plan.claims}
    assert published == pytest.approx(
        {"mobileone": 0.731, "convnext": 1 / 2.0, "efficientformer": 1 / 2.7, "cmt": 1 / 2.4}
    )
    assert all(
        claim.source.startswith(fastvit_claims.PAPER) for plan in plans.values() for claim in plan.claims
    )


def test_published_counts_are_those_of_the_full_networks() -> None:
    """EfficientFormer-L7 has 3.8 times SA24's parameters and 2.7 times its FLOPs, to the decimal."""
    (pair,) = [pair for pair in PAIRS if pair.key == "efficientformer"]
    small, large = fastvit_claims._plan(pair, small_options(small=False)).subjects
    found = {count: round(large.facts[count] / small.facts[count], 1) for count in pair.counts}
    assert found == pair.counts == {"params": 3.8, "macs": 2.7}
    assert (small.shape, large.shape) == ((256, 256, 3), (224, 224, 3))  # each at its own size


def test_a_backbone_has_no_classifier(plans: dict[str, Plan]) -> None:
    backbone, classifier = plans["cmt"].subjects[0].facts, plans["convnext"].subjects[0].facts
    assert backbone["model"] == classifier["model"] == "fastvit_ma36"
    head = SMALL["fastvit_ma36"]["widths"][-1] * 2 * 10 + 10  # expansion 2, ten classes, a bias
    assert classifier["params"] - backbone["params"] == head


@pytest.mark.parametrize(("factor", "outcome"), [(1.5, REPRODUCED), (0.7, NOT_REPRODUCED)])
def test_a_claim_is_judged_by_what_was_measured(plans: dict[str, Plan], factor: float, outcome: str) -> None:
    found = measured(plans, factor)
    assert {finding.outcome for one in found for finding in one.findings} == {outcome}
    for one in found:
        row = fastvit_claims.columns(one, one.plan.subjects[0].name)
        assert row["times_as_fast_low"] <= row["times_as_fast"] <= row["times_as_fast_high"]
        assert row["times_as_fast"] == pytest.approx(factor, rel=0.02)  # the made-up noise is 1 %
        assert fastvit_claims.columns(one, one.plan.subjects[1].name) == {}
    assert "no difference" not in fastvit_claims.paragraph(found)
    same = measured(plans, 1.0, spread=0.05)
    assert "no difference that can be told" in fastvit_claims.paragraph(same)


def test_the_paragraph_names_each_pair_and_what_is_published(plans: dict[str, Plan]) -> None:
    text = fastvit_claims.paragraph(measured(plans, 1.5))
    for pair in PAIRS:
        assert f"as fast as {pair.other}" in text
    assert "(published: 2.4 times on RTX 2080 Ti, 4.3 times on iPhone 12 Pro)" in text
    assert "(published: no latency)" in text
    assert "(published 3.8)" in text


def test_half_measured_pairs_are_left_out(plans: dict[str, Plan]) -> None:
    found = [heat_of(plans["convnext"], {"convnext_b": 10.0}), heat_of(plans["cmt"], {})]
    assert fastvit_claims.columns(found[0], "convnext_b") == {}
    assert fastvit_claims.paragraph(found) == "Counted: no pair was measured."
    drawn = figure()
    fastvit_claims.draw(drawn, found)
    assert "fastvit_ma36" not in " ".join(texts(drawn))


def test_the_picture_shows_all_pairs_runtimes_and_published_numbers(plans: dict[str, Plan]) -> None:
    drawn = figure()
    fastvit_claims.draw(drawn, measured(plans, 1.5) + measured(plans, 2.5, runtime="xla"))
    written = texts(drawn)
    assert {"measured: onnxruntime, fp32", "measured: xla, fp32"} <= written
    assert {"published: RTX 2080 Ti", "published: iPhone 12 Pro", "published: unnamed device"} <= written
    for pair in PAIRS:
        assert any(pair.fastvit in text and pair.other in text for text in written)
    (gpu,) = [line for line in drawn.axes[0].lines if line.get_label() == "published: RTX 2080 Ti"]
    assert list(gpu.get_xdata()) == pytest.approx([1 / 0.731, 2.0, 2.4])


def test_the_command_measures_and_writes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(fastvit_claims.STUDY, [*QUICK, "--only", "cmt,mobileone", "--out", str(out)]) == 0
    rows = list(csv.DictReader((out / "fastvit_claims.csv").read_text().splitlines()))
    assert {row["name"] for row in rows} == {"fastvit_ma36", "cmt_s", "fastvit_s12", "mobileone_s4"}
    assert sum(row["times_as_fast"] != "" for row in rows) == 2
    assert all((out / f"fastvit_claims{ending}").stat().st_size for ending in (".png", ".svg", ".md"))
