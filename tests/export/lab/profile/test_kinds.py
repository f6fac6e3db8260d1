"""Kinds of operations: each type has one, what no table knows is "other" and is listed."""

import pytest

from export.lab.profile.colours import COLOUR_OF_KIND
from export.lab.profile.kinds import (
    CONVOLUTION,
    ELEMENTWISE,
    KINDS,
    MATMUL,
    MOVEMENT,
    NORM,
    OF_HLO,
    OF_ONNX,
    OF_TENSORRT,
    OTHER,
    REDUCTION,
    SOFTMAX,
    by_kind,
    heaviest,
    of_call,
    of_onnx,
    shares,
    unknown,
)
from export.lab.profile.op import Op


def op(kind: str, ms: float, op_type: str = "x") -> Op:
    return Op(f"{kind} {ms}", op_type, kind, ms, "")


@pytest.mark.parametrize(
    ("op_type", "kind"),
    [
        ("Conv", CONVOLUTION), ("FusedConv", CONVOLUTION), ("FusedMatMul", MATMUL), ("Gemm", MATMUL),
        ("LayerNormalization", NORM), ("Softmax", SOFTMAX), ("Gelu", ELEMENTWISE), ("Relu", ELEMENTWISE),
        ("AveragePool", REDUCTION), ("ReduceMean", REDUCTION), ("ReorderInput", MOVEMENT), ("Cast", MOVEMENT),
        ("Transpose", MOVEMENT), ("NeverHeardOf", OTHER),
    ],
)  # fmt: skip
def test_onnx_types(op_type: str, kind: str) -> None:
    assert of_onnx(op_type) == kind


@pytest.mark.parametrize("table", [OF_ONNX, OF_HLO, OF_TENSORRT])
def test_tables_hold_known_kinds_only_and_never_other(table: dict[str, str]) -> None:
    assert set(table.values()) <= set(KINDS) - {OTHER}
    assert {CONVOLUTION, MATMUL, ELEMENTWISE, MOVEMENT, REDUCTION} <= set(table.values())


def test_every_kind_has_a_colour_of_its_own() -> None:
    assert set(COLOUR_OF_KIND) == set(KINDS) and len(set(COLOUR_OF_KIND.values())) == len(KINDS)


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("__cudnn$convForward", CONVOLUTION), ("__cublas$lt$matmul", MATMUL), ("__cudnn$norm", NORM),
        ("__cudnn$fmhaSoftmax", SOFTMAX), ("whatever", OTHER),
    ],
)  # fmt: skip
def test_library_calls(target: str, kind: str) -> None:
    assert of_call(target) == kind


def test_a_fused_kernel_counts_as_its_heaviest_kind() -> None:
    assert heaviest([MOVEMENT, ELEMENTWISE, CONVOLUTION]) == CONVOLUTION
    assert heaviest([MOVEMENT, ELEMENTWISE, NORM]) == NORM
    assert heaviest([MOVEMENT, ELEMENTWISE, REDUCTION]) == REDUCTION
    assert heaviest([]) == OTHER


def test_times_by_kind_add_up_to_the_whole() -> None:
    ops = [op(MATMUL, 2.0), op(CONVOLUTION, 5.0), op(MATMUL, 1.0), op(OTHER, 2.0, "Odd"), op(NORM, 0.0)]
    assert by_kind(ops) == {CONVOLUTION: 5.0, MATMUL: 3.0, OTHER: 2.0}
    assert list(by_kind(ops)) == [CONVOLUTION, MATMUL, OTHER]  # in the order of KINDS
    assert shares(ops) == {CONVOLUTION: 0.5, MATMUL: 0.3, OTHER: 0.2}
    assert unknown(ops) == ["Odd"]
    assert shares([]) == {} and unknown([]) == []
