"""The T4 table: what is measured, claimed, drawn and said; the command on networks of a few channels."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from made_up_heats import figure, small_options, texts
from made_up_lab import MadeUpRuntime
from made_up_profiles import profile
from made_up_records import record

from export.lab import options as lab_options
from export.lab.claim import NOT_MEASURED, NOT_REPRODUCED, REPRODUCED, judge
from export.lab.heat import Heat
from export.lab.plan import Plan
from export.lab.profile.kept import Kept
from export.lab.setting import Setting
from export.lab.study import main
from export.studies import t4_table
from export.studies._t4_published import PRECISIONS, REFERENCE, TABLE, name, ratio
from export.studies.t4_table import STUDY, Table

#: Milliseconds of ResNet-50 in fp16.
UNIT = 2.0
BOTH = MadeUpRuntime({}, precisions=PRECISIONS)


@pytest.fixture(scope="module")
def plan() -> Plan:
    (made,) = t4_table.plans(small_options(runtimes=(BOTH,), precisions=PRECISIONS))
    return made


def published_times() -> dict[str, float]:
    """Milliseconds in the published multiples."""
    return {
        name(model, precision): UNIT * row.multiple[precision]
        for model, row in TABLE.items()
        for precision in PRECISIONS
    }


def table(plan: Plan, times: Mapping[str, float], *, profiles: bool = True, runtime: str = "xla") -> Table:
    """The plan measured with these times."""
    reference = name(REFERENCE, "fp16") if name(REFERENCE, "fp16") in times else name(REFERENCE, "fp32")
    heat = Heat(
        [
            record(who, ms, runtime=runtime, reference=reference, precision=who.split()[1], spread=0.001)
            for who, ms in times.items()
        ],
        {},
    )
    findings = tuple(judge(claim, heat, runtime, {}) for claim in plan.claims)
    kept = {who: Kept.of(profile()) for who in times} if profiles else {}
    return Table(plan, runtime, Setting(), heat, findings, kept)


def half(times: Mapping[str, float]) -> dict[str, float]:
    """Without fp16, as on a CPU."""
    return {who: ms for who, ms in times.items() if who.endswith("fp32")}


def test_published_numbers_and_their_ratios() -> None:
    assert (
        ratio("swin_t", "fp16", REFERENCE, "fp16") == 3 and ratio("resnet101", "fp16", REFERENCE, "fp16") == 2
    )
    assert ratio("uniformer_s", "fp32", REFERENCE, "fp32") == pytest.approx(4.8 / 3)
    assert ratio("pyramid_tnt_s", "fp32", "pyramid_tnt_s", "fp16") == 1.5
    assert [row.multiple["fp32"] for row in TABLE.values()] == [3, 6, 6, 11, 16, 6, 4.8]
    assert all(row.memory["fp16"] < row.memory["fp32"] for row in TABLE.values())


def test_full_networks_are_those_of_the_study() -> None:
    (full,) = t4_table.plans(small_options(small=False, precisions=("fp32",)))
    facts = {one.name: one.facts for one in full.subjects}
    assert list(facts) == list(TABLE)
    assert {model: one["image_size"][0] for model, one in facts.items()} == t4_table.SIZES
    assert facts["pyramid_tnt_s"]["image_size"] == [256, 256] and full.batch == 1
    assert facts["resnet50"]["macs"] / 1e9 == pytest.approx(4.1, abs=0.1)


def test_one_heat_holds_all_networks_in_all_precisions(plan: Plan) -> None:
    contenders = plan.contenders([Setting(precision=precision) for precision in PRECISIONS])
    assert {one.name for one in contenders} == set(published_times())
    assert plan.reference == "resnet50 fp16" and plan.mixed
    (batched,) = t4_table.plans(small_options(batch=4))
    assert batched.batch == 4


def test_every_published_order_and_gain_is_a_claim(plan: Plan) -> None:
    claimed = {(claim.a, claim.b): claim.published for claim in plan.claims if claim.within is None}
    assert claimed["swin_t fp16", "resnet50 fp16"] == 3 and claimed["resnet101 fp32", "resnet50 fp32"] == 2
    assert claimed["swin_b fp16", "swin_s fp16"] == pytest.approx(8 / 6)
    assert claimed["swin_t fp16", "resnet101 fp16"] == 1.5
    assert claimed["pyramid_tnt_s fp16", "pyramid_tnt_s fp32"] == pytest.approx(1 / 1.5)
    equal = [
        ("resnet101", "swin_t", "fp32"),
        ("pyramid_tnt_s", "swin_t", "fp32"),
        ("swin_t", "uniformer_s", "fp16"),
    ]
    for a, b, precision in equal:  # equal numbers have no order
        pair = (name(a, precision), name(b, precision))
        assert pair not in claimed and pair[::-1] not in claimed
    gains = [claim for claim in plan.claims if claim.within is not None]
    assert {claim.a.split()[0] for claim in gains} == set(TABLE) - {"resnet50", "resnet101"}
    assert all(claim.published is not None and claim.source for claim in plan.claims)


def test_precisions_that_no_runtime_has_are_not_claimed() -> None:
    (made,) = t4_table.plans(small_options(runtimes=(MadeUpRuntime({}),), precisions=PRECISIONS))
    assert made.claims and all(claim.a.endswith("fp32") and claim.b.endswith("fp32") for claim in made.claims)


def test_the_published_times_reproduce_every_claim(plan: Plan) -> None:
    found = table(plan, published_times())
    assert {finding.outcome for finding in found.findings} == {REPRODUCED}
    for finding in found.findings:
        assert finding.verdict is not None
        assert finding.verdict.ratio == pytest.approx(finding.claim.published, rel=0.01)


def test_the_opposite_reproduces_none(plan: Plan) -> None:
    turned = {who: 100 / ms for who, ms in published_times().items()}
    assert {finding.outcome for finding in table(plan, turned).findings} == {NOT_REPRODUCED}
    assert NOT_MEASURED in {finding.outcome for finding in table(plan, half(published_times())).findings}


def test_columns_stand_beside_the_published(plan: Plan) -> None:
    times = published_times()
    times["swin_t fp32"] *= 1.5
    row = STUDY.columns(table(plan, times), "swin_t fp32")
    assert row["published_ratio"] == 6 and row["measured_over_published"] == pytest.approx(1.5, rel=0.01)
    assert row["published_memory_mb"] == 610
    assert row["share_convolution"] == pytest.approx(4 / 10.5) and "share_data_movement" in row
    reference = STUDY.columns(table(plan, times), "resnet50 fp16")
    assert reference["published_ratio"] == 1 and reference["measured_over_published"] is None
    cpu = STUDY.columns(table(plan, half(times)), "swin_t fp32")
    assert cpu["published_ratio"] == 2  # to ResNet-50 fp32, as there is no fp16
    other = table(plan, {**half(times), "swin_t bf16": 3.0}, profiles=False)
    row = STUDY.columns(other, "swin_t bf16")
    assert row["published_ratio"] is None and row["published_memory_mb"] is None
    assert not [column for column in row if column.startswith("share_")]


def test_the_paragraph_has_the_numbers(plan: Plan) -> None:
    text = STUDY.paragraph(
        [table(plan, published_times()), table(plan, half(published_times()), runtime="cpu")]
    )
    gpu, cpu = text.split("\n\n")
    assert "Swin-T fp16 3.00 (3)" in gpu and "fp16 gains a factor of" in gpu and "ResNet-50 3.00 (3)" in gpu
    assert f"Of {len(plan.claims)} published orders and ratios" in gpu and "Not reproduced" not in gpu
    assert "ResNet-50 fp32 76% (then softmax, 10%)" in gpu and "81% to 81% of a profiled call" in gpu
    assert "not measured in fp16: all ratios are to ResNet-50 fp32" in cpu and "Swin-T fp32 2.00 (2)" in cpu
    assert "gains a factor" not in cpu
    assert "and all else" not in cpu
    one = table(plan, published_times())
    full, halved = Kept.of(profile()), Kept({"matmul": 0.5, "norm": 0.5}, 4.0, 4.0, 4.0, 5)
    one.profiles.update({"swin_t fp32": full, "swin_t fp16": halved})  # type: ignore[attr-defined]
    told = STUDY.paragraph([one])
    assert "Swin-T 4.00 and 1.25" in told and "ResNet-50 1.00 and 1.00" in told  # 8 of 2 ms, 2.5 of 2 ms
    bare = STUDY.paragraph([table(plan, half(published_times()), profiles=False)])
    assert "Share of the time" not in bare


def test_the_picture_shows_both_ratios_and_the_shares(plan: Plan) -> None:
    drawn = figure()
    STUDY.draw(drawn, [table(plan, published_times()), table(plan, half(published_times()), profiles=False)])
    seen = texts(drawn)
    assert {"8.00", "8", "measured here", "published (T4)", "38%", "convolution"} <= set(seen)
    assert "this runtime has no profiler here" in seen and "xla (CPU), batch 1" in seen
    empty = figure()
    STUDY.draw(empty, [])
    assert STUDY.paragraph([]) == ""


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = MadeUpRuntime({model: UNIT * row.multiple["fp32"] for model, row in TABLE.items()})
    monkeypatch.setattr(lab_options, "make", lambda given, **ways: runtime)
    taken: list[str] = []

    def take(subject, setting, runtime, files, seconds):
        taken.append(subject.name)
        if subject.name == "swin_b":
            raise ValueError("it broke\nin two lines")
        return profile()

    monkeypatch.setattr(t4_table, "take", take)
    command = ["--small", "--runtimes", "onnxruntime", "--seconds", "0.01", "--out", str(tmp_path)]
    assert main(STUDY, command) == 0
    assert taken == list(TABLE)  # once each, after all were timed
    assert "no profile of swin_b fp32 on onnxruntime: it broke\n" in capsys.readouterr().err
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "t4_table.csv").read_text().splitlines())}
    assert float(rows["swin_t fp32"]["share_convolution"]) == pytest.approx(4 / 10.5, rel=1e-4)
    assert rows["swin_b fp32"]["share_convolution"] == ""
    assert (tmp_path / "t4_table.png").stat().st_size and "Swin-T" in (tmp_path / "t4_table.md").read_text()
    assert len((tmp_path / "t4_table.profiles.jsonl").read_text().splitlines()) == len(TABLE) - 1

    taken.clear()
    assert main(STUDY, command) == 0
    assert taken == ["swin_b"]  # what is known is not profiled again
    taken.clear()
    assert main(STUDY, [*command, "--redraw"]) == 0
    assert taken == []

    (tmp_path / "t4_table.profiles.jsonl").write_text(json.dumps({"of": 1}) + "\n")
    assert main(STUDY, command) == 2
    assert "line 1: not a kept profile" in capsys.readouterr().err
