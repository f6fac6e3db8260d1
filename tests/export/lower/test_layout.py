"""Lazy layouts: what a reshape carries along, and when a Transpose is made."""

from __future__ import annotations

import numpy as np
import pytest

from export.lower.graph import Graph
from export.lower.layout import Layouts, carry, reshape, target
from export.lower.program import Batch, Value, Where, constant

NCHW, B = (0, 3, 1, 2), Batch(1009)


@pytest.mark.parametrize(
    ("perm", "old", "new", "carried"),
    [
        (NCHW, (2, 4, 5, 6), (2, 20, 6), (0, 2, 1)),  # tokens of an NCHW image: still channels second
        ((0, 2, 1), (2, 20, 6), (2, 4, 5, 6), NCHW),  # and back
        ((0, 2, 1), (2, 20, 6), (2, 20, 3, 2), (0, 2, 3, 1)),  # heads split channels where they stand
        (NCHW, (2, 4, 5, 6), (2, 120), None),  # channels would have to move between pixels
        ((0, 2, 1), (2, 20, 6), (40, 6), None),
        ((0, 1, 2), (2, 20, 6), (40, 6), (0, 1)),
        (NCHW, (1, 4, 5, 6), (1, 20, 6), (0, 2, 1)),  # a batch of one is a batch all the same
        ((0, 1), (2, 6), (2, 1, 1, 6), (0, 1, 2, 3)),
        (NCHW, (2, 1, 1, 6), (2, 6), (0, 1)),
        (NCHW, (B, 4, 5, 6), (B, 20, 6), (0, 2, 1)),
        ((0, 2, 1), (2, 1, 6), (2, 6), (0, 1)),
    ],
)
def test_what_a_reshape_carries(perm: tuple, old: tuple, new: tuple, carried: tuple | None) -> None:
    assert carry(perm, old, new) == carried


@pytest.mark.parametrize("case", range(40))
def test_a_carried_reshape_is_the_reshape(case: int) -> None:
    rng = np.random.default_rng(case)
    old = tuple(int(n) for n in rng.choice([1, 2, 3, 4], size=rng.integers(2, 5)))
    factors = [f for size in old for f in ((2, 2) if size == 4 else (size,))]
    new: list[int] = [1]
    for factor in factors:
        if rng.random() < 0.5:
            new.append(factor)
        else:
            new[-1] *= factor
    perm = tuple(int(axis) for axis in rng.permutation(len(old)))
    carried = carry(perm, old, tuple(new))
    if carried is None:
        assert any(size > 1 for size in old)
        return
    data = np.arange(np.prod(old)).reshape(old)
    physical = data.transpose(perm).reshape([new[axis] for axis in carried])
    np.testing.assert_array_equal(physical.transpose(np.argsort(carried)), data.reshape(new))


def _held(shape: tuple, perm: tuple) -> tuple[Graph, Layouts, Value]:
    graph = Graph()
    layouts, value = Layouts(graph), Value(shape, np.dtype(np.float32))
    layouts.put(value, perm, graph.input("x", tuple(shape[axis] for axis in perm), value.dtype))
    return graph, layouts, value


def test_a_layout_that_exists_costs_nothing_and_another_one_transpose() -> None:
    graph, layouts, value = _held((2, 4, 5, 6), NCHW)
    assert layouts.cost(value, NCHW) == 0
    assert layouts.get(value, NCHW, Where()).name == "x"
    assert layouts.cost(value, (0, 1, 2, 3)) == 240
    first = layouts.get(value, (0, 1, 2, 3), Where())
    assert layouts.get(value, (0, 1, 2, 3), Where()) is first
    assert [(node.kind, node.attrs) for node in graph.nodes] == [("Transpose", {"perm": [0, 2, 3, 1]})]


def test_moving_dimensions_of_size_one_is_a_reshape() -> None:
    graph, layouts, value = _held((2, 1, 1, 6), NCHW)
    assert layouts.cost(value, (0, 1, 2, 3)) == 0
    layouts.get(value, (0, 1, 2, 3), Where())
    assert [node.kind for node in graph.nodes] == ["Reshape"]


def test_constants_are_transposed_at_conversion_time() -> None:
    graph = Graph()
    kernel = constant(np.arange(6.0).reshape(2, 3), "kernel")
    tensor = Layouts(graph).get(kernel, (1, 0), Where())
    assert not graph.nodes
    np.testing.assert_array_equal(graph.initializers[tensor.name], np.arange(6.0).reshape(2, 3).T)


def test_a_chain_of_reshapes_starts_at_its_beginning() -> None:
    graph, layouts, value = _held((2, 12), (0, 1))
    x = layouts.logical(value, Where())
    y = reshape(graph, reshape(graph, x, (4, 6), Where()), (3, 8), Where())
    assert graph.makers[y.name].inputs[0] == "x"
    assert reshape(graph, y, (2, 12), Where()) is x


@pytest.mark.parametrize(
    ("old", "new", "numbers"),
    [
        ((2, 6), (2, 3, 2), [2, 3, 2]),
        ((B, 6), (B, 3, 2), [0, 3, 2]),
        ((B, 6), (3, B, 2), [3, -1, 2]),
        ((B, 6), (Batch(6 * B, 6),), [-1]),
    ],
)
def test_reshape_targets_follow_the_batch(old: tuple, new: tuple, numbers: list[int]) -> None:
    assert target(old, new) == numbers
