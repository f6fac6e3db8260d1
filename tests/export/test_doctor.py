"""The doctor: a verdict for every state of a machine, and nothing it examines can end it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export import doctor, doctor_checks, doctor_net, doctor_probe
from export._optional import available
from export.doctor_checks import FAILED, MISSING, OK, Check, Report, examine
from export.doctor_run import Prober

NO_GPU = "no NVIDIA driver on this machine"
ABOUT_ORT = {
    "versions": {"onnxruntime": "1"},
    "builds_engine": False,
    "why_not_build": None,
    "why_not_run": None,
}
ABOUT_RTX = {
    "versions": {"tensorrt_rtx": "1.7"},
    "builds_engine": True,
    "why_not_build": None,
    "why_not_run": NO_GPU,
}
RAN = {"parse": "ok", "build": "ok", "run": "ok", "build_seconds": 0.1, "error": 1e-7, "limit": 5e-5}
BUILT = {"parse": "ok", "build": "ok", "run": "not tried", "why_not": NO_GPU, "build_seconds": 0.1}
TYPES = {"fp16": {"Half": 4}, "bf16": {"BFloat16": 4}, "int8": {"Int8": 3}, "fp8": {"FP8": 3}}


def machine(**changed: Any) -> Any:
    """A probe of a machine with ONNX Runtime and TensorRT for RTX and no GPU. Keys of `changed` are
    arguments of the probe joined by "_"; values its answers."""

    def probe(*arguments: str) -> dict[str, Any]:
        key = "_".join(arguments)
        if key in changed:
            return changed[key]
        match arguments:
            case ("jax",):
                return {"backend": "cpu", "devices": ["cpu"]}
            case ("cuda",):
                return {"why_not": NO_GPU}
            case ("about", "onnxruntime"):
                return ABOUT_ORT
            case ("about", "tensorrt_rtx"):
                return ABOUT_RTX
            case ("about", "tensorrt"):
                return {"missing": "this needs the package tensorrt"}
            case ("try", "onnxruntime", _):
                return RAN
            case ("try", "tensorrt_rtx", precision):
                return {**BUILT, "types": TYPES.get(precision, {"Float": 5})}
        raise AssertionError(f"nobody asks for {arguments}")

    return probe


def line(report: Report, name: str) -> Check:
    (found,) = [check for check in report.checks if check.name == name]
    return found


def test_a_machine_without_a_gpu_is_well() -> None:
    said: list[str] = []
    report = examine(machine(), say=said.append)
    assert report.exit_status == 0 and "tensorrt_rtx builds engines" in report.verdict
    assert "cannot be run on this machine" in report.verdict
    assert said == [check.line() for check in report.checks] and all("\n" not in text for text in said)
    assert line(report, "tensorrt_rtx int8").status == OK
    assert line(report, "gpu") == Check(
        MISSING, "gpu", NO_GPU, "engines can be built for a GPU elsewhere, not run"
    )
    assert line(report, "runtime tensorrt").todo == "pip install 'hvjax[tensorrt]'"
    assert json.loads(doctor.as_json(report))["measured"]["onnxruntime"]["precisions"]["fp16"] == RAN


def test_quick_tries_two_precisions() -> None:
    report = examine(machine(), quick=True)
    assert list(report.measured["tensorrt_rtx"]["precisions"]) == ["fp32", "fp16"]


def test_a_machine_with_a_gpu() -> None:
    gpu = {"name": "A GPU", "compute_capability": "9.0", "memory_bytes": 80 * 2**30}
    changed = {
        "cuda": {"runtime": "13.0", "driver_supports": "13.1", "gpus": [gpu]},
        "about_tensorrt_rtx": {**ABOUT_RTX, "why_not_run": None},
        **{
            f"try_tensorrt_rtx_{p}": {**RAN, "types": TYPES.get(p, {"Float": 1})}
            for p in doctor_net.PRECISIONS
        },
    }
    report = examine(machine(**changed))
    assert report.exit_status == 0 and "tensorrt_rtx runs them here" in report.verdict
    assert "A GPU, compute capability 9.0, 80 GiB; CUDA 13.0" in line(report, "gpu").detail
    assert "off by 1.0e-07 (limit 5e-05)" in line(report, "tensorrt_rtx fp32").detail


@pytest.mark.parametrize(("capability", "status"), [("8.6", MISSING), ("8.9", FAILED)])
def test_a_gpu_older_than_fp8_is_not_at_fault(capability: str, status: str) -> None:
    gpu = {"name": "A GPU", "compute_capability": capability, "memory_bytes": 8 * 2**30}
    changed = {
        "cuda": {"runtime": "13.0", "driver_supports": "13.1", "gpus": [gpu]},
        "try_tensorrt_rtx_fp8": {"parse": "ok", "build": "no fp8_e4m3", "run": "not tried"},
    }
    found = line(examine(machine(**changed)), "tensorrt_rtx fp8")
    assert found.status == status
    assert (found.todo == "A GPU (8.6) has no fp8, which begins with 8.9: use --precision int8 or fp16") == (
        status == MISSING
    )


def test_onnx_only() -> None:
    report = examine(machine(about_tensorrt_rtx={"missing": "this needs"}))
    assert report.exit_status == 0 and "ONNX only" in report.verdict


@pytest.mark.parametrize(
    ("changed", "name", "said"),
    [
        ({"try_onnxruntime_fp32": {**RAN, "run": "off by 3"}}, "onnxruntime fp32", "no export can be gated"),
        ({"about_onnxruntime": {"missing": "m"}}, "runtime onnxruntime", "no export can be gated"),
        (
            {"try_tensorrt_rtx_fp32": {"crash": "signal SIGSEGV"}},
            "tensorrt_rtx fp32",
            "does not build and run",
        ),
        ({"try_tensorrt_rtx_fp32": {**BUILT, "run": "off by 3"}}, "tensorrt_rtx fp32", "does not build"),
        (
            {"about_tensorrt_rtx": {"crash": "signal SIGSEGV"}},
            "runtime tensorrt_rtx",
            "is installed and does not work",
        ),
    ],
)
def test_what_makes_it_fail(changed: dict[str, Any], name: str, said: str) -> None:
    report = examine(machine(**changed))
    assert report.exit_status == 1 and said in report.verdict
    assert line(report, name).status in (FAILED, MISSING) and line(report, name).todo


def test_a_precision_that_fails_is_a_line_not_the_end() -> None:
    answers: dict[str, Any] = {
        "try_tensorrt_rtx_int8": {"parse": "no Q/DQ", "build": "not tried", "run": "not tried"},
        "try_tensorrt_rtx_fp8": {"crash": "no answer within 30 seconds"},
        "try_tensorrt_rtx_bf16": {"skipped": "no time was left for it"},
        "try_tensorrt_rtx_fp16": {**BUILT, "types": {"Float": 5}},
        "try_onnxruntime_bf16": {"parse": "NOT_IMPLEMENTED", "build": "not tried", "run": "not tried"},
    }
    report = examine(machine(**answers))
    assert report.exit_status == 0
    told = {name: line(report, name) for name in (f"tensorrt_rtx {p}" for p in doctor_net.PRECISIONS)}
    assert told["tensorrt_rtx int8"].detail == "parses: no (no Q/DQ)"
    assert told["tensorrt_rtx fp8"].detail == "no answer within 30 seconds"
    assert told["tensorrt_rtx bf16"].status == MISSING
    assert "the engine is not in fp16" in told["tensorrt_rtx fp16"].detail
    assert [told[f"tensorrt_rtx {p}"].status for p in ("int8", "fp8", "fp16")] == [FAILED] * 3
    assert line(report, "onnxruntime bf16").status == MISSING


def script(code: str, **limits: Any) -> Prober:
    return Prober(command=(sys.executable, "-S", "-c", code), **limits)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("import sys; sys.exit('libnvinfer.so: not found')", "status 1: libnvinfer.so: not found"),
        ("print('chatter')", "status 0"),
    ],
)
def test_probes_that_end_badly(code: str, told: str) -> None:
    assert told in script(code)("about")["crash"]


def test_probes_that_hang_or_come_too_late() -> None:
    hanging = script("import time; time.sleep(60)", probe_seconds=0.3)
    assert hanging("cuda") == {"crash": "no answer within 0 seconds"}
    assert script("", all_seconds=-1.0)("cuda") == {"skipped": "no time was left for it"}


def test_what_libraries_print_is_not_taken_for_the_answer() -> None:
    code = f"print('{{}}'); print('{doctor_probe.MARK}{{\"a\": 1}}'); print('bye')"
    assert script(code)() == {"a": 1}


@pytest.mark.parametrize("precision", doctor_net.PRECISIONS)
def test_the_network_is_valid_onnx(precision: str) -> None:
    model = onnx.load_model_from_string(doctor_net.make(precision))
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_gate_knows_right_from_wrong(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In ONNX Runtime: right as it is; wrong with one of the 16 channels of a weight turned round."""
    found = doctor_probe.attempt("onnxruntime", precision)
    assert found["run"] == "ok" and found["error"] < found["limit"]
    answers, spoilt = doctor_net.answers(), doctor_net.weights()
    spoilt["conv2.kernel"][:, 3] *= -1
    monkeypatch.setattr(doctor_net, "weights", lambda: spoilt)
    monkeypatch.setattr(doctor_net, "answers", lambda: answers)
    assert "its answers are off by" in doctor_probe.attempt("onnxruntime", precision)["run"]


