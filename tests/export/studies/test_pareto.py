"""The study of accuracy against latency: what it measures, what it takes from stores, what it writes."""

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_lab import MadeUpRuntime
from pareto_points import store as full_store
from pareto_points import whole

from export import provenance
from export.lab import options
from export.lab.bar import Bar
from export.lab.heat import Heat
from export.lab.options import Options
from export.lab.pareto.accuracies import accuracies, latencies, name, sizes
from export.lab.plan import Plan
from export.lab.record import Record
from export.lab.store import Store
from export.studies import pareto

QUICK = ("--runtimes", "onnxruntime", "--precisions", "fp32", "--seconds", "0.01")
#: Networks of --small, in the order of the heats.
SMALL_TIMES = {
    "resnet50": 2.0,
    "next_vit_s": 4.0,
    "next_vit_s@384": 9.0,
    "mobileone_s0": 1.0,
    "mobileone_s1": 1.5,
}


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeUpRuntime:
    """The only one here; the working folder is empty, so that no store is found by default."""
    made = MadeUpRuntime(SMALL_TIMES)
    monkeypatch.setattr(options, "make", lambda name, **ways: made)
    monkeypatch.chdir(tmp_path)
    return made


def stored_here(path: Path) -> Path:
    """A store that has all networks, measured on this machine in one heat of one series."""
    Store(path).append(here(one) for one in full_store() if one.runtime == "onnxruntime")
    return path


def here(record: Record) -> Record:
    return replace(record, machine=provenance.machine())


def test_every_network_with_an_accuracy_is_in_one_heat() -> None:
    found = Counter(pair for key in pareto.HEATS for pair in pareto.networks(key))
    wanted = {(model, size) for model, at in sizes(accuracies()).items() for size in at}
    assert set(found) == wanted
    assert set(found.values()) == {1}
    assert set(pareto.SMALL_HEATS) <= set(pareto.HEATS)


def test_claims_are_the_order_of_each_published_table() -> None:
    known = [(one.model, one.image_size) for one in latencies()]
    found = pareto.claims(known)
    assert len(found) == 4 * 2 + 6  # three Next-ViTs at two sizes on two devices, seven FastViTs on one
    first = next(one for one in found if one.a == "next_vit_s")
    assert (first.b, first.published) == ("next_vit_b", pytest.approx(7.7 / 10.5))
    assert "bytedance/Next-ViT README.md" in first.source and "batch 8, fp16" in first.source
    assert all(0 < (one.published or 0) < 1 for one in found)
    assert {one.a for one in found if "iPhone 12 Pro," in one.source} == {
        f"fastvit_{size}" for size in ("t8", "t12", "s12", "sa12", "sa24", "sa36")
    }
    assert pareto.claims([("next_vit_s", 224)]) == []


