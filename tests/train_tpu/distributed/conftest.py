"""Processes that a failing test leaves behind."""

from collections.abc import Iterator

import pytest
from host_processes import end_all


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Where a test fails between start and finish."""
    yield
    end_all()
