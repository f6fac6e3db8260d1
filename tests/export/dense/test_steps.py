"""Which tensor of a detector's file is its proposals."""

from __future__ import annotations

import numpy as np

from export.steps import SAME_PROPOSALS, _likeness

PLACES, THERE = 20, 6


def _proposals() -> np.ndarray:
    """(1, places, 4): boxes in a row, and zeros in the places that are not taken."""
    boxes = np.zeros((1, PLACES, 4), np.float32)
    boxes[0, :THERE] = [[50 * i, 10, 50 * i + 40, 50] for i in range(THERE)]
    return boxes


def test_proposals_are_known_in_any_order() -> None:
    wanted = _proposals()
    assert _likeness(wanted[:, ::-1], wanted) == 1.0
    assert SAME_PROPOSALS < _likeness(wanted + np.float32(1), wanted) < 1.0


def test_places_that_are_not_taken_tell_nothing() -> None:
    """Most are: of boxes that are all wrong, too."""
    wanted, wrong = _proposals(), _proposals()
    wrong[0, :THERE] += 1000
    assert _likeness(wrong, wanted) == 0.0
    assert _likeness(wanted, np.zeros_like(wanted)) == 0.0
