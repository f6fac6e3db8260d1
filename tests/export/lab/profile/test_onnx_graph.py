"""Operators of ONNX Runtime's optimised graph, found in the file."""

import pytest
from profile_samples import FILE, MADE, model

from export.lab.profile.onnx_graph import Operators


@pytest.fixture(scope="module")
def operators() -> Operators:
    return Operators(model(FILE), model(MADE))


@pytest.mark.parametrize(
    ("name", "op_type", "module"),
    [
        ("stem/Relu_nchwc", "Conv", "stem/conv"),  # called as the activation, it is the convolution before it
        (
            "block1/Relu_nchwc",
            "Conv",
            "block1/conv",
        ),  # the other convolution before it is an operator of its own
        ("block1/shortcut/Conv_nchwc", "Conv", "block1/shortcut"),
        ("block2/Transpose", "Transpose", "block2"),
        ("block2/fc/MatMul/MatMulAddFusion", "Gemm", "block2/fc"),
        ("gemm_output_reshape", "Reshape", "block2/fc"),  # by the tensor that it writes
        ("ReorderOutput_token_7", "ReorderOutput", ""),  # between block1 and block2: the network's
        ("made up", "Odd", None),
        ("not in the graph", "ReorderInput", None),
    ],
)
def test_modules(operators: Operators, name: str, op_type: str, module: str | None) -> None:
    assert operators.module(name, op_type) == module


def test_a_change_of_layout_after_the_unknown_is_unknown(operators: Operators) -> None:
    assert operators.module("lost", "ReorderInput") is None


def test_names_alone_tell_what_they_can() -> None:
    alone = Operators(model(FILE), None)
    assert alone.module("stem/conv/Conv_nchwc", "Conv") == "stem/conv"
    assert alone.module("ReorderOutput_token_7", "ReorderOutput") is None
