"""The script that measures everything on a GPU: what it runs, in which order, and how it goes on."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from export.arguments import UsageError
from export.lab import bench_flags
from export.lab.options import NothingRuns, parse
from export.runtimes import BuildError

#: Seconds of a call that has time for everything.
LONG = 600.0


@pytest.fixture
def gpu_lab(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))
    return importlib.import_module("gpu_lab")


def arguments(out: Path, seconds: float = LONG, **more: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"out": out, "seconds": seconds, "torch_python": None, "again": False, "small": False} | more
    )


def parts(gpu_lab: Any, **scripts: str) -> list[Any]:
    """Programs that write down that they ran, beside their --out."""
    note = "import sys; out = sys.argv[-1]; open(out + '.ran', 'a').write('x'); "
    return [gpu_lab.Part(name, ("-c", note + script)) for name, script in scripts.items()]


def ran(out: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text()) for path in sorted(out.glob("*.ran"))}


def now() -> dict[str, Any]:
    return {"gpu": {"clock_mhz": 1980}}


def test_without_a_gpu_it_says_so_and_ends_well(gpu_lab: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(gpu_lab, "why_no_gpu", lambda: "no NVIDIA GPU")
    assert gpu_lab.main([]) == 0
    assert capsys.readouterr().out == "nothing to measure: no NVIDIA GPU\n"


def test_what_runs_here_is_found_in_another_process(gpu_lab: Any, capsys: Any) -> None:
    found = gpu_lab.usable()
    said = capsys.readouterr().out.splitlines()
    assert len(found) + len(said) == len(gpu_lab.RUNTIMES)
    assert all(line.startswith("left out: ") for line in said)


def test_a_runtime_that_builds_and_does_not_load_is_left_out(gpu_lab: Any, monkeypatch: Any) -> None:
    class Loads:
        name, device = "tensorrt_rtx", "gpu"
        fails = True

        def why_not(self, setting: Any) -> None:
            assert setting.precision == "fp16"

        def prepare(self, subject: Any, setting: Any, files: Any) -> Any:
            if self.fails:
                raise BuildError("does not load the engine on this GPU\nsecond line")
            return self

        def sample(self) -> None: ...

        def close(self) -> None: ...

    runtime = Loads()
    monkeypatch.setattr(gpu_lab, "make", lambda name: runtime)
    assert gpu_lab.why_not("tensorrt_rtx") == "does not load the engine on this GPU"
    runtime.fails = False
    assert gpu_lab.why_not("tensorrt_rtx") is None
    runtime.device = "cpu"
    assert gpu_lab.why_not("tensorrt_rtx") == "it has no GPU here"


def test_a_trial_that_crashes_or_hangs_takes_no_other_with_it(
    gpu_lab: Any, monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nname = sys.argv[-1]\n"
        "if name == 'crashes': os.abort()\n"
        "if name == 'hangs': time.sleep(600)\n"
        "print('noise', flush=True)\nprint('null' if name == 'runs' else '\"no GPU\"')\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(gpu_lab.sys, "executable", str(program))
    monkeypatch.setattr(gpu_lab, "RUNTIMES", ("runs", "crashes", "cannot"))
    assert gpu_lab.usable() == ["runs"]
    said = capsys.readouterr().out
    assert said == "left out: crashes: its trial crashed\nleft out: cannot: no GPU\n"
    monkeypatch.setattr(gpu_lab, "RUNTIMES", ("hangs",))
    monkeypatch.setattr(gpu_lab, "TRIAL", 0.1)
    assert gpu_lab.usable() == []
    assert capsys.readouterr().out == "left out: hangs: its trial took longer than 0 s\n"


def test_the_studies_come_first_on_the_best_runtime(gpu_lab: Any) -> None:
    names = [part.name for part in gpu_lab.planned(["tensorrt_rtx", "xla"])]
    assert names[0] == "t4_table-tensorrt_rtx"
    assert names.index("hybrid_strategy-tensorrt_rtx") < names.index("t4_table-xla")
    assert "profile-next_vit_s-xla" in names and "profile-roofline-tensorrt_rtx" in names
    assert not any("profile" in part.name for part in gpu_lab.planned(["onnxruntime_cuda"]))


def test_what_is_done_is_not_done_again(gpu_lab: Any, tmp_path: Path) -> None:
    three = parts(gpu_lab, a="print('measured')", b="print('no CUDA kernel'); sys.exit(1)", c="")
    assert gpu_lab.run_all(three[:2], arguments(tmp_path), conditions_now=now) == 1
    assert gpu_lab.run_all(three, arguments(tmp_path), conditions_now=now) == 1
    assert ran(tmp_path) == {"a": 1, "b": 1, "c": 1}
    state = json.loads((tmp_path / "state.json").read_text())
    assert {name: entry["status"] for name, entry in state.items()} == {"a": 0, "b": 1, "c": 0}
    assert state["b"]["said"] == ["no CUDA kernel"]
    assert (
        state["a"]["command"].startswith("python -c ") and f"--out {tmp_path / 'a'}" in state["a"]["command"]
    )
    assert state["a"]["conditions"] == [{"before": now(), "after": now()}]
    assert "measured" in (tmp_path / "logs" / "a.txt").read_text()
    assert gpu_lab.run_all(three, arguments(tmp_path, again=True), conditions_now=now) == 1
    assert ran(tmp_path) == {"a": 2, "b": 2, "c": 2}


def test_a_part_that_was_interrupted_goes_on_first(
    gpu_lab: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    outcomes = iter([(0, ["done"]), (None, ["interrupted"]), (0, []), (0, [])])
    asked: list[str] = []

    def run(command: list[str], log: Path, seconds: float) -> Any:
        asked.append(Path(command[-1]).name)
        times[0] += 200.0
        return next(outcomes)

    times = [0.0]
    monkeypatch.setattr(gpu_lab, "run", run)
    three = parts(gpu_lab, a="", b="", c="")
    call = {"clock": lambda: times[0], "conditions_now": now}
    assert gpu_lab.run_all(three, arguments(tmp_path, 400 + gpu_lab.LEAST - 1), **call) == gpu_lab.TIME_IS_UP
    assert "goes on with b, c" in capsys.readouterr().out
    assert gpu_lab.run_all(three, arguments(tmp_path), **call) == 0
    assert asked == ["a", "b", "b", "c"]
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["b"]["seconds"] == 400 and len(state["b"]["conditions"]) == 2


def test_a_part_beyond_its_time_is_ended(gpu_lab: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu_lab, "FAREWELL", 0.1)
    for script in ("import time; time.sleep(600)",
                   "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(600)"):  # fmt: skip
        status, _ = gpu_lab.run([sys.executable, "-c", script], tmp_path / "log", seconds=0.1)
        assert status is None


def test_a_mistake_names_the_parts(gpu_lab: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(gpu_lab, "why_no_gpu", lambda: None)
    monkeypatch.setattr(gpu_lab, "usable", lambda: ["xla"])
    with pytest.raises(SystemExit, match="2"):
        gpu_lab.main(["--only", "t5_table"])
    assert "--only t5_table: expected some of t4_table-xla," in capsys.readouterr().err


def test_parts_have_names_of_their_own(gpu_lab: Any) -> None:
    names = [part.name for part in gpu_lab.planned(gpu_lab.RUNTIMES)]
    assert len(set(names)) == len(names)
    assert not any(set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_-") for name in names), "files"


def test_the_command_of_a_part(gpu_lab: Any, tmp_path: Path) -> None:
    part = gpu_lab.Part("new", ("-m", "x", "--store", "OUT/y.jsonl"), "folder", ("--tiny",), torch=True)
    asked = arguments(tmp_path, torch_python="other/python")
    wanted = ["-m", "x", "--store", f"{tmp_path}/y.jsonl", "--torch-python", "other/python", "--out"]
    assert gpu_lab.command(part, asked) == [sys.executable, *wanted, f"{tmp_path}/folder"]
    more = gpu_lab.command(part, arguments(tmp_path, torch_python="x", small=True, again=True))
    assert {"--tiny", "--retry"} <= set(more)


@pytest.mark.parametrize("extra", [{}, {"small": True, "again": True}])
def test_every_command_takes_its_flags(gpu_lab: Any, tmp_path: Path, extra: dict[str, bool]) -> None:
    for part in gpu_lab.planned(gpu_lab.RUNTIMES):
        _, *script = gpu_lab.command(part, arguments(tmp_path, torch_python=__file__, **extra))
        if script[0] == "tests/benchmarks/dense_exports.py":
            assert importlib.import_module("dense_exports").parse(script[1:]).out == tmp_path / part.name
            continue
        _, module, *flags = script
        assert importlib.util.find_spec(module) is not None
        try:
            if module == "export.profile":
                importlib.import_module(module)._parser().parse_known(flags)
            elif module == "export.bench":
                bench_flags.parse(flags)
            elif module == "export.studies.pareto":
                assert flags[:2] == ["--stored", "--store"] and flags[2].endswith("bench.jsonl")
            else:
                parse("study", "", flags, default_out="x")
        except NothingRuns:
            pass  # no GPU here
        except UsageError as error:
            pytest.fail(f"{part.name}: {error}")
