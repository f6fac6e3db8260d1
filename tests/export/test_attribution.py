"""Kernels back to Flax modules: what the builder says, what a name tells, and nothing guessed."""

from __future__ import annotations

import pytest

from export.attribution import attribute, share
from export.proof import engine_proof
from export.runtimes.kernels import Kernel, Tensor, read_kernels

NODES = ("stem/conv/Conv", "stem/Relu", "stage1/block1/attn/k+v/MatMul", "stage1/block1/attn/Softmax")


def test_what_the_builder_says_comes_before_the_name() -> None:
    line = (
        "Name: stem/conv/Conv_U0_myl0_1, LayerType: correlation, "
        "Inputs: [ { Name: a, Dimensions: [1,3], Datatype: Half, Format: (Linear) Row major }], "
        "Constants: [ { Name: w, Dimensions: [4], Datatype: Int8, Format: (NHWC) x }], "
        "Outputs: [ { Name: b, Dimensions: [1,4], Datatype: Half, Format: (NHWC) Channel major format }, "
        "{ Name: c, Dimensions: [1,4], Datatype: Float, Format: (Linear) Row major }], "
        "TacticName: t, StreamId: 0, Metadata: [ONNX Layer: stem/conv/Conv]\x1e[ONNX Layer: stem/Relu]"
    )
    (entry,) = attribute(read_kernels([line]), NODES)
    assert entry.by == "metadata" and entry.nodes == NODES[:2] and entry.modules == ("stem/conv", "stem")
    told = entry.as_dict()
    assert told["reads"] == [{"tensor": "a", "type": "Half", "format": "(Linear) Row major"}]
    assert [tensor["type"] for tensor in told["writes"]] == ["Half", "Float"]  # type: ignore[index, union-attr]
    assert told["weights"] == ["Int8"]


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("stem/conv/Conv_U12_myl0_1", NODES[:1]),
        ("node_stem/Relu_myl0_7", NODES[1:2]),
        ("stem/conv/Conv + stem/Relu", NODES[:2]),
        ("PWN(PWN(stem/Relu), stage1/block1/attn/Softmax)", (NODES[1], NODES[3])),
        ("stage1/block1/attn/k+v/MatMul_myl0_3", NODES[2:3]),  # its plus sign joins no nodes
    ],
)
def test_names_of_kernels_that_are_nodes(name: str, nodes: tuple[str, ...]) -> None:
    (entry,) = attribute([Kernel(name, "gemm")], NODES)
    assert entry.by == "name" and entry.nodes == nodes


@pytest.mark.parametrize(
    "kernel",
    [
        Kernel("__myl_MoveAdd_myl0_3", "kgen"),
        Kernel("{ForeignNode[stem/conv/Conv...stem/Relu]}", "kgen"),  # names only the ends of a region
        Kernel("fused", "kgen", nodes=("another/file/Conv",)),
    ],
)
def test_the_rest_is_left_unattributed(kernel: Kernel) -> None:
    (entry,) = attribute([kernel], NODES)
    assert (entry.by, entry.nodes, entry.modules) == (None, (), ())
    assert share([entry, *attribute([Kernel("stem/Relu", "kgen")], NODES)]) == 0.5


def test_no_kernels_have_no_share() -> None:
    assert share([]) is None


def test_the_proof_of_an_engine() -> None:
    """Precisions without indices, and where an unattributed kernel stands."""
    half, single, index = Tensor("a", "Half"), Tensor("b", "Float"), Tensor("i", "Int64")
    convolution = Kernel("x", "correlation", ("Half",), (half, index), (), (half,), ("stem/conv/Conv",))
    cast = Kernel("__myl_Cast_myl0_1", "kgen", ("Float",), (half,), (), (single,))
    found = engine_proof(
        [convolution, cast, Kernel("old", "kgen", ("Int32",)), Kernel("silent", "kgen")], NODES
    )
    assert found["precisions"] == {"Half": 1, "Float + Half": 1, "Int32": 1, "not told": 1}
    assert [layer["after"] for layer in found["layers"]] == [["stem/conv"], ["stem/conv"], [], []]
    assert found["attribution"]["by"] == {"metadata": 1, "none": 3}
    assert found["attribution"]["unattributed"] == ["__myl_Cast_myl0_1", "old", "silent"]
