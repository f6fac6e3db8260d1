"""From a typed graph to the file that ships: healthy ones stay as they are, planted mistakes are cured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from export import parity
from export.bridge import check
from export.precision import settle as settle_module
from export.precision.islands import NoSuchModule, half_nodes, select
from export.precision.settle import Settled, settle

OVERFLOW = {"block2/mlp/fc1": 3e4, "block2/mlp/fc2": 1 / 3e4}


def settled(
    net: Any,
    *,
    keep: tuple[str, ...] = (),
    may_search: bool = True,
    agrees: Callable[[bytes], bool] = lambda runnable: True,
    **changes: Any,
) -> Settled:
    return settle(
        net.typed.SerializeToString(),
        dataclasses.replace(net.task, **changes),
        keep=keep,
        may_search=may_search,
        float32_weights=net.weights,
        agrees=agrees,
    )


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_healthy_model_ships_as_it_is(sample: Any, precision: str) -> None:
    net = sample(precision)
    found = settled(net)
    assert found.gate.passed and found.gate.emulated
    assert found.model == net.typed.SerializeToString(), "not one node was touched"
    assert found.precision is not None and found.precision.islands == () and not found.precision.searched
    assert "all in" in found.precision.line() and found.precision.caution() is None
    candidates = {line.candidate for line in found.gate.comparisons}
    assert candidates == {"model.onnx (emulated)"} | ({"model.onnx"} if precision == "fp16" else set())


def test_a_planted_overflow_is_found_and_cured(sample: Any) -> None:
    net = sample("fp16", OVERFLOW)
    found = settled(net)
    assert found.gate.passed and found.precision is not None
    assert [(each.module, each.why) for each in found.precision.islands] == [("block2/mlp", "overflow")]
    assert found.precision.islands[0].largest > 65504
    assert not np.isfinite(found.precision.error_before)
    assert found.precision.error_after <= net.task.limit
    assert "float32 stays in block2/mlp (reaches" in found.precision.line()
    assert found.precision.as_dict()["keep_fp32"] == "block2/mlp"
    check(onnx.load_model_from_string(found.model))


def test_without_a_search_an_overflow_fails_and_says_where(sample: Any) -> None:
    found = settled(sample("fp16", OVERFLOW), may_search=False)
    assert not found.gate.passed
    assert "block2/mlp/fc1/Conv reaches" in found.gate.reasons()[0]
    assert found.precision is not None and found.precision.islands == ()


def test_an_overflow_that_does_not_reach_the_answer_is_cured_too(sample: Any) -> None:
    """-1e5 before a ReLU: float16 makes -inf of it, and 0 of that. Another image may turn the sign."""
    net = sample("fp16", {}, {"block2/mlp/fc1": -1e5})
    found = settled(net, may_search=False)
    assert all(line.passed for line in found.gate.comparisons) and not found.gate.passed
    found = settled(net)
    assert found.gate.passed and found.precision is not None
    assert "block2/mlp/fc1" in found.precision.flag()


def test_the_same_islands_by_hand(sample: Any) -> None:
    net = sample("fp16", OVERFLOW)
    found = settled(net, keep=("block2/mlp",), may_search=False)
    assert found.gate.passed and found.precision is not None and found.precision.runs == 0
    assert [(each.module, each.why) for each in found.precision.islands] == [("block2/mlp", "asked")]
    assert found.model == settled(net).model


def test_a_module_whose_rounding_costs_too_much_is_found(sample: Any) -> None:
    """fc1 adds 300 and fc2 takes it away again: 11 bits of 300 leave few for what matters."""
    net = sample("fp16", cancels={"block1/mlp": 300.0})
    failed = settled(net, may_search=False)
    assert not failed.gate.passed and failed.gate.overflows == ()
    found = settled(net)
    assert found.gate.passed and found.precision is not None and found.precision.searched
    assert {each.why for each in found.precision.islands} == {"error"}
    assert all(each.module.startswith("block1/mlp") for each in found.precision.islands)
    assert found.precision.error_after <= net.task.limit < found.precision.error_before


def test_a_model_that_is_wrong_in_float32_is_not_searched_for_long(sample: Any) -> None:
    """The reference belongs to another model: no island helps, and the gate says where it goes wrong."""
    net, other = sample(), sample("fp16", {"block2/mlp/fc1": 1.5})
    found = settled(net, reference=other.task.reference)
    assert not found.gate.passed and found.precision is not None
    assert found.precision.runs <= 3 and found.gate.begins_at is not None
    assert found.precision.note is not None and "precision is not what is wrong" in found.precision.note


def test_a_gate_that_no_aim_satisfies_reports_the_islands_of_its_file(
    sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, real, gated = sample("fp16", cancels={"block1/mlp": 300.0}), settle_module._run_gate, []

    def never(task: Any, model: bytes, candidate: str) -> Any:
        gate = real(task, model, candidate)
        gated.append(gate)
        return dataclasses.replace(
            gate, comparisons=tuple(dataclasses.replace(line, limit=0.0) for line in gate.comparisons)
        )

    monkeypatch.setattr(settle_module, "_run_gate", never)
    found = settled(net)
    assert not found.gate.passed and found.precision is not None
    assert found.precision.note == settle_module.NOT_THE_GATE
    assert len(gated) == 2 + settle_module.LOWERED, "as it was, once at each aim, and no search after that"
    named = select(net.typed, [each.module for each in found.precision.islands])
    before, after = half_nodes(net.typed), half_nodes(onnx.load_model_from_string(found.model))
    assert named and named & before.keys() == before.keys() - after.keys(), "float32 in the very file"


def test_an_unknown_module_is_refused(sample: Any) -> None:
    with pytest.raises(NoSuchModule, match="did you mean block2/mlp"):
        settled(sample(), keep=("block2/mlpp",))


def test_a_file_that_is_wrong_on_more_images_gets_islands_too(sample: Any) -> None:
    """The gate's images are not all there are: what disagrees elsewhere has too large an error here."""
    net = sample("fp16", cancels={"block1/mlp": 8.0})
    tried: list[bytes] = []

    def agrees(runnable: bytes) -> bool:
        tried.append(runnable)
        return len(tried) > 1

    plain = settled(net, may_search=False)
    assert plain.gate.passed and plain.precision is not None and not plain.precision.islands
    found = settled(net, agrees=agrees)
    assert found.gate.passed and found.precision is not None and found.precision.islands
    assert found.precision.error_after < plain.precision.error_after
    assert tried == [plain.runnable, found.runnable]


