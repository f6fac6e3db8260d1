"""Detectors in half precision and with TF32: a small one that has learnt two drawn scenes, exported."""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest
from PIL import Image
from taught_detector import NAME, SCENES, SIDES, SIZE, THINGS, WEIGHTS, scenes

import hvjax
from export import graph, score, to_onnx, to_trt
from export._optional import available
from export.answers import DEPLOY_FORM
from export.batch import BatchRange
from export.command import Subject, prepare
from export.detections import limits
from export.flags import Request, parse
from export.gate import EMULATED, gate_engine
from export.load import load_source
from export.parity import Comparison
from export.precision.islands import half_nodes
from export.precision.task import Task, rounding_copy
from export.precision.tf32_gate import gate_tf32, tf32_copy
from export.runtimes.onnxruntime import OnnxSession
from export.steps import HEADS, Steps, limit_of

BATCH = BatchRange(SCENES, SCENES, SCENES)
#: What rounding to 11 bits may change of the average precision on two scenes with 25 objects. On 128 scenes,
#: next_vit_s+mask_rcnn of the recipe's fallback, trained for 500 steps, changes by 0.0001.
SAME_AP = 0.01
#: Of two correct evaluations in float32, of a step's largest value; seen: 1e-6.
FLOAT32 = 1e-4
#: Operators that reorder numbers or read them: of the heads' features they may be in half precision outside
#: of any module, since RoIAlign is a function.
COPYING = {"Cast", "Concat", "GatherND", "Gather", "Reshape", "Transpose"}
BUILDS = available("tensorrt_rtx_bindings")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags: the detector, and as images of the gate the scenes that it knows."""
    folder = tmp_path_factory.mktemp("taught")
    shutil.copy(WEIGHTS, folder / "weights.safetensors")
    run = {"model": NAME, "num_classes": THINGS, "image_size": [SIZE, SIZE], "eval_resize": SIDES}
    (folder / "model.json").write_text(json.dumps(run))
    images = folder / "scenes"
    images.mkdir()
    for index, pixels in enumerate(scenes()["image"]):
        Image.fromarray(pixels).save(images / f"{index}.png")
    shared = ["--via", "stablehlo", "--image-size", str(SIZE), "--batch", str(SCENES)]
    shared += ["--images", str(images), "--gate-images", str(SCENES)]
    return ["--ckpt", str(folder / "weights.safetensors"), *shared]


@dataclasses.dataclass(frozen=True)
class Taught:
    """What JAX answers, and the file in every precision."""

    request: Request
    subject: Subject

    @cache  # noqa: B019  one object a module
    def file(self, precision: str) -> bytes:
        request = dataclasses.replace(self.request, precision=precision)
        source = load_source(request.ckpt)
        return graph.to_onnx_bytes(request, source, self.subject.deploy, self.subject.variables, (SIZE, SIZE))

    def gated(self, precision: str, model: bytes) -> tuple[Comparison, ...]:
        """Lines of a copy that rounds, in TF32 too."""
        answers, images = self.subject.reference, self.subject.inputs
        if precision == "tf32":
            named = answers.named("scores")
            given: dict[str, Any] = {"batch": BATCH, "limit": 0.0, "detector": answers, "trained": True}
            return tuple(gate_tf32(tf32_copy(model), images, named, **given))
        task = Task(precision, True, BATCH, images, answers, "scores")
        lines = task.gate(rounding_copy(model), EMULATED).comparisons
        return tuple(line for line in lines if line.candidate == EMULATED)

    def steps(self) -> Steps:
        return Steps(self.subject.inputs, self.subject.reference)

    def __hash__(self) -> int:
        return id(self)


@pytest.fixture(scope="module")
def taught(given: list[str]) -> Taught:
    request = parse("to_onnx", [*given, "--out", "nowhere"])
    return Taught(request, prepare(request, load_source(request.ckpt), (SIZE, SIZE)))


def _spoilt(file: bytes, kernel: str) -> bytes:
    """The file with one kernel 10 % off."""
    model = onnx.load_model_from_string(file)
    (victim,) = [tensor for tensor in model.graph.initializer if tensor.name == kernel]
    weights = onnx.numpy_helper.to_array(victim)
    scaled = (weights.astype(np.float32) * np.float32(1.1)).astype(weights.dtype)
    victim.CopyFrom(onnx.numpy_helper.from_array(scaled, victim.name))
    return model.SerializeToString()


def _failed(lines: Any) -> set[str]:
    return {line.output.rstrip("12345") for line in lines if not line.passed}


def test_float16_from_the_command_line(given: list[str], tmp_path: Path, capsys: Any) -> None:
    """With an activation that float16 cannot hold, which the next layer undoes: an island is found."""
    ckpt = tmp_path / "overflowing.safetensors"
    model, variables = hvjax.load_weights(given[1])
    variables = jax.tree.map(np.array, variables)
    head = variables["params"]["box_head"]
    for leaf in head["fc1"]:
        head["fc1"][leaf] = head["fc1"][leaf] * np.float32(1e6)
    head["fc2"]["kernel"] = head["fc2"]["kernel"] / np.float32(1e6)
    hvjax.save_weights(ckpt, variables, model)
    shutil.copy(Path(given[1]).with_name("model.json"), tmp_path)
    flags = ["--ckpt", str(ckpt), *given[2:], "--precision", "fp16", "--out", str(tmp_path / "out")]
    if BUILDS:
        assert to_trt.main([*flags, "--runtime", "tensorrt_rtx"]) == 0
        assert "kernels for" in capsys.readouterr().out, "it is weighed against float32"
        assert (tmp_path / "out" / "model.engine").stat().st_size > 10_000
    else:
        assert to_onnx.main(flags) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    islands = {each["module"]: each["why"] for each in report["precision"]["islands"]}
    assert islands["box_head/fc1"] == "overflow" and all(name.startswith("box_head/") for name in islands)
    lines = [line for line in report["gate"]["comparisons"] if line["candidate"] == EMULATED]
    outputs = {line["output"] for line in lines}
    assert outputs >= {"stage4", "pyramid5", "objectness1", "anchor_moves3", *HEADS}
    assert outputs >= {"boxes", "scores", "labels", "masks"}
    assert 0 < report["graph"]["half_share"] < 1


def test_boxes_scores_and_indices_stay_float32(taught: Taught) -> None:
    """Areas of boxes of 800x1344 are beyond what float16 holds, and their coordinates lose half pixels."""
    model = onnx.load_model_from_string(taught.file("fp16"))
    types = {node.name: node.op_type for node in model.graph.node}
    outside = {
        (owner, types[name])
        for name, owner in half_nodes(model).items()
        if not owner.startswith(("backbone", "fpn", "rpn/conv", "box_head/fc", "mask_head"))
    }
    assert {kind for owner, kind in outside if not owner} <= COPYING
    assert {(owner, kind) for owner, kind in outside if owner and kind != "Cast"} <= {
        ("rpn", "Relu"),
        ("box_head", "Relu"),
        ("rpn", "Concat"),
    }
    kinds = {info.name: info.type.tensor_type.elem_type for info in (*model.graph.input, *model.graph.output)}
    assert kinds.pop("labels") == onnx.TensorProto.INT32 and set(kinds.values()) == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32"])
def test_what_rounds_passes_and_a_wrong_kernel_does_not(taught: Taught, precision: str) -> None:
    right = taught.file("fp32" if precision == "tf32" else precision)
    assert _failed(taught.gated(precision, right)) == set()
    kernels = {
        "rpn.moves.kernel": "anchor_moves",
        "box_head.moves.kernel": "box_moves",
        "mask_head.logits.kernel": "mask_logits",
    }
    allowed, copied = limit_of(precision, trained=True), tf32_copy if precision == "tf32" else rounding_copy
    steps = taught.steps()
    for kernel, step in kernels.items():
        found = steps.differences(copied(_spoilt(right, kernel)))
        assert {name.rstrip("12345") for name in found if found[name].relative > allowed} == {step}, kernel


def test_a_half_engine_is_held_to_what_it_is_sure_of(taught: Taught) -> None:
    """A file in its place; no test here can run an engine."""
    right = taught.file("fp16")
    kernels = {
        "": set(),
        "box_head.moves.kernel": {"boxes", "masks"},
        "box_head.logits.kernel": {"scores"},
        "mask_head.logits.kernel": {"masks"},
    }
    for kernel, failed in kernels.items():
        session = OnnxSession(rounding_copy(_spoilt(right, kernel) if kernel else right))
        lines = gate_engine(
            session,
            taught.subject.inputs,
            taught.subject.reference,
            output="scores",
            precision="fp16",
            tf32=False,
            batch=BATCH,
        )
        session.close()
        assert _failed(lines) == failed, kernel
        allowed = {line.output: line.limit for line in lines}
        assert allowed == {name: limits("fp16", engine=True)[name] for name in allowed}


def test_its_scores_are_those_of_float32(taught: Taught, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("pycocotools")
    found = {}
    for precision in ("fp32", "fp16"):
        folder = tmp_path / precision
        folder.mkdir()
        (folder / "model.onnx").write_bytes(taught.file(precision))
        out = tmp_path / f"{precision}.json"
        assert score.main(["--onnx", str(folder), "--images", str(SCENES), "--out", str(out)]) == 0
        found[precision] = json.loads(out.read_text())
    assert "computes float16 in float32 on the CPU" in capsys.readouterr().err
    for name in ("box_ap", "mask_ap"):
        assert found["fp32"][name] > 0.3, "it knows these scenes"
        assert found["fp16"][name] == pytest.approx(found["fp32"][name], abs=SAME_AP)


def test_a_file_without_the_proposals_of_the_model_fails(taught: Taught) -> None:
    """Boxes that nothing in the file overlaps: what comes behind them is not judged, and not passed."""
    answers = taught.subject.reference
    elsewhere = {**answers.steps, "proposals": answers.steps["proposals"] + np.float32(1000)}
    steps = Steps(taught.subject.inputs, dataclasses.replace(answers, steps=elsewhere))
    found = steps.differences(taught.file("fp32"))
    assert all(np.isinf(found[name].relative) for name in HEADS) and found["pyramid1"].relative < FLOAT32


def test_steps_of_float32_are_those_of_jax(taught: Taught) -> None:
    """Twice: the second time it looks at the tensors that it found first."""
    steps = taught.steps()
    assert (taught.subject.reference.others[DEPLOY_FORM]["scores"] > 0.5).sum() > 10
    for _ in range(2):
        found = steps.differences(taught.file("fp32"))
        assert list(found)[-3:] == list(HEADS)
        assert max(each.relative for each in found.values()) < FLOAT32
