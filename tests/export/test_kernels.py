"""The counting rule, on lines as builders print them."""

from __future__ import annotations

import pytest

from export.runtimes.kernels import Kernel, data_movements, read_kernels, summary

LOG = """Layers:
Name: __myl_CastConc_myl0_0, LayerType: kgen, Inputs: [ { Name: images, Datatype: Float, Format: x }], \
Constants: [ { Datatype: Half }], Outputs: [ { Name: a, Dimensions: [8,4], Datatype: Half, Format: y }], \
TacticName: t, StreamId: 0
Name: stem.conv_myl0_1, LayerType: correlation, Inputs: [ { Name: a, Datatype: Half }], \
Outputs: [ { Name: b, Datatype: Half }], TacticName: t, StreamId: 0
Name: __myl_TranMulAdd_myl0_2, LayerType: kgen, Inputs: [], Outputs: [ { Name: c, Datatype: Float }, \
{ Name: d, Datatype: Half }], TacticName: t
Name: entry, LayerType: signal, Inputs: []
Name: exit, LayerType: wait, Inputs: []
Name: shapes, LayerType: shape_call, Inputs: []
"""


def test_counts_layers_but_not_synchronisation() -> None:
    kernels = read_kernels(["chatter", LOG, "Name: without a type"])
    assert [kernel.kind for kernel in kernels] == ["kgen", "correlation", "kgen"]
    assert [kernel.name for kernel in data_movements(kernels)] == ["__myl_CastConc_myl0_0"]


ONE = "Dimensions: [1], Strides: [1], StrideOrder: [0], Datatype: Int64, Format: (Linear)"


@pytest.mark.parametrize(
    ("layer", "counts"),
    [
        (f"reshape, Inputs: [], Outputs: [ {{ Name: a, {ONE} }}], TacticName: ", 0),
        (f"cast, Inputs: [ {{ Name: a, {ONE} }}], Outputs: [ {{ Name: b, {ONE} }}]", 0),
        # what looks like it and moves the network's data
        ("reshape, Inputs: [], Outputs: [ { Name: a, Dimensions: [8], Datatype: Int64 }]", 1),
        (f"cast, Inputs: [ {{ Name: a, {ONE} }}], Outputs: [ {{ Dimensions: [1], Datatype: Float }}]", 1),
        (f"kgen, Inputs: [], Outputs: [ {{ Name: a, {ONE} }}]", 1),
    ],
)
def test_the_arithmetic_of_a_dynamic_shape_is_no_kernel(layer: str, counts: int) -> None:
    assert len(read_kernels([f"Name: cast_hvar^246119i64_myl0_7, LayerType: {layer}"])) == counts


def test_reads_back_the_types_that_kernels_write_not_their_inputs() -> None:
    kernels = read_kernels([LOG])
    assert [kernel.writes for kernel in kernels] == [("Half",), ("Half",), ("Float", "Half")]
    assert summary(kernels)["written_types"] == {"Half": 3, "Float": 1}


def test_reads_the_type_in_the_words_of_older_builders() -> None:
    line = (
        "Name: a, LayerType: kgen, Inputs: [], Outputs: [ { Name: o, Format/Datatype: Half }], TacticName: t"
    )
    assert read_kernels([line])[0].writes == ("Half",)


@pytest.mark.parametrize(
    ("name", "kind", "moves"),
    [
        ("__myl_Move_myl0_0", "kgen", True),
        ("__myl_ReshTran_myl0_67", "kgen", True),
        ("node_Transpose_3", "shuffle", True),
        ("__myl_TranAddRelu_myl0_4", "kgen", False),  # arithmetic fused in: the data had to be read anyway
        ("__myl_SumDiv_myl0_5", "kgen", False),
        ("Transpose_conv", "correlation", False),  # a convolution, whatever its name
        # "node_" and the builder's own number are no part of the fused operators' names
        ("node_Copy_myl0_Relu", "copy", True),
    ],
)
def test_what_moves_data(name: str, kind: str, moves: bool) -> None:
    assert Kernel(name, kind).moves_data is moves


def test_an_empty_log_has_no_kernels() -> None:
    assert read_kernels([]) == ()