def test_an_answer_that_is_not_finite_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = doctor_net.weights()
    spoilt["head.bias"][0] = np.nan
    monkeypatch.setattr(doctor_net, "weights", lambda: spoilt)
    answers = {**doctor_net.answers(), "logits": np.ones((doctor_net.BATCH, doctor_net.CLASSES))}
    monkeypatch.setattr(doctor_net, "answers", lambda: answers)
    found = doctor_probe.attempt("onnxruntime", "fp32")
    assert "off by nan" in found["run"] and found["error"] is None


@pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
def test_real_probes() -> None:
    probe = Prober()
    assert probe("about", "tensorrt_rtx")["builds_engine"] is True
    assert {"why_not", "gpus"} & set(probe("cuda"))
    answer = probe("try", "tensorrt_rtx", "fp8")
    assert answer["build"] == "ok" and answer["types"]["FP8"] > 0
    assert "missing" in probe("about", "tensorrt") or "versions" in probe("about", "tensorrt")


def test_mistakes_are_one_line(capsys: Any, tmp_path: Path) -> None:
    for arguments, said in (
        (["--quik"], "did you mean --quick"),
        (["next_vit_s"], "takes no model"),
        (["--out", str(tmp_path)], "expected a file"),
        (["--out", str(tmp_path / "no" / "file")], "in a folder that exists"),
    ):
        assert doctor.main(arguments) == 2
        shown = capsys.readouterr()
        assert said in shown.err and shown.err.count("\n") == 1 and not shown.out


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_command_prints_and_writes_the_same(
    flags: list[str], capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "Prober", machine)
    out = tmp_path / "report.txt"
    assert doctor.main([*flags, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert out.read_text() == shown
    if flags:
        assert json.loads(shown)["exit_status"] == 0
    else:
        assert {text.split()[0] for text in shown.splitlines() if text} <= {"ok", "ok:", "missing"}


def test_packages_that_are_not_installed() -> None:
    assert doctor_checks._package("no-such-package", "export") == Check(
        MISSING, "no-such-package", "not installed", "pip install 'hvjax[export]'"
    )


def test_a_runtime_says_what_else_it_takes() -> None:
    from export.doctor_probe import about

    told = {**ABOUT_RTX, "why_not_run": None, "options": ["--refit", "--strip-weights"]}
    assert any(
        "builds and runs engines; takes --refit, --strip-weights" in check.detail
        for check in examine(machine(about_tensorrt_rtx=told)).checks
    )
    found = about("onnxruntime")
    assert found["providers"][0] == "cpu" and found["options"] == []
