"""A made-up study as a command: flags, what is left out, resuming, files, exit status."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_lab import MadeUpRuntime, subject

from export._optional import MissingExtra
from export.lab import study as command
from export.lab.claim import Claim
from export.lab.store import Store
from export.lab.study import Measured, Options, Plan, Study, main

TIMES = {"slow": 4.0, "fast": 1.0, "other": 2.0}
Run = Callable[..., int]


def plans(options: Options) -> Sequence[Plan]:
    claims = [
        Claim("fast is faster than slow", "a paper", "fast", "slow", published=0.5),
        Claim("slow is faster than fast", "a paper", "slow", "fast"),
        Claim("fast is faster than absent", "a paper", "fast", "absent"),
    ]
    both = Claim("half is faster", "a paper", "slow fp16", "slow fp32", published=0.6)
    return [
        Plan("first", [subject("slow"), subject("fast")], batch=options.batch or 8, claims=claims),
        Plan(
            "second", [subject("slow"), subject("other")], mixed=True, claims=[both], reference="other fp32"
        ),
    ]


def draw(figure: object, measured: Sequence[Measured]) -> None:
    axes = figure.subplots()  # type: ignore[attr-defined]
    names = [name for one in measured for name in one.heat]
    axes.barh(range(len(names)), [one.heat[name].summary().typical for one in measured for name in one.heat])


STUDY = Study(
    "made_up",
    "Fast against slow",
    "a paper, table 1",
    plans,
    draw,
    lambda measured: f"There were {sum(len(one.heat.records) for one in measured)} of them.",
    lambda one, name: {"length": len(name)},
)


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> dict[str, MadeUpRuntime]:
    """Two that run here; the others are not installed."""
    here = {
        "onnxruntime": MadeUpRuntime(TIMES),
        "xla": MadeUpRuntime(TIMES, name="xla", precisions=("fp32", "fp16")),
    }

    def make(name: str, *, torch_python: Path | None = None) -> MadeUpRuntime:
        if name not in here:
            raise MissingExtra(f"{name} is not installed: pip install it")
        return here[name]

    monkeypatch.setattr("export.lab.options.make", make)
    return here


@pytest.fixture
def run(tmp_path: Path, runtimes: dict[str, MadeUpRuntime]) -> Run:
    def call(*argv: str, study: Study = STUDY) -> int:
        return main(study, ["--out", str(tmp_path / "out"), "--seconds", "0.02", *argv])

    return call


def out(tmp_path: Path, ending: str) -> Path:
    return tmp_path / "out" / f"made_up{ending}"


def rows(tmp_path: Path) -> list[dict[str, str]]:
    with out(tmp_path, ".csv").open() as file:
        return list(csv.DictReader(file))


def test_all_files_are_written(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr()
    written = [Path(line).name.removeprefix("made_up") for line in said.out.splitlines()]
    assert sorted(written) == [".claims.csv", ".csv", ".md", ".png", ".svg"]
    with out(tmp_path, ".claims.csv").open() as file:
        claims = list(csv.DictReader(file))
    assert len(claims) == 3 * 3 + 2
    assert (claims[0]["claim"], claims[0]["published"]) == ("fast is faster than slow", "0.5")
    assert (claims[0]["outcome"], claims[2]["outcome"]) == ("reproduced", "not measured")
    assert "left out: tensorrt: tensorrt is not installed: pip install it\n" in said.err
    assert out(tmp_path, ".png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in out(tmp_path, ".svg").read_bytes()
    found = {(one["runtime"], one["plan"], one["precision"], one["name"]): one for one in rows(tmp_path)}
    assert len(found) == 2 + 2 + 2 * 2 + 4
    fast = found["xla", "first", "fp16", "fast"]
    assert fast["reference"] == "slow" and fast["verdict"] == "faster" and fast["length"] == "4"
    assert float(fast["ratio"]) == pytest.approx(0.25, rel=0.05)
    assert found["xla", "second", "fp16", "slow fp16"]["reference"] == "other fp32"
    assert len(Store(out(tmp_path, ".jsonl")).records) == len(found)


def test_the_page_tells_every_claim(run: Run, tmp_path: Path) -> None:
    run()
    page = out(tmp_path, ".md").read_text()
    assert page.startswith("# Fast against slow\n\nSource: a paper, table 1.")
    assert "There were 12 of them." in page
    claims = [line.split(" | ") for line in page.splitlines() if " | a paper | " in line]
    outcomes = {(line[0].strip("| "), line[2]): line[-1].strip(" |") for line in claims}
    assert outcomes["fast is faster than slow", "xla, fp16, batch 8"] == "reproduced"
    assert outcomes["slow is faster than fast", "onnxruntime, fp32, batch 8"] == "not reproduced"
    assert outcomes["fast is faster than absent", "onnxruntime, fp32, batch 8"] == "not measured"
    assert outcomes["half is faster", "xla, fp16, batch 1"] == "reproduced"
    assert outcomes["half is faster", "onnxruntime, fp32, batch 1"] == "not measured"
    assert "## Not measured" not in page


def test_what_is_known_is_not_measured_again(
    run: Run, runtimes: dict[str, MadeUpRuntime], tmp_path: Path
) -> None:
    assert run("--runtimes", "onnxruntime") == 0
    store, first = out(tmp_path, ".jsonl").read_bytes(), rows(tmp_path)
    assert run("--runtimes", "onnxruntime") == 0
    assert len(runtimes["onnxruntime"].prepared) == 4
    assert out(tmp_path, ".jsonl").read_bytes() == store
    assert rows(tmp_path) == first
    assert run() == 0  # goes on with the other runtime
    assert len(runtimes["onnxruntime"].prepared) == 4 and runtimes["xla"].prepared


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_study_goes_on(
    signum: int,
    status: int,
    run: Run,
    runtimes: dict[str, MadeUpRuntime],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runtime = runtimes["onnxruntime"]
    runtime.before = lambda name: os.kill(os.getpid(), signum) if name == "other" else None
    assert run("--runtimes", "onnxruntime") == status
    assert capsys.readouterr().err.endswith(
        "made_up: interrupted; the same command goes on where this stopped\n"
    )
    assert not out(tmp_path, ".csv").exists()
    runtime.before = lambda name: None
    runtime.prepared.clear()
    assert run("--runtimes", "onnxruntime") == 0
    assert sorted(runtime.prepared) == ["other fp32", "slow fp32"]  # of the second heat
    assert len(rows(tmp_path)) == 4


def test_what_cannot_be_measured_is_said(
    run: Run, runtimes: dict[str, MadeUpRuntime], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtimes["onnxruntime"].times = {"slow": 4.0, "other": 2.0}
    assert run("--runtimes", "onnxruntime") == 1
    assert "not measured: onnxruntime, first: fast: fast does not build\n" in capsys.readouterr().err
    page = out(tmp_path, ".md").read_text()
    assert "## Not measured\n\n- onnxruntime, first: fast: fast does not build\n" in page
    assert (
        "| fast is faster than slow | a paper | onnxruntime, fp32, batch 8 | 0.5 |  | not measured |" in page
    )


def test_what_could_not_be_measured_is_tried_again_when_asked(
    run: Run, runtimes: dict[str, MadeUpRuntime], tmp_path: Path
) -> None:
    runtime = runtimes["onnxruntime"]
    runtime.times = {"slow": 4.0, "other": 2.0}
    assert run("--runtimes", "onnxruntime") == 1
    runtime.times = TIMES
    runtime.prepared.clear()
    assert run("--runtimes", "onnxruntime") == 1  # remembered
    assert runtime.prepared == []
    assert run("--runtimes", "onnxruntime", "--retry") == 0
    assert runtime.prepared == ["slow fp32", "fast fp32"]  # of that heat only
    assert len(rows(tmp_path)) == 4
    assert run("--runtimes", "onnxruntime") == 0  # the newer heat counts


def test_where_nothing_is_measured_nothing_is_written(
    run: Run, runtimes: dict[str, MadeUpRuntime], tmp_path: Path
) -> None:
    runtimes["onnxruntime"].times = {}
    assert run("--runtimes", "onnxruntime") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--colour"], "unknown flag --colour"),
        (["--runtime", "xla"], "did you mean --runtimes"),
        (["here"], "unexpected argument 'here'"),
        (["--runtimes", "onyx"], "--runtimes onyx: "),
        (["--precisions", "fp8"], "--precisions fp8: "),
        (["--batch", "0"], "--batch: '0'"),
        (["--seconds", "nan"], "--seconds: 'nan'"),
        (["--seconds", "-1"], "--seconds"),
        (["--threads", "many"], "--threads: 'many'"),
        (["--only", "frist"], "--only frist: did you mean first?"),
        (["--torch-python", "/no/such/python"], "--torch-python /no/such/python: no such file"),
        (["--redraw", "--out", "/no/such/folder"], "holds no records"),
    ],
)
def test_a_mistake_is_one_line(
    argv: list[str], message: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("left out: ")]
    assert len(lines) == 1
    assert lines[0].startswith("made_up: ") and message in lines[0]


def test_a_value_the_study_refuses_is_a_mistake(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def refuses(options: Options) -> Sequence[Plan]:
        raise ValueError("batch 3 is odd")

    assert run(study=replace(STUDY, plans=refuses)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "made_up: error: batch 3 is odd"


def test_a_runtime_that_was_asked_for_must_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--runtimes", "onnxruntime,tensorrt") == 1
    assert capsys.readouterr().err == "made_up: tensorrt: tensorrt is not installed: pip install it\n"
    assert run("--runtimes", "onnxruntime", "--precisions", "fp16") == 1
    assert capsys.readouterr().err == "made_up: onnxruntime: no fp16 here\n"


def test_a_precision_that_was_asked_for_and_is_left_out_is_told(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--runtimes", "onnxruntime", "--precisions", "fp32,fp16") == 0
    assert "left out: onnxruntime in fp16: no fp16 here\n" in capsys.readouterr().err


def test_without_any_runtime_it_is_an_error(
    run: Run, runtimes: dict[str, MadeUpRuntime], capsys: pytest.CaptureFixture[str]
) -> None:
    runtimes.clear()
    assert run() == 1
    assert capsys.readouterr().err.endswith("made_up: no runtime can run here\n")


def test_only_the_wanted_plan(run: Run, tmp_path: Path) -> None:
    assert run("--only", "second", "--runtimes", "onnxruntime") == 0
    assert {one["plan"] for one in rows(tmp_path)} == {"second"}


def test_flags_reach_the_setting(run: Run, tmp_path: Path) -> None:
    assert run("--batch", "3", "--threads", "2", "--cuda-graph", "--only", "first") == 0
    setting = Store(out(tmp_path, ".jsonl")).records[0].setting
    assert setting["batch"] == 3 and setting["threads"] == 2
    assert setting["cuda_graph"] is False  # a CPU has none


def test_small_networks_are_marked(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--small", "--runtimes", "onnxruntime") == 0
    assert "**Small networks: these numbers say nothing.**" in out(tmp_path, ".md").read_text()
    capsys.readouterr()
    assert run("--runtimes", "onnxruntime") == 2  # not beside full ones
    assert "holds records of --small networks: choose another --out" in capsys.readouterr().err


def test_others_files_are_not_touched(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out(tmp_path, ".csv").parent.mkdir()
    out(tmp_path, ".csv").write_text("mine")
    assert run() == 2
    assert "holds made_up.csv without made_up.jsonl: choose another --out" in capsys.readouterr().err
    assert out(tmp_path, ".csv").read_text() == "mine"


def test_records_of_another_study_are_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--runtimes", "onnxruntime")
    out(tmp_path, ".jsonl").rename(tmp_path / "out" / "another.jsonl")
    capsys.readouterr()
    assert run(study=replace(STUDY, name="another")) == 2
    assert "another.jsonl holds records of made_up: choose another --out" in capsys.readouterr().err


def test_a_damaged_store_is_refused_and_a_cut_one_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--runtimes", "onnxruntime")
    store = out(tmp_path, ".jsonl")
    whole = store.read_bytes()
    store.write_bytes(b"damage\n" + whole)
    capsys.readouterr()
    assert run() == 2
    assert "made_up.jsonl, line 1: not a record of the lab" in capsys.readouterr().err
    store.write_bytes(whole[:-30])
    assert run("--runtimes", "onnxruntime") == 0
    assert "made_up.jsonl, line 4 ends in the middle: left out" in capsys.readouterr().err
    assert len(rows(tmp_path)) == 4  # the heat that it cut was measured again


def test_a_file_is_no_folder(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert run() == 2
    assert "not a folder" in capsys.readouterr().err


def test_records_are_drawn_again_where_nothing_runs(
    run: Run, runtimes: dict[str, MadeUpRuntime], tmp_path: Path
) -> None:
    assert run() == 0
    first, picture = rows(tmp_path), out(tmp_path, ".png").read_bytes()
    page = out(tmp_path, ".md").read_text()
    out(tmp_path, ".csv").unlink()
    runtimes.clear()
    assert run("--redraw") == 0
    assert rows(tmp_path) == first
    assert out(tmp_path, ".png").read_bytes() == picture
    assert out(tmp_path, ".md").read_text() == page


def test_a_study_may_measure_itself(run: Run, tmp_path: Path) -> None:
    def measure(lab: command.Lab, options: Options, bar: command.Bar) -> list[Measured]:
        return [
            one
            for runtime in options.runtimes
            for one in command.measure_plan(plans(options)[0], lab, runtime, options, bar)
        ]

    assert run("--precisions", "fp32", study=replace(STUDY, measure=measure)) == 0
    assert {one["plan"] for one in rows(tmp_path)} == {"first"}


def test_what_is_not_measured_yet_is_left_out_of_a_redrawn_page(run: Run, tmp_path: Path) -> None:
    """A study that measures itself asks for all of its heats, also for those that the store lacks."""

    def measure(lab: command.Lab, options: Options, bar: command.Bar) -> list[Measured]:
        return [
            one
            for plan in plans(options)
            if not options.only or plan.key in options.only
            for runtime in options.runtimes
            for one in command.measure_plan(plan, lab, runtime, options, bar)
        ]

    own = replace(STUDY, measure=measure)
    assert run("--only", "first", study=own) == 0
    first = rows(tmp_path)
    assert run("--redraw", study=own) == 1  # and says what is missing
    assert rows(tmp_path) == first
