"""Numbers that make no network are refused by name when the model is created, not later by a traceback."""

import re

import numpy as np
import pytest

import hvjax
from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate


@pytest.mark.parametrize("value", [1, np.int64(7)])
def test_integers_of_python_and_numpy_pass(value) -> None:
    check_integer("x", value, 1)
    check_integers("x", (value, value), 1, 2)
    check_positive("x", value)


@pytest.mark.parametrize("value", ["10", 10.0, None, True, 0, -3, [1]])
def test_everything_else_is_no_integer(value) -> None:
    with pytest.raises(ValueError, match=re.escape(f"x={value!r}: expected an integer >= 1")):
        check_integer("x", value, 1)


@pytest.mark.parametrize("values", [3, "ab", (1,), (1, 2, 3), (1, 0), (1, 2.5), None])
def test_tuples_that_do_not_fit(values) -> None:
    with pytest.raises(ValueError, match=re.escape(f"x={values!r}: expected 2 integers >= 1")):
        check_integers("x", values, 1, 2)


@pytest.mark.parametrize("value", [0, 0.0, 0.5, np.float32(0.9)])
def test_rates(value) -> None:
    check_rate("x", value)


@pytest.mark.parametrize("value", [1, -0.1, float("nan"), "0.1", None])
def test_values_that_are_no_rate(value) -> None:
    with pytest.raises(ValueError, match="0 <= x < 1"):
        check_rate("x", value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "1"])
def test_values_that_are_not_positive(value) -> None:
    with pytest.raises(ValueError, match="expected a number > 0"):
        check_positive("x", value)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet50", {"num_classes": "10"}, "num_classes='10': expected an integer >= 0"),
        ("resnet50", {"depths": 3}, "depths=3: expected 4 integers >= 1"),
        ("resnet50", {"widths": (8, 8, 8)}, "widths=(8, 8, 8): expected 4 integers >= 1"),
        (
            "resnet50",
            {"drop_path_rate": 1.0},
            "drop_path_rate=1.0: expected a number, 0 <= drop_path_rate < 1",
        ),
        ("resnet50", {"dtype": "nope"}, "dtype='nope': expected a floating-point type"),
        ("resnet50", {"dtype": None}, "dtype=None: expected a floating-point type"),
        ("next_vit_s", {"head_dim": 0}, "head_dim=0: expected an integer >= 1"),
        (
            "next_vit_s",
            {"reduction_ratios": (8, 4, 2, 0)},
            "reduction_ratios=(8, 4, 2, 0): expected 4 integers >= 1",
        ),
        (
            "next_vit_s",
            {"blocks": "CCC"},
            "blocks='CCC': expected 4 strings, one a stage, of letters C and T",
        ),
        ("next_vit_s", {"blocks": ("C", "T", "", "T")}, "expected 4 strings"),
        ("next_vit_s", {"blocks": ("C", "T", "CX", "T")}, "expected 4 strings"),
        (
            "next_vit_s",
            {"block_channels": ((96,),)},
            "block_channels=((96,),): expected one width for each of",
        ),
        (
            "next_vit_s",
            {"blocks": ("C",) * 4, "block_channels": ((96,), (96,), ("a",), (96,))},
            "block_channels of stage 3=('a',): expected 1 integers >= 1",
        ),
        ("next_vit_s", {"conv_channels": (33,) * 4}, "expected positive multiples of head_dim=32"),
    ],
)
def test_configs(name: str, overrides: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        hvjax.create_model(name, **overrides)
