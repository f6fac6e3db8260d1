"""The search on networks whose errors are known: it finds the culprits, not more, in bounded work."""

from __future__ import annotations

import math

import pytest

from export.precision.search import MAX_RUNS, Measured, search

LAYERS = ("attn/qkv", "attn/proj", "mlp/fc1", "mlp/fc2", "norm")
OWNERS = {
    f"stage{stage}/block{block}/{layer}/MatMul": f"stage{stage}/block{block}/{layer}"
    for stage in (1, 2, 3, 4)
    for block in range(6)
    for layer in LAYERS
}
TARGET = 1e-3


class Network:
    """Independent errors by node, whose squares add."""

    def __init__(self, errors: dict[str, float], floor: float = 0.0) -> None:
        self.errors, self.floor, self.runs = errors, floor, 0

    def __call__(self, kept: frozenset[str]) -> Measured:
        self.runs += 1
        squares = [error**2 for node, error in self.errors.items() if node not in kept]
        error = math.sqrt(sum(squares) + self.floor**2)
        return Measured(error, error <= TARGET)


def healthy() -> dict[str, float]:
    return dict.fromkeys(OWNERS, 3e-5)


def test_a_healthy_network_is_run_once() -> None:
    network = Network(healthy())
    found = search(OWNERS, (), network, TARGET)
    assert found.passed and found.kept == frozenset() and found.runs == network.runs == 1


@pytest.mark.parametrize("error", [2e-3, 0.5, math.inf])
def test_one_bad_layer_is_found_alone(error: float) -> None:
    bad = "stage3/block4/mlp/fc2/MatMul"
    network = Network(healthy() | {bad: error})
    found = search(OWNERS, (), network, TARGET)
    assert found.passed and found.kept == {bad}
    assert [part.name for part in found.parts] == ["stage3/block4/mlp/fc2"]
    assert found.before == pytest.approx(error, rel=0.1) and found.after <= TARGET
    assert found.runs == network.runs <= MAX_RUNS


def test_two_bad_layers_in_different_stages() -> None:
    bad = {"stage1/block0/norm/MatMul", "stage4/block5/attn/qkv/MatMul"}
    found = search(OWNERS, (), Network(healthy() | dict.fromkeys(bad, 4e-3)), TARGET)
    assert found.passed and found.kept == bad


def test_an_error_spread_over_a_stage_keeps_the_stage_together() -> None:
    """No part of it stands out: splitting would only add Casts."""
    spread = {node: 3e-4 for node in OWNERS if node.startswith("stage2/")}
    found = search(OWNERS, (), Network(healthy() | spread), TARGET)
    assert found.passed and [part.name for part in found.parts] == ["stage2"]


def test_what_is_not_needed_is_given_back() -> None:
    """Only the larger of two errors must go, although both are looked at."""
    bad = {"stage1/block0/norm/MatMul": 1.2e-3, "stage4/block5/norm/MatMul": 0.6e-3}
    found = search(OWNERS, (), Network(dict.fromkeys(OWNERS, 0.0) | bad), TARGET)
    assert found.passed and found.kept == {"stage1/block0/norm/MatMul"}


def test_fixed_nodes_stay_and_may_be_enough() -> None:
    bad = "stage3/block4/mlp/fc2/MatMul"
    found = search(OWNERS, {bad}, Network(healthy() | {bad: math.inf}), TARGET)
    assert found.passed and found.kept == {bad} and found.parts == () and found.runs == 2
    assert found.before == math.inf


def test_float32_that_fails_too_ends_the_search() -> None:
    network = Network(healthy() | {"stage1/block0/norm/MatMul": 1.0}, floor=2 * TARGET)
    found = search(OWNERS, (), network, TARGET)
    assert not found.passed and network.runs <= 3
    assert found.note == "all in float32 it is off by 2.0e-03: precision is not what is wrong"


def test_the_number_of_runs_is_bounded() -> None:
    """Errors that no rule predicts: whatever is kept, all but everything in float32 fails."""
    runs: list[int] = []

    def stubborn(kept: frozenset[str]) -> Measured:
        runs.append(len(kept))
        passed = len(kept) == len(OWNERS)
        return Measured(0.0 if passed else 1.0, passed)

    told: list[tuple[int, int]] = []
    found = search(OWNERS, (), stubborn, TARGET, lambda done, most, what: told.append((done, most)), most=12)
    assert len(runs) <= 12 and found.runs == len(runs)
    assert found.passed and found.kept == OWNERS.keys()
    assert told[0] == (0, 12) and [done for done, _ in told] == list(range(len(runs)))
    runs.clear()
    found = search(OWNERS, (), stubborn, TARGET, most=4)
    assert len(runs) == 4 and not found.passed
    assert found.note == "no choice of float32 modules passed within 4 runs"
