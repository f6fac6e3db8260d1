"""Islands: right names, Casts only at the borders, the weights of the float32 export."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from export.bridge import check
from export.precision.islands import (
    NoSuchModule,
    element_types,
    half_nodes,
    keep_float32,
    names_of,
    select,
)
from export.runtimes.onnxruntime import OnnxSession

#: Two float32 evaluations of four small convolutions.
FLOAT32_TOLERANCE = 1e-6


def casts(model: Any) -> int:
    return sum(node.op_type == "Cast" for node in model.graph.node)


def run(net: Any, model: Any) -> np.ndarray:
    parts = [net.images[start : start + 4] for start in (0, 4)]
    session = OnnxSession(model.SerializeToString())
    return np.concatenate([session.run(part)["logits"] for part in parts])


def test_an_island_has_casts_at_its_borders_only(sample: Any) -> None:
    net = sample()
    nodes = select(net.typed, ["block2/mlp"])
    model = keep_float32(net.typed, nodes, net.weights())
    check(model)
    assert casts(model) == casts(net.typed) + 2, "one into the island, one out of it"
    types = element_types(model)
    inside = [node for node in model.graph.node if node.name in nodes]
    assert len(inside) == 3 and {node.op_type for node in inside} == {"Conv", "Relu"}
    assert {types[name] for node in inside for name in (*node.input, *node.output)} == {TensorProto.FLOAT}
    rest = [node for node in model.graph.node if node.op_type == "Conv" and node.name not in nodes]
    assert {types[node.output[0]] for node in rest} == {TensorProto.FLOAT16}


def test_weights_of_an_island_are_those_of_the_float32_export(sample: Any) -> None:
    net = sample()
    model = keep_float32(net.typed, select(net.typed, ["block2/mlp/fc1"]), net.weights())
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kernel = held["block2.mlp.fc1.kernel/float32"]
    assert np.array_equal(kernel, net.weights()["block2.mlp.fc1.kernel"])
    assert not np.array_equal(kernel, kernel.astype(np.float16))
    assert "block2.mlp.fc1.kernel" not in held, "no second copy"
    other = net.weights() | {"block2.mlp.fc1.kernel": 2 * kernel}  # another tensor of the same name and shape
    model = keep_float32(net.typed, select(net.typed, ["block2/mlp/fc1"]), other)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert np.array_equal(held["block2.mlp.fc1.kernel/float32"], kernel.astype(np.float16))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_all_in_float32_is_the_float32_model(sample: Any, precision: str) -> None:
    net = sample(precision)
    model = keep_float32(net.typed, half_nodes(net.typed), net.weights())
    check(model)
    assert casts(model) == 0
    assert np.abs(run(net, model) - net.logits).max() <= FLOAT32_TOLERANCE * np.abs(net.logits).max()


def test_a_tensor_read_inside_and_outside_is_cast_once(sample: Any) -> None:
    """The sum of a block goes on through its convolution and around it."""
    net = sample()
    model = keep_float32(net.typed, select(net.typed, ["block1"]), net.weights())
    check(model)
    assert casts(model) == casts(net.typed) + 2
    model = keep_float32(net.typed, select(net.typed, ["block1/.", "block2/."]), net.weights())
    check(model)
    assert np.isfinite(run(net, model)).all()


def test_names_stand_for_their_nodes(sample: Any) -> None:
    """Whatever modules are kept, `select` finds the same nodes by the names that are reported."""
    net = sample()
    owners = half_nodes(net.typed)
    modules = sorted(set(owners.values()))
    rng = np.random.default_rng(0)
    for _ in range(30):
        chosen = {module for module in modules if rng.random() < 0.5}
        nodes = {node for node, owner in owners.items() if owner in chosen}
        names = names_of(nodes, owners)
        assert select(net.typed, names) & owners.keys() == nodes
        assert len(names) <= len(chosen)


def test_whole_modules_get_one_name(sample: Any) -> None:
    net = sample()
    owners = half_nodes(net.typed)
    assert names_of(select(net.typed, ["block2/mlp"]), owners) == ["block2/mlp"]
    assert names_of(select(net.typed, ["block2"]), owners) == ["block2"]
    assert names_of(select(net.typed, ["block2/."]), owners) == ["block2/."]
    assert names_of(select(net.typed, ["stem", "head"]), owners) == ["stem", "head"]


def test_an_unknown_module_names_near_ones(sample: Any) -> None:
    with pytest.raises(NoSuchModule, match=r"no module 'block2/mpl' in the graph; did you mean block2/mlp"):
        select(sample().typed, ["stem", "block2/mpl"])
    with pytest.raises(NoSuchModule, match=r"it has block1, block2, head, stem"):
        select(sample().typed, ["zzz"])
