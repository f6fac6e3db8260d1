"""The two studies of Next-ViT, on a runtime whose latency follows the counts of the network."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import hvjax
from export.lab import options
from export.lab.calibrate import TOLERANCE
from export.lab.heat import Heat
from export.lab.plan import Measured, Plan
from export.lab.setting import Setting
from export.lab.study import Study, main
from export.lab.subject import Subject
from export.studies import _next_vit, _next_vit_words, hybrid_strategy, next_blocks
from export.studies._next_vit import REFERENCE, Part
from hvjax.models.next_vit_strategy import hybrid_strategy as strategy
from tests.support.made_up_records import record
from tests.support.modelled_runtime import Modelled

#: Too short for more than the fewest rounds, whatever the machine does meanwhile.
SECONDS = "1e-9"


def by_counts(subject: Subject) -> float:
    """Tens of microseconds to launch, and time for MACs and for weights."""
    return 0.05 + subject.facts["macs"] / 1e7 + subject.facts["params"] / 1e6


def _overrides(parts: Sequence[Part]) -> Mapping[str, Mapping[str, Any]]:
    return {name: fields for part in parts for name, fields in part.variants.items()}


def test_the_strategies_are_those_of_the_ablations() -> None:
    found = _overrides(hybrid_strategy.parts(small=False))
    assert {name.replace(" ", "") for name in found if "=" not in name} == set(hybrid_strategy.STRATEGIES)
    for letters in hybrid_strategy.STRATEGIES:
        assert found[" ".join(letters)]["blocks"] == strategy(letters)
    assert found["N=2, L=3"]["blocks"] == ("CCC", "CCCT", "CCT" * 3, "CCT")
    assert [found[name]["transformer_channels"][0] for name in ("T T T T", "H H H H")] == [128, 128]


@pytest.mark.parametrize("parts", [hybrid_strategy.parts, next_blocks.parts])
def test_every_variant_is_another_network_than_next_vit_s(parts: Any) -> None:
    for small in (False, True):
        base = _next_vit.candidate(REFERENCE, {}, small).config()
        made = [
            _next_vit.candidate(name, fields, small).config()
            for name, fields in _overrides(parts(small)).items()
        ]
        assert len({*made, base}) == len(made) + 1


def test_next_blocks_has_all_blocks_shares_and_norms() -> None:
    made = [
        hvjax.create_model("next_vit_s", **fields).config
        for fields in _overrides(next_blocks.parts(small=False)).values()
    ]
    assert {c.conv_block for c in made} == {"ncb", "bottleneck", "convnext", "transformer", "pool", "lsa"}
    assert {c.mix_ratio for c in made} == {0, 0.25, 0.5, 0.75, 1}
    assert {("batch", "gelu"), ("layer", "gelu")} <= {(c.norm, c.activation) for c in made}


def _run(
    study: Study, out: Path, monkeypatch: pytest.MonkeyPatch, runtime: Modelled, *flags: str
) -> tuple[int, list[dict[str, str]]]:
    monkeypatch.setattr(options, "make", lambda name, **more: runtime)
    asked = ["--small", "--seconds", SECONDS, "--runtimes", "onnxruntime", "--out", str(out), *flags]
    status = main(study, asked)
    path = out / f"{study.name}.csv"
    return status, list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


@pytest.mark.parametrize("study", [hybrid_strategy.STUDY, next_blocks.STUDY])
def test_variants_at_equal_latency_are_within_the_budget(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, rows = _run(study, tmp_path, monkeypatch, Modelled(by_counts))
    assert status == 0
    levelled = [row for row in rows if row["plan"].endswith("equal latency")]
    as_they_are = [row for row in rows if row["plan"].endswith("equal widths")]
    assert len(levelled) >= 2
    for row in levelled:
        assert row["within_3_percent"] == "yes"
        if row["name"] != REFERENCE:
            assert abs(float(row["ratio"]) - 1) <= TOLERANCE
    assert any(abs(float(row["ratio"]) - 1) > TOLERANCE for row in as_they_are if row["ratio"])
    names = {path.name for path in tmp_path.iterdir()}
    products = {f"{study.name}{ending}" for ending in (".csv", ".png", ".svg", ".md", ".jsonl")}
    assert names - {f"{study.name}.claims.csv"} == {*products, "calibrate.jsonl"}
    page = (tmp_path / f"{study.name}.md").read_text()
    assert "is not said here" in page
    assert "at the same latency: " in page


def test_drawn_again_from_the_records_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(hybrid_strategy.STUDY, tmp_path, monkeypatch, Modelled(by_counts))
    page = tmp_path / "hybrid_strategy.md"
    first = page.read_text()
    page.unlink()
    (tmp_path / "calibrate.jsonl").unlink()
    _run(hybrid_strategy.STUDY, tmp_path, monkeypatch, Modelled(lambda subject: None), "--redraw")
    assert page.read_text() == first


def test_a_budget_that_cannot_be_met_is_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here all but Next-ViT-S take three times as long, however narrow."""

    def ms(subject: Subject) -> float:
        return 1.0 if subject.name == REFERENCE else 3.0

    status, rows = _run(hybrid_strategy.STUDY, tmp_path, monkeypatch, Modelled(ms), "--only", "stage 3")
    assert status == 0
    missed = [row for row in rows if row["plan"] == "stage 3, equal latency" and row["name"] != REFERENCE]
    assert [row["within_3_percent"] for row in missed] == ["no"]
    assert "not N=1, L=1 (3.00 times)." in (tmp_path / "hybrid_strategy.md").read_text()


def test_what_does_not_build_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = Modelled(lambda one: by_counts(one) if one.name == REFERENCE else None)
    status, rows = _run(hybrid_strategy.STUDY, tmp_path, monkeypatch, runtime, "--only", "stage 3")
    assert status == 1
    assert [row["name"] for row in rows] == [REFERENCE]
    assert "not measured: onnxruntime, stage 3, equal widths: N=1, L=1" in capsys.readouterr().err


def _measured(key: str, **times: float) -> Measured:
    heat = Heat(
        [record(REFERENCE, 10.0, heat=key), *(record(name, ms, heat=key) for name, ms in times.items())]
    )
    return Measured(Plan(key, ()), "onnxruntime", Setting(), heat, ())


def test_sentences_at_equal_widths() -> None:
    text = _next_vit_words.paragraph([_measured("blocks, equal widths", slow=20.0, fast=5.0, same=10.0)])
    assert "of 3 variants 1 take less and 1 more" in text
    assert "0.50 times as long (fast) and 2.00 times as long (slow)." in text
    assert "same is not told from it." in text


def test_of_many_variants_the_ends_are_named() -> None:
    times = {f"v{place}": 10.0 + 2 * place for place in range(1, 8)}
    text = _next_vit_words.paragraph([_measured("blocks, equal widths", **times)])
    assert "0 take less and 7 more, from 1.20 times as long (v1) to 2.40 times as long (v7)." in text


def test_sentences_at_equal_latency() -> None:
    text = _next_vit_words.paragraph([_measured("blocks, equal latency", met=10.2, missed=12.0)])
    assert "1 of 2 variants could be brought within 3 % of the latency of Next-ViT-S" in text
    assert "not missed (1.20 times)." in text
    assert "at the same latency: met (+0 % FLOPs, +0 % parameters)." in text
    assert "missed (+0" not in text
