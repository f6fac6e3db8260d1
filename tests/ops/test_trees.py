"""Flat views of nested dicts, and the report of differences."""

import numpy as np
import pytest

from hvjax.ops.trees import differences, flatten, unflatten

TREE = {"stem": {"conv": {"kernel": np.zeros((3, 3)), "bias": np.zeros(3)}}, "scale": np.zeros(2)}


def test_flatten_and_back() -> None:
    flat = flatten(TREE)
    assert list(flat) == [("stem", "conv", "kernel"), ("stem", "conv", "bias"), ("scale",)]
    assert unflatten(flat) == TREE


@pytest.mark.parametrize("paths", [[("a",), ("a", "b")], [("a", "b"), ("a",)]])
def test_a_path_is_a_leaf_or_a_parent(paths: list[tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=r"^a(\.b)? (lies below|is both)"):
        unflatten(dict.fromkeys(paths, 1))


def test_equal_trees_have_no_differences() -> None:
    other_type = {"scale": np.ones(2, np.int8), "stem": TREE["stem"]}
    assert differences(TREE, other_type) == ""


def test_every_kind_of_difference_is_named() -> None:
    actual = {"stem": {"conv": {"kernel": np.zeros((3, 1)), "weight": np.zeros(4)}}, "scale": np.zeros(2)}
    assert differences(TREE, actual).splitlines() == [
        "  missing: stem.conv.bias (3,)",
        "  misshapen: stem.conv.kernel is (3, 1), expected (3, 3)",
        "  unexpected: stem.conv.weight (4,)",
    ]


def test_a_tensor_in_place_of_a_group() -> None:
    assert differences({"a": {"b": np.zeros(1)}}, {"a": np.zeros(1)}).splitlines() == [
        "  missing: a.b (1,)",
        "  unexpected: a (1,)",
    ]


def test_long_lists_are_cut_and_counted() -> None:
    report = differences({f"w{i}": np.zeros(1) for i in range(7)}, {}, limit=2)
    assert report.splitlines() == ["  missing: w0 (1,)", "  missing: w1 (1,)", "  ... and 5 more missing"]
