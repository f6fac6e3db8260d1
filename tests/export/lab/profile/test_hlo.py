"""The text of a compiled program: kinds and modules of instructions and of what is fused in them."""

import pytest
from profile_samples import ROOTS, TEXT

from export.lab.profile.hlo import Program
from export.lab.profile.kinds import (
    CONVOLUTION,
    ELEMENTWISE,
    MATMUL,
    MOVEMENT,
    NORM,
    OTHER,
    REDUCTION,
    SOFTMAX,
)


@pytest.fixture(scope="module")
def program() -> Program:
    return Program(TEXT, ROOTS)


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("conv_relu", CONVOLUTION, "stem/conv"),  # the convolution's, not the activation's
        ("peak", SOFTMAX, "stage1/attn"),  # a maximum and an exponential on one source line
        ("soft", SOFTMAX, "stage1/attn"),
        ("normed", NORM, "stage1/norm"),
        ("moved", MOVEMENT, "stage1"),
        ("pooled", REDUCTION, ""),
        ("lib", MATMUL, "head"),
        ("odd", OTHER, "head"),
    ],
)
def test_kinds_and_modules(program: Program, name: str, kind: str, module: str) -> None:
    assert (program.kind(name), program.module(name)) == (kind, module)


def test_what_the_compiler_forgot_belongs_to_the_module_that_holds_its_neighbours(program: Program) -> None:
    assert program.kind("dots") == MATMUL
    assert program.module("dots") == ""  # between the stem and stage1/attn
    assert program.module("after") == "stage1"  # between stage1/attn and stage1/norm


def test_nothing_known_around_it_is_nothing_known() -> None:
    text = (
        "ENTRY %main (x: f32[8]) -> f32[8] {\n  %x = f32[8] parameter(0)\n  ROOT %y = f32[8] add(%x, %x)\n}\n"
    )
    program = Program(text, ROOTS)
    assert program.module("y") is None and program.kind("y") == ELEMENTWISE


def test_modules_of_fused_products_are_told(program: Program) -> None:
    assert program.heavy("conv_relu") == ("stem/conv",) and program.heavy("lib") == ("head",)
    assert program.heavy("dots") == program.heavy("soft") == ()


def test_loops_and_calls_only_hold_others(program: Program) -> None:
    assert program.is_container("loop") and not program.is_container("conv_relu")


def test_operands_and_calls_are_read(program: Program) -> None:
    assert program.instructions["conv_relu"].operands == ("x", "w")
    assert program.instructions["lib"].opcode == "custom-call"
    assert program.instructions["peak"].called == ("adds",)
