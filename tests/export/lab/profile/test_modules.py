"""Modules: whom a fused operation belongs to, and sums over the tree."""

import pytest

from export.lab.profile.kinds import CONVOLUTION, ELEMENTWISE, MATMUL, MOVEMENT
from export.lab.profile.modules import UNATTRIBUTED, common, owner, tree
from export.lab.profile.op import Op

OPS = [
    Op("c", "Conv", CONVOLUTION, 1.0, "stem/conv"),
    Op("q", "MatMul", MATMUL, 2.0, "stage1/block1/attn/q"),
    Op("s", "Add", ELEMENTWISE, 0.5, "stage1/block1"),
    Op("k", "MatMul", MATMUL, 4.0, "stage1/block10/attn/q"),
    Op("r", "Reorder", MOVEMENT, 0.25, None),
    Op("h", "Mul", ELEMENTWISE, 0.125, ""),
]


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        (["stage1/block1/mlp/fc1", "stage1/block1/norm"], "stage1/block1"),
        (["stage1/block1", "stage1/block10"], "stage1"),  # not "stage1/block1": names are whole
        (["stem", "stage1"], ""),
        (["stem/conv", ""], ""),
        (["stem/conv"], "stem/conv"),
    ],
)
def test_common_module(modules: list[str], found: str) -> None:
    assert common(modules) == found


def test_a_fused_operation_belongs_where_its_products_are() -> None:
    assert owner([("stem/conv", CONVOLUTION), ("stem", ELEMENTWISE)]) == "stem/conv"
    pair = [("b/mlp/fc1", MATMUL), ("b/mlp", ELEMENTWISE), ("b/mlp/fc2", MATMUL), ("c", ELEMENTWISE)]
    assert owner(pair) == "b/mlp"
    assert owner([("b/norm", ELEMENTWISE), ("b", ELEMENTWISE)]) == "b"
    assert owner([]) is None


def test_times_of_modules_add_up_to_those_of_operations() -> None:
    root = tree(OPS)
    assert root.ms == sum(op.ms for op in OPS)
    assert sum(op.ms for module in root.walk() for op in module.own) == root.ms
    for module in root.walk():
        below = sum(part.ms for part in module.parts.values())
        assert module.ms == below + sum(op.ms for op in module.own)
    assert {name: part.ms for name, part in root.parts.items()} == {
        "stem": 1.0, "stage1": 6.5, UNATTRIBUTED: 0.25,
    }  # fmt: skip
    assert root.parts["stage1"].parts["block1"].path == "stage1/block1" and root.depth == 4


def test_depth_keeps_the_sum() -> None:
    shallow = tree(OPS, 1)
    assert shallow.depth == 1 and shallow.ms == tree(OPS).ms
    assert len(shallow.parts["stage1"].own) == 3


def test_modules_stand_where_most_of_their_time_is() -> None:
    early = Op("weights of stage2", "concatenate", MOVEMENT, 0.1, "stage2")
    late = Op("dot", "dot", MATMUL, 5.0, "stage2")
    assert list(tree([early, *OPS[:4], late]).parts) == ["stem", "stage1", "stage2"]
