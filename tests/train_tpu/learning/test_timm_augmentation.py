"""RandAugment, colour jitter, boxes, mixing and losses against what timm and torchvision recorded.

Recorded by tests/parity/live_augment.py, which compares the same things live where timm is installed.
"""

from pathlib import Path

import augment_cases as cases
import numpy as np
import pytest

from train_tpu.data.augment_ops import OPERATIONS

RECORDED = Path(__file__).parents[2] / "goldens" / "augment.npz"


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    with np.load(RECORDED) as recorded:
        return cases.ours(), dict(recorded)


def test_everything_equals_timm(both) -> None:
    worst = cases.differences(*both)
    assert set(worst) == set(cases.LIMITS)
    over = {group: found for group, found in worst.items() if found[1] > found[2]}
    assert not over


def test_each_operation_is_recorded_and_does_something(both) -> None:
    """At magnitude 9 every operation changes one of the pictures: doing nothing would not pass."""
    ours, _ = both
    changes = {
        case.name
        for case in cases.operations()
        for number, picture in enumerate(cases.pictures())
        if case.magnitude == 9 and (ours[f"{case.key}/{number}"] != picture).any()
    }
    assert changes == set(OPERATIONS)


@pytest.mark.parametrize("group", list(cases.LIMITS))
def test_the_comparison_sees_a_difference(both, group: str) -> None:
    """One result of the group changed by more than its limit is found."""
    ours, theirs = both
    name = next(name for name in theirs if name.startswith(group))
    changed = {**ours, name: ours[name].astype(np.float64) + 2.0}
    _, difference, limit = cases.differences(changed, theirs)[group]
    assert difference > limit
