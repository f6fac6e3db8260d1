"""Layers that must stay float are found, and no others; on planted cases and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export import parity, to_onnx
from export.agreement import Agreement
from export.answers import DEPLOY_FORM
from export.gate import Gate
from export.parity import Comparison, difference
from export.precision.search import MAX_RUNS
from export.quantize import stage
from export.quantize.card import quantise_card
from export.quantize.flags import QuantiseRequest
from export.quantize.settle import NO_LAYER, NOT_THE_GATE, Settled, settle
from export.quantize.work import Quantiser
from export.runtimes.onnxruntime import OnnxSession

#: Channels this many times as large as the others leave these less than one of the 127 steps of int8; float8
#: has numbers down to a 2**18th of its largest.
WILD = {"int8": 1e3, "fp8": 1e7}

#: Of 16 layers, where two are wild: a block of four is kept whole if no part of it makes most of its error.
MOST_KEPT = 5


def planted(net: Any, factor: float) -> Any:
    """The same function with one wild channel between stage1 and stage2: ReLU lets factors pass."""
    weights = {name: value.copy() for name, value in net.weights.items()}
    weights["stage1.kernel"][:, 0] *= factor
    weights["stage1.bias"][0] *= factor
    weights["stage2.kernel"][0] /= factor
    return type(net)(weights)


class Case:
    """A network, its quantiser and its gate on images that the quantiser does not see."""

    def __init__(self, net: Any, precision: str, limit: float = parity.INT8_LIMIT) -> None:
        images = np.ascontiguousarray(net.images(12).transpose(0, 3, 1, 2))
        self.images, self.limit = images[8:], limit
        self.want = net.features(self.images.transpose(0, 2, 3, 1))["logits"]
        model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(net.make()))
        request = QuantiseRequest(precision=precision, calibrator="minmax", keep=())
        self.quantiser = Quantiser(model.SerializeToString(), request, images[:8], "noise", batch=4)
        self.told: list[tuple[int, int, str]] = []

    def error(self, model: bytes) -> float:
        return difference(OnnxSession(model).run(self.images)["logits"], self.want, logits=True).relative

    def gate(self, model: bytes) -> Gate:
        found = difference(OnnxSession(model).run(self.images)["logits"], self.want, logits=True)
        line = Comparison("model.onnx", DEPLOY_FORM, "logits", 4, 4, self.limit, False, found)
        return Gate((line,), (), None, self.limit)

    def settle(self, agree: Any = lambda model: None, may_search: bool = True) -> Settled:
        def tell(done: int, most: int, what: str) -> None:
            self.told.append((done, most, what))

        return settle(self.quantiser, self.gate, agree, may_search=may_search, tell=tell)


def test_a_healthy_model_keeps_all_its_layers_quantised(tiny_net: Any) -> None:
    case = Case(tiny_net, "int8")
    found = case.settle()
    assert found.good and found.searched is None and not case.told
    assert found.done.layers == ("stage1", "stage2", "head") and not found.done.kept


@pytest.mark.parametrize(("precision", "wild"), [("int8", {"stage2"}), ("fp8", {"stage1", "stage2"})])
def test_the_layer_with_a_wild_channel_stays_float_and_no_other(
    tiny_net: Any, precision: str, wild: set[str]
) -> None:
    """In int8 the one that reads it; in fp8, where weights have one scale, the one that makes it too."""
    case = Case(planted(tiny_net, WILD[precision]), precision)
    found = case.settle()
    assert found.good and found.searched is not None and found.searched.note is None
    assert found.searched.kept.keys() == wild
    assert set(found.done.layers) == {"stage1", "stage2", "head"} - wild
    assert found.done.kept["stage2"].startswith(f"{precision} of stage2 alone costs 0.")
    assert found.searched.before > case.limit >= found.searched.after
    assert found.searched.after == case.error(found.done.model), "of the file that ships"
    held = {tensor.name for tensor in onnx.load_model_from_string(found.done.model).graph.initializer}
    assert {f"{name}.kernel" for name in wild} | {f"head.kernel.{precision}"} <= held
    assert not {f"{name}.kernel.{precision}" for name in wild} & held
    assert 0 < found.searched.runs <= MAX_RUNS and all(most == MAX_RUNS for _, most, _ in case.told)
    assert f"only stage2 in {precision}" in [what for _, _, what in case.told]


def test_without_a_search_the_failure_stays(tiny_net: Any) -> None:
    case = Case(planted(tiny_net, WILD["int8"]), "int8")
    found = case.settle(may_search=False)
    assert not found.good and found.searched is None and not case.told
    assert found.done.layers == ("stage1", "stage2", "head")


def test_a_drop_of_top1_is_searched_too(tiny_net: Any) -> None:
    """The gate would let it pass; the validation images do not, until the wild layer is float."""
    case = Case(planted(tiny_net, WILD["int8"]), "int8", limit=10.0)
    asked: list[float] = []

    def agree(model: bytes) -> Agreement:
        asked.append(case.error(model))
        return Agreement(1000, "held out", 0.9 if asked[-1] > parity.INT8_LIMIT else 0.999, None, None)

    found = case.settle(agree)
    assert found.good and found.searched is not None and "stage2" in found.searched.kept
    assert found.agreement is not None and found.agreement.top1 == 0.999 and len(asked) >= 2
    assert found.done.layers, "something is left in int8"


def test_what_no_choice_of_layers_cures_is_said(tiny_net: Any) -> None:
    found = Case(tiny_net, "int8", limit=1e-6).settle()
    assert not found.good and found.searched is not None and found.searched.note == NO_LAYER
    assert found.done.layers == ("stage1", "stage2", "head"), "the file that failed"
    wrong = Case(tiny_net, "int8")
    wrong.want = wrong.want + 1.0  # something else than rounding is wrong
    found = wrong.settle()
    assert not found.good and found.searched is not None
    assert found.searched.note in (NOT_THE_GATE, NO_LAYER)


def wild_weights(small_model: Any, path: Path) -> Path:
    """The small ResNet with one wild channel between two convolutions of each of the first two stages."""
    import jax

    import hvjax

    model, variables = small_model
    variables = jax.tree.map(np.array, variables)
    for stage_name in ("stage1", "stage2"):
        block = variables["params"][stage_name]["block1"]
        for name in ("scale", "bias"):
            block["norm1"][name][0] *= WILD["int8"]
        block["conv2"]["kernel"][:, :, 0] /= WILD["int8"]
    hvjax.save_weights(path, variables, model, class_names=[f"class {n}" for n in range(7)])
    return path


def test_from_the_command_line(
    small_model: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "ratio", lambda *calls: 1.0)
    weights = wild_weights(small_model, tmp_path / "wild.safetensors")
    out = tmp_path / "out"
    command = ["--ckpt", str(weights), "--out", str(out), "--via", "stablehlo", "--image-size", "32"]
    command += ["--batch", "4", "--gate-images", "8", "--precision", "int8", "--quant-rest", "fp32"]
    command += ["--calibration-images", "8", "--calibrator", "minmax"]
    assert to_onnx.main([*command, "--no-search"]) == 1
    report = json.loads((out / "rejected" / "report.json").read_text())
    assert report["int8"]["searched"] is None and "logits of model.onnx differ" in report["reasons"][0]
    capsys.readouterr()
    assert to_onnx.main([*command, "--overwrite"]) == 0
    said = capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    searched = report["int8"]["searched"]
    wild = {"stage1.block1.conv2", "stage2.block1.conv2"}
    assert wild & searched["kept"].keys() and len(searched["kept"]) <= MOST_KEPT, searched
    assert report["int8"]["kept"].keys() > searched["kept"].keys()
    assert len(report["int8"]["layers"]) == 16 - len(searched["kept"])
    assert "search   " in said and "more layers stay float (" in said
    page = quantise_card(report)
    assert all(name in page for name in searched["kept"]) and "Layers that the search left in float" in page
    assert (out / "model.onnx").exists() and searched["before"] > parity.INT8_LIMIT >= searched["after"]
