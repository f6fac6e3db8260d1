"""Flax modules in the names of nodes."""

import pytest

from export.module_path import module_of, modules_of


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("stage3/block2/mlp/fc1/Conv_1", "stage3/block2/mlp/fc1"),
        ("stage3/block2/Add", "stage3/block2"),
        ("stage4/block3/block3._attend/e_mhsa/MatMul", "stage4/block3/e_mhsa"),
        ("stage4/block3/block3/_attend/e_mhsa/q+k+v/Conv", "stage4/block3/e_mhsa/q+k+v"),
        ("stage4/block3.attend/e_mhsa/MatMul", "stage4/block3/e_mhsa"),  # called by stage4
        ("_answer/head/Gemm", "head"),
        ("Cast", ""),
    ],
)
def test_a_node_tells_its_module(node: str, module: str) -> None:
    assert module_of(node) == module


@pytest.mark.parametrize(
    ("node", "modules"),
    [
        ("stem/conv/Conv", ("stem/conv",)),
        ("stage1/block1/attn/k+v/MatMul", ("stage1/block1/attn/k", "stage1/block1/attn/v")),
        ("ReduceMean", ("",)),  # the model itself
    ],
)
def test_merged_modules_are_told_apart(node: str, modules: tuple[str, ...]) -> None:
    assert modules_of(node) == modules
