"""Twins in PyTorch: with a program that pretends to have it, and, where there is one, with the real one."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from lab_subjects import NoFiles, scaled

from export._optional import MissingExtra
from export.lab.rounds import Sample
from export.lab.runtimes import make, twins
from export.lab.setting import Setting
from export.lab.subject import network

FILES: Any = NoFiles()
#: A Python with torch and timm, for the tests of the real program.
TORCH_PYTHON = os.environ.get("HVJAX_TORCH_PYTHON", "")

PRETENDS = """
import json, sys
import onnx
DEVICE, LOG = sys.argv[1:]
for line in sys.stdin:
    question = json.loads(line)
    with open(LOG, "a") as log:
        log.write(line)
    do = question["do"]
    if do == "about":
        answer = {"versions": {"torch": "9.9", "timm": "8.8"}, "device": DEVICE, "exports": True}
    elif do == "prepare":
        answer = {"clock": "perf_counter", "memory": {"weights": 12}}
    elif do == "sample":
        answer = [[1.5, False], [2.5, True]][: question["count"]]
    elif do == "write":
        tensor = onnx.helper.make_tensor_value_info
        shape = [question["batch"], question["shape"][2], *question["shape"][:2]]
        entry, end = tensor("images", 1, shape), tensor("logits", 1, shape)
        node = onnx.helper.make_node("Neg", ["images"], ["logits"])
        graph = onnx.helper.make_graph([node], "twin", [entry], [end])
        opset = [onnx.helper.make_opsetid("", 20)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), question["file"])
        answer = {}
    else:
        answer = {}
    print(json.dumps({"ok": answer}), flush=True)
"""


class Pretence:
    def __init__(self, folder: Path) -> None:
        self.script, self.log = folder / "pretends.py", folder / "log"
        self.script.write_text(PRETENDS)

    def runtime(self, name: str, device: str = "cpu") -> twins.Twins:
        command = (sys.executable, str(self.script), device, str(self.log))
        return twins.Twins(name, command, twins._about(command))

    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def pretence(tmp_path: Path) -> Pretence:
    return Pretence(tmp_path)


def test_a_twin_is_prepared_sampled_and_closed(pretence: Pretence) -> None:
    runtime = pretence.runtime("torch_compile")
    subject = network("fastvit_t8", image_size=64)
    ready = runtime.prepare(subject, Setting(batch=8, threads=2), FILES)
    assert ready.sample(2) == [Sample(1.5), Sample(2.5, True)]
    ready.reopen()
    assert (ready.clock, ready.memory) == ("perf_counter", {"weights": 12})
    ready.close()
    assert runtime.versions() == {"torch": "9.9", "timm": "8.8"}
    about, prepared, sampled, reopened = pretence.asked()
    assert (about, sampled, reopened) == ({"do": "about"}, {"do": "sample", "count": 2}, {"do": "reopen"})
    assert prepared == {
        "do": "prepare",
        "model": "fastvit_t8",
        "shape": [64, 64, 3],
        "batch": 8,
        "precision": "fp32",
        "threads": 2,
        "fuse": True,
        "compile": True,
        "cuda_graph": False,
        "transfers": False,
    }


def test_the_questions_are_those_that_the_real_program_takes(pretence: Pretence) -> None:
    """Its methods are its questions; they are read, as it needs torch to run."""
    tree = ast.parse(twins.SCRIPT.read_text())
    (program,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Program")
    takes = {
        n.name: {a.arg for a in n.args.args} - {"self"}
        for n in program.body
        if isinstance(n, ast.FunctionDef)
    }
    subject = network("resnet50", image_size=64, deploy=False)
    ready = pretence.runtime("torch").prepare(subject, Setting(), FILES)
    ready.sample()
    ready.reopen()
    ready.close()
    pretence.runtime("torch_onnx").prepare(subject, Setting(), FILES).close()
    asked = {question.pop("do"): set(question) for question in pretence.asked()}
    assert asked.keys() == {"about", "prepare", "write", "sample", "reopen"}
    assert all(takes[do] == arguments for do, arguments in asked.items())


def test_the_exported_twin_runs_in_onnxruntime(pretence: Pretence) -> None:
    runtime = pretence.runtime("torch_onnx")
    assert "onnxruntime" in runtime.versions() and runtime.why_not(Setting()) is None
    ready = runtime.prepare(network("resnet50", image_size=64), Setting(batch=2), FILES)
    assert ready.sample()[0].ms > 0 and ready.memory["file"] > 0
    ready.close()


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (lambda: scaled(), "no model of the registry"),
        (lambda: network("trt_vit_a"), "timm has no twin of trt_vit_a"),
        (lambda: network("resnet50", num_classes=7), "the published network, without num_classes"),
        (lambda: network("resnet50", backbone=True), "the whole classifier"),
        (lambda: network("resnet50", image_size=64), None),
    ],
)
def test_what_has_no_twin_is_refused(pretence: Pretence, subject: Any, reason: str | None) -> None:
    why = pretence.runtime("torch").refuses(subject(), Setting())
    assert why is None if reason is None else why is not None and reason in why


def test_settings_that_it_has_not(pretence: Pretence) -> None:
    cpu, gpu = pretence.runtime("torch"), pretence.runtime("torch", "gpu")
    assert "float32 on a CPU" in str(cpu.why_not(Setting(precision="fp16")))
    assert "no CUDA graph" in str(cpu.why_not(Setting(cuda_graph=True)))
    assert gpu.why_not(Setting(precision="bf16", transfers=True)) is None
    assert "kernel by kernel" in str(gpu.why_not(Setting(cuda_graph=True)))
    assert pretence.runtime("torch_compile", "gpu").why_not(Setting(cuda_graph=True)) is None


def test_a_program_without_torch_is_a_missing_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"^torch: .*/no_python: No such file or directory$"):
        make("torch", torch_python=tmp_path / "no_python")


def test_this_interpreter_without_torch_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "available", lambda module: module != "timm")
    with pytest.raises(MissingExtra, match=r"pip install torch timm, or name a Python .* --torch-python"):
        make("torch_onnx")


@pytest.mark.skipif(not TORCH_PYTHON, reason="HVJAX_TORCH_PYTHON names no Python with torch and timm")
@pytest.mark.parametrize("name", ["torch", "torch_onnx"])
def test_the_real_twin(name: str) -> None:
    runtime = make(name, torch_python=Path(TORCH_PYTHON))
    subject = network("fastvit_t8", image_size=64)
    ready = runtime.prepare(subject, Setting(), FILES)
    assert len(ready.sample(2)) == 2
    ready.reopen()
    assert ready.sample()[0].ms > 0
    assert ready.memory["weights" if name == "torch" else "file"] > 4 * 1e6
    ready.close()
