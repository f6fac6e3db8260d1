"""Multiply-adds and bytes of the nodes of a file."""

import onnx
import pytest
from onnx import TensorProto, helper

from export.lab.files import Files
from export.lab.profile.work import count
from export.lab.subject import network
from export.studies.t4_table import SMALL

FLOAT = TensorProto.FLOAT


def file(shape: list[int | str]) -> bytes:
    """A convolution of two groups, an activation, a view and a product."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="stem/conv/Conv", group=2, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="stem/Relu"),
        helper.make_node("Reshape", ["r", "s"], ["f"], name="Reshape"),
        helper.make_node("Gemm", ["f", "m"], ["y"], name="head/Gemm", transB=1),
    ]
    weights = [
        helper.make_tensor("w", FLOAT, [6, 2, 3, 3], [0.0] * 108),
        helper.make_tensor("m", TensorProto.FLOAT16, [5, 96], [0.0] * 480),
        helper.make_tensor("s", TensorProto.INT64, [2], [2, 96]),
    ]
    values = [
        helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in (("x", shape), ("y", [2, 5]))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    return onnx.helper.make_model(graph).SerializeToString()


def test_counts_by_hand() -> None:
    work = count(file([2, 4, 4, 4]))
    conv, relu, view, gemm = work.nodes
    outputs = 2 * 6 * 4 * 4
    assert conv.macs == outputs * 2 * 9 and conv.bytes == 4 * (2 * 4 * 16 + 108 + outputs)
    assert (relu.macs, relu.bytes) == (0, 4 * 2 * outputs)
    assert (view.macs, view.bytes) == (0, 0)
    assert gemm.macs == 2 * 5 * 96 and gemm.bytes == 4 * (outputs + 10) + 2 * 480  # float16 has two bytes
    assert work.macs == conv.macs + gemm.macs and work.bytes == sum(node.bytes for node in work.nodes)


def test_a_module_holds_all_below_it_and_no_namesake() -> None:
    work = count(file([2, 4, 4, 4]))
    assert work.within("stem").nodes == work.nodes[:2] and work.within("stem/conv").nodes == work.nodes[:1]
    assert work.within("st").nodes == ()


def test_shapes_must_be_known() -> None:
    with pytest.raises(ValueError, match="dynamic"):
        count(file(["batch", 4, 4, 4]))


@pytest.mark.parametrize("model", ["resnet50", "uniformer_s"])
def test_multiply_adds_of_a_network_are_those_that_hvjax_counts(model: str) -> None:
    subject = network(model, image_size=64, num_classes=10, **SMALL[model])
    work = count(Files().onnx(subject, 3, "fp32"))
    assert work.macs == 3 * subject.facts["macs"]
    parts = sum(work.within(name).macs for name in ("stem", "stage1", "stage2", "stage3", "stage4", "head"))
    # what is between the stages of a UniFormer (its embeddings) has names of its own
    assert 0 < parts <= work.macs