def test_a_map_has_no_top_1_class(sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last axis is the width: which column is largest changes while the error is large. So it may."""
    asked: list[float] = []

    def enough(top1: float, images: int) -> bool:
        asked.append(top1)
        return top1 >= parity.MIN_TOP1

    monkeypatch.setattr(parity, "enough_agreement", enough)
    net = sample("fp16", cancels={"block1/mlp": 3000.0}, form="map")
    found = settled(net, trained=True)
    assert found.gate.passed and found.precision is not None and found.precision.runs == len(asked) > 2
    assert set(asked) == {1.0} and all(line.difference.top1 is None for line in found.gate.comparisons)


def test_every_output_is_searched_for(sample: Any) -> None:
    """block2 adds 1000, beside which the error of what block1 answers is small."""
    net = sample("fp16", shifts={"block2/conv": 1000.0}, cancels={"block1/mlp": 300.0}, form="stages")
    failed = settled(net, may_search=False)
    assert {line.output for line in failed.gate.comparisons if not line.passed} == {"stage1"}
    found = settled(net)
    assert found.gate.passed and found.precision is not None
    assert all(each.module.startswith("block1/mlp") for each in found.precision.islands)
    for candidate in ("model.onnx", "model.onnx (emulated)"):
        lines = [line for line in found.gate.comparisons if line.candidate == candidate]
        assert {line.output for line in lines} == {"stage1", "stage2"}
