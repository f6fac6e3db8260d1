"""Checks of the numbers in a config, with messages for the person who typed them."""

from __future__ import annotations

from typing import Any

import numpy as np

INTEGERS, NUMBERS = (int, np.integer), (int, float, np.integer, np.floating)


def check_integer(name: str, value: Any, least: int) -> None:
    """Raise ValueError unless `value` is an integer (Python's or NumPy's) of at least `least`."""
    if not _is_integer(value, least):
        raise ValueError(f"{name}={value!r}: expected an integer >= {least}")


def check_integers(name: str, values: Any, least: int, count: int) -> None:
    """Raise ValueError unless `values` is a tuple of `count` integers of at least `least`."""
    fits = isinstance(values, tuple) and len(values) == count and all(_is_integer(v, least) for v in values)
    if not fits:
        raise ValueError(f"{name}={values!r}: expected {count} integers >= {least}")


def check_rate(name: str, value: Any) -> None:
    """Raise ValueError unless 0 <= `value` < 1."""
    if not isinstance(value, NUMBERS) or not 0.0 <= value < 1.0:
        raise ValueError(f"{name}={value!r}: expected a number, 0 <= {name} < 1")


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a number above 0."""
    if not isinstance(value, NUMBERS) or not value > 0:
        raise ValueError(f"{name}={value!r}: expected a number > 0")


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, INTEGERS) and not isinstance(value, bool) and int(value) >= least
