"""`export.bench` with made-up times: what is measured, what is said, resuming, comparing, mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_lab import MadeUpRuntime
from made_up_records import record

from export import bench
from export._optional import MissingExtra
from export.lab.store import Store
from export.lab.subject import Subject

TIMES = {"resnet50": 4.0, "resnet101": 8.0, "fastvit_t8": 1.0, "next_vit_s": 4.0}
Run = Callable[..., int]


def made_up(
    model: str, *, image_size: int | None, deploy: bool, backbone: bool, **changes: object
) -> Subject:
    """In place of `network`: only counts are read."""
    if image_size == 33:
        raise ValueError(f"{model} takes no 33 pixels")
    facts = {
        "model": model, "form": "deploy" if deploy else "train", "params": 1_000_000, "macs": 1_000_000_000,
        "part": "backbone" if backbone else "classifier", "image_size": [image_size or 224] * 2,
    }  # fmt: skip
    return Subject(model, lambda precision: lambda weights, images: images, dict, (224, 224, 3), facts)


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> dict[str, MadeUpRuntime]:
    """Two that run here; the others are not installed."""
    here = {
        "onnxruntime": MadeUpRuntime(TIMES),
        "tensorrt": MadeUpRuntime(TIMES, name="tensorrt", device="gpu", precisions=("fp32", "fp16")),
    }

    def make(name: str, *, torch_python: Path | None = None) -> MadeUpRuntime:
        if name not in here:
            raise MissingExtra(f"{name} is not installed: pip install it")
        return here[name]

    monkeypatch.setattr("export.lab.options.make", make)
    monkeypatch.setattr("export.lab.bench_measure.network", made_up)
    return here


@pytest.fixture
def run(tmp_path: Path, runtimes: dict[str, MadeUpRuntime]) -> Run:
    def call(*argv: str, cpu: bool = True) -> int:
        where = ["--runtimes", "onnxruntime"] if cpu else []
        return bench.main([*argv, *where, "--out", str(tmp_path / "out"), "--seconds", "0.02"])

    return call


def table(tmp_path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((tmp_path / "out" / "bench.csv").read_text().splitlines()))


def test_all_files_and_the_table(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("resnet101", "fastvit_t8", "next_vit_s") == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if "  " in line}
    assert "faster" in lines["fastvit_t8"] and "slower" in lines["resnet101"]
    assert "cannot tell" in lines["next_vit_s"] and "(reference)" in lines["resnet50"]
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        f"bench.{kind}" for kind in ("csv", "png", "svg", "html", "jsonl")
    }
    assert table(tmp_path)[0]["name"] == "fastvit_t8"  # from fast to slow
    assert float(table(tmp_path)[0]["ratio"]) == pytest.approx(0.25, rel=0.05)
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "bench.html").read_text()
    assert "http" not in page and page.count("<tr>") == 1 + 4


def test_the_device_chooses_the_batches(run: Run, tmp_path: Path) -> None:
    assert run("fastvit_t8", "--precisions", "fp32,fp16", cpu=False) == 0
    found = {(row["runtime"], row["precision"], row["batch"]) for row in table(tmp_path)}
    gpu = {("tensorrt", precision, batch) for precision in ("fp32", "fp16") for batch in ("1", "8", "64")}
    assert found == gpu | {("onnxruntime", "fp32", "1")}


def test_flags_reach_the_subjects_and_the_setting(run: Run, tmp_path: Path) -> None:
    assert (
        run("--models", "fastvit_t8", "--batch", "2,3", "--form", "train", "--backbone", "--image-size", "64")
        == 0
    )
    rows = table(tmp_path)
    assert {row["batch"] for row in rows} == {"2", "3"}
    assert {(row["form"], row["part"], row["image_size"]) for row in rows} == {("train", "backbone", "64x64")}
    assert "fastvit_t8 (train form, backbone)" in (tmp_path / "out" / "bench.html").read_text()


def test_patterns_and_all(run: Run, runtimes: dict[str, MadeUpRuntime]) -> None:
    assert run("--models", "resnet*,fastvit_t8") == 0
    assert runtimes["onnxruntime"].prepared == ["resnet50 fp32", "resnet101 fp32", "fastvit_t8 fp32"]


def test_what_the_store_holds_is_not_measured_again(
    run: Run, runtimes: dict[str, MadeUpRuntime], tmp_path: Path
) -> None:
    """Other models join with the reference, whatever was asked for before."""
    prepared = runtimes["onnxruntime"].prepared
    assert run("fastvit_t8", "resnet101") == 0
    prepared.clear()
    assert run("next_vit_s", "fastvit_t8") == 0
    assert prepared == ["resnet50 fp32", "next_vit_s fp32"]
    assert {row["name"] for row in table(tmp_path)} == {"resnet50", "next_vit_s", "fastvit_t8"}
    prepared.clear()
    assert run("next_vit_s", "fastvit_t8", "--anew") == 0
    assert len(prepared) == 3
    assert len(Store(tmp_path / "out" / "bench.jsonl").records) == 3 + 2 + 3  # nothing is taken out
    prepared.clear()
    assert run("--redraw") == 0
    assert not prepared and len(table(tmp_path)) == 4


def test_an_interrupted_run_goes_on(
    run: Run, runtimes: dict[str, MadeUpRuntime], tmp_path: Path, capsys
) -> None:
    runtimes["onnxruntime"].before = lambda name: os.kill(os.getpid(), signal.SIGINT)
    asked = ("fastvit_t8", "--batch", "1", "--precisions", "fp32")  # tensorrt first
    assert run(*asked, cpu=False) == 130
    assert "interrupted; the same command goes on where this stopped" in capsys.readouterr().err
    runtimes["onnxruntime"].before = lambda name: None
    runtimes["tensorrt"].prepared.clear()
    assert run(*asked, cpu=False) == 0
    assert not runtimes["tensorrt"].prepared and len(table(tmp_path)) == 4


def test_what_fails_is_said_and_the_others_are_measured(run: Run, tmp_path: Path, capsys) -> None:
    assert run("fastvit_t8", "swin_t") == 1
    assert (
        "not measured: onnxruntime, fp32, batch 1: swin_t: swin_t does not build\n" in capsys.readouterr().err
    )
    assert "swin_t does not build" in (tmp_path / "out" / "bench.html").read_text()
    assert {row["name"] for row in table(tmp_path)} == {"resnet50", "fastvit_t8"}


def test_compare(run: Run, capsys: pytest.CaptureFixture[str], runtimes: dict[str, MadeUpRuntime]) -> None:
    assert run("--compare", "resnet101", "fastvit_t8") == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith("onnxruntime, fp32, batch 1: resnet101 takes ")
    assert line.endswith(" of the time of fastvit_t8: slower")
    runtimes["onnxruntime"].prepared.clear()
    assert run("--compare", "fastvit_t8", "resnet101") == 0  # the same heat, from the store
    assert capsys.readouterr().out.strip().endswith("of the time of resnet101: faster")
    assert not runtimes["onnxruntime"].prepared


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["resnet5"], "--models: there is no model 'resnet5'; did you mean resnet50"),
        (
            ["resnet50+upernet"],
            "--models: resnet50+upernet is a segmenter or detector: classifiers such as resnet50",
        ),
        (["--models", "zz*"], "--models zz*: no registry model fits"),
        (["--reference", "resnt50"], "--reference: there is no model 'resnt50'; did you mean resnet50"),
        (["--runtimes", "onnxrt"], "--runtimes onnxrt: did you mean onnxruntime?"),
        (["--compare", "resnet50"], "--compare resnet50: expected two different models"),
        (["--compare", "resnet50", "resnet50"], "--compare resnet50 resnet50: expected two different models"),
        (["--compare", "resnet50", "resnet101", "--models", "all"], "--compare A B takes no other models"),
        (["--batch", "1,x"], "--batch: 'x' is not a number above 0"),
        (["--form", "fused"], "--form fused: accepted are deploy, train"),
        (["--image-size", "33"], "the reference resnet50 cannot be measured: resnet50 takes no 33 pixels"),
        (["--agree", "one.jsonl"], "--agree: expected two stores, got 1"),
        (["--agree", "one.jsonl", "two.jsonl"], "--agree one.jsonl: no such file"),
        (["--redraw"], "holds no records"),
        (["--only", "x"], "--only: the bench has no heats with names"),
        (["--modles", "all"], "unknown flag --modles; did you mean --models"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], message: str, tmp_path: Path, runtimes, capsys) -> None:
    where = [] if "--runtimes" in argv else ["--runtimes", "onnxruntime"]
    assert bench.main([*argv, *where, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out


def test_places_that_cannot_be_written(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert run("fastvit_t8") == 2
    assert "no folder can be made there" in capsys.readouterr().err
    (tmp_path / "out").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bench.csv").write_text("mine")
    assert run("fastvit_t8") == 2
    assert "choose another --out" in capsys.readouterr().err
    assert (tmp_path / "out" / "bench.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "line 1: not a record of the lab: schema 99"),
        ({"study": "density"}, "holds records of density: choose another --store"),
        ({"small": True}, "holds records of --small networks: choose another --out"),
    ],
)
def test_stores_of_others_are_refused(run: Run, tmp_path: Path, capsys, change, message: str) -> None:
    store = tmp_path / "out" / "bench.jsonl"
    Store(store).append([record("resnet50", 4.0)])
    store.write_text(json.dumps({**json.loads(store.read_text()), **change}) + "\n")
    before = store.read_bytes()
    assert run("fastvit_t8") == 2
    assert message in capsys.readouterr().err
    assert store.read_bytes() == before


def test_two_runs(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for place, heat in enumerate(("h1", "h2")):
        Store(tmp_path / f"{heat}.jsonl").append(
            [record(name, ms, heat=heat, seed=place) for name, ms in TIMES.items()]
        )
    stores = [str(tmp_path / f"{heat}.jsonl") for heat in ("h1", "h2")]
    assert run("--agree", *stores) == 0
    assert "No verdict flipped from faster to slower." in capsys.readouterr().out
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".png", ".svg", ".md"}
    assert run("--agree", stores[0], stores[0]) == 2
    assert "the two stores hold the same heats" in capsys.readouterr().err


def test_a_real_run_of_small_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """32 pixels and the fewest channels, through ONNX Runtime and XLA."""
    argv = ["resnet50", "mobileone_s0", "--small", "--runtimes", "onnxruntime,xla", "--seconds", "0.05"]
    assert bench.main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert {(row["runtime"], row["name"]) for row in table(tmp_path)} == {
        (runtime, name) for runtime in ("onnxruntime", "xla") for name in ("resnet50", "mobileone_s0")
    }
    assert "Small networks: these numbers say nothing." in (tmp_path / "out" / "bench.html").read_text()
    assert all(record.small for record in Store(tmp_path / "out" / "bench.jsonl").records)