def test_the_command_measures_and_writes_everything(runtime: MadeUpRuntime, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert pareto.main(["--small", *QUICK, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        f"pareto.{ending}" for ending in ("csv", "png", "svg", "md", "jsonl", "html")
    }
    with (out / "pareto.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(SMALL_TIMES)
    assert (rows["next_vit_s@384"]["top1"], rows["next_vit_s@384"]["training"]) == ("83.6", "plain")
    assert rows["next_vit_s"]["accuracy_source"] == "bytedance/Next-ViT README.md"
    assert rows["mobileone_s0"]["front"] == "all, ImageNet-1k alone"
    page, text = (out / "pareto.html").read_text(), (out / "pareto.md").read_text()
    for written in (page, text):
        assert "these numbers say nothing" in written
        assert "next_vit_s" in written and "trt_vit_c" in written
    best = (
        "mobileone_s0 (71.4",
        "mobileone_s1 (75.8",
        "resnet50 (76.2",
        "next_vit_s (82.5",
        "next_vit_s@384 (83.6",
    )
    front = ", ".join(rf"{re.escape(one)} %, [\d.]+ ms\)" for one in best)
    assert re.search(rf"5 are on the front: {front}\.", text)
    assert all(record.small for record in Store(out / "pareto.jsonl").records)


def test_what_was_measured_is_not_measured_again(runtime: MadeUpRuntime, tmp_path: Path) -> None:
    command = ["--small", *QUICK, "--out", str(tmp_path / "out")]
    assert pareto.main(command) == 0
    prepared, page = list(runtime.prepared), (tmp_path / "out" / "pareto.html").read_text()
    assert pareto.main(command) == 0
    assert runtime.prepared == prepared
    assert (tmp_path / "out" / "pareto.html").read_text() == page


def test_only_measures_the_named_heats(runtime: MadeUpRuntime, tmp_path: Path) -> None:
    assert pareto.main(["--small", *QUICK, "--only", "mobileone", "--out", str(tmp_path / "out")]) == 0
    assert runtime.prepared == ["resnet50 fp32", "mobileone_s0 fp32", "mobileone_s1 fp32"]


def test_what_stores_hold_is_not_measured(runtime: MadeUpRuntime, tmp_path: Path) -> None:
    path, out = stored_here(tmp_path / "bench.jsonl"), tmp_path / "out"
    assert pareto.main([*QUICK, "--store", str(path), "--out", str(out)]) == 0
    assert runtime.prepared == []
    text = (out / "pareto.md").read_text()
    assert "onnxruntime, fp32, batch 8" in text  # other series of the store are shown too
    assert text.count("fastvit_t8 is faster than fastvit_t12") == 2  # judged in both
    assert "reproduced" in text
    assert f'"{name("uniformer_b", 224)}"' in (out / "pareto.html").read_text()


def test_stores_of_the_documentation_are_read_by_default(
    runtime: MadeUpRuntime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_here(tmp_path / pareto.STORES / "cpu.jsonl")
    assert pareto.main([*QUICK, "--out", "out"]) == 0
    assert runtime.prepared == []
    assert "docs/results/lab/cpu.jsonl" in capsys.readouterr().err


def test_stored_measures_nothing_and_can_be_written_again(runtime: MadeUpRuntime, tmp_path: Path) -> None:
    path = tmp_path / "gpu.jsonl"
    made = [("next_vit_s", 7.0), ("next_vit_b", 10.0), ("resnet50", 3.0)]
    Store(path).append(
        whole(model, 224, ms, runtime="tensorrt", device="gpu", gpu="NVIDIA H100", precision="fp16", batch=8)
        for model, ms in made
    )
    command = [*QUICK, "--store", str(path), "--stored", "--out", str(tmp_path / "out")]
    assert pareto.main(command) == 0
    assert pareto.main(command) == 0
    assert runtime.prepared == []
    text = (tmp_path / "out" / "pareto.md").read_text()
    assert "tensorrt, fp16, batch 8**, on NVIDIA H100" in text
    assert "measured on NVIDIA H100" in (tmp_path / "out" / "pareto.html").read_text()


class RememberingLab:
    """Has one heat, as from its store."""

    def __init__(self, records: list[Record], folder: Path):
        self.records, self.store = records, Store(folder / "pareto.jsonl")

    def heat(self, *given: object) -> Heat:
        return Heat(self.records)


def test_the_folder_of_the_results_may_be_a_store_too(tmp_path: Path) -> None:
    """What a heat of this run has is not shown a second time, as stored."""
    mine = [here(whole(model, size, 5.0, heat="mine")) for model, size in (("cmt_ti", 160), ("cmt_xs", 192))]
    other = here(whole("swin_t", 224, 7.0, heat="other"))
    made = pareto.Pareto([*mine, other])
    given = Options((MadeUpRuntime({}),), ("fp32",), 1, 1.0, False, tmp_path)
    made._plans = [Plan("cmt", [])]
    lab: Any = RememberingLab(mine, tmp_path)
    found = made.measure(lab, given, Bar(1, io.StringIO()))
    assert [name for one in found for name in one.heat] == ["cmt_ti", "cmt_xs", "swin_t"]
    assert {point.name for point in made.points(found)} == {"cmt_ti", "cmt_xs", "swin_t"}


def test_a_store_without_whole_models_is_not_enough(
    runtime: MadeUpRuntime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "blocks.jsonl"
    Store(path).append([whole("swin_t", 512, 3.0)])
    assert pareto.main([*QUICK, "--store", str(path), "--stored", "--out", str(tmp_path / "out")]) == 1
    assert "nothing was measured" in capsys.readouterr().err
    assert not (tmp_path / "out" / "pareto.html").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--store", "missing.jsonl"], "missing.jsonl: no such file"),
        (["--store", "notes.txt"], "notes.txt, line 1: not a record"),
        (["--small", "--store", "full.jsonl"], "--small with --store"),
        (["--only", "next_vot", "--small"], "did you mean next_vit?"),
        (["--out", "taken", "--small"], "pareto.html without pareto.jsonl"),
        (["--stored", "--only", "cmt"], "--only with --stored"),
        (["--stroe", "x"], "did you mean --store?"),
    ],
)
def test_mistakes_are_one_line(
    runtime: MadeUpRuntime, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    Path("notes.txt").write_text("shopping\n")
    stored_here(Path("full.jsonl"))
    Path("taken").mkdir()
    Path("taken/pareto.html").write_text("mine")
    assert pareto.main([*QUICK, *flags]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("pareto: ") and said in last
    assert Path("taken/pareto.html").read_text() == "mine"
    assert runtime.prepared == []
