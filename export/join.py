"""Two ONNX models, one behind the other, as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import compose, helper, version_converter

_TO_NHWC = [0, 2, 3, 1]


def join(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """The outputs of `first`, in order, become the inputs of `second`. The names of the two must differ;
    shapes of all that lies in between are inferred anew.

    Raises:
      ValueError: they do not fit, or an operator of one cannot be written in the opset of the other.
    """
    version = max(_opset(first), _opset(second))
    parts = [_with_opset(model, version) for model in (first, second)]
    for part in parts:
        part.ir_version = max(first.ir_version, second.ir_version)
        del part.graph.value_info[:]
    pairs = list(zip(_names(first.graph.output), _names(second.graph.input), strict=True))
    made = compose.merge_models(*parts, io_map=pairs, name=second.graph.name, producer_name="hvjax")
    _tidy(made)
    try:
        return onnx.shape_inference.infer_shapes(made, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"the two models do not fit one another: {error}") from error


def take_nchw(model: onnx.ModelProto) -> bool:
    """Whether every output of rank 4 is made by a Transpose from (b, c, h, w) to (b, h, w, c); if so, `model`
    gives them before it, and their last Transposes are gone."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    images = [info for info in graph.output if len(info.type.tensor_type.shape.dim) == 4]
    if not images or not all(_is_to_nhwc(makers.get(info.name)) for info in images):
        return False
    for info in images:
        kind = info.type.tensor_type.elem_type
        b, h, w, c = (axis.dim_param or axis.dim_value for axis in info.type.tensor_type.shape.dim)
        maker = makers[info.name]
        info.CopyFrom(helper.make_tensor_value_info(maker.input[0], kind, [b, c, h, w]))
    used = {name for node in every_node(graph) for name in node.input} | set(_names(graph.output))
    for node in [node for node in graph.node if _is_to_nhwc(node) and node.output[0] not in used]:
        graph.node.remove(node)
    return True


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the bodies of its loops and branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from every_node(body)


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Gives tensors other names, in place."""
    graph = model.graph
    for node in every_node(graph):
        for held in (node.input, node.output):
            for index, name in enumerate(held):
                held[index] = names.get(name, name)
    for info in (*graph.input, *graph.output, *graph.value_info):
        info.name = names.get(info.name, info.name)


def _tidy(model: onnx.ModelProto) -> None:
    """Drops what no node reads: numbers, and sets of operators (a merged model names some twice)."""
    graph = model.graph
    read = {name for node in every_node(graph) for name in node.input} | set(_names(graph.output))
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    used = {node.domain for node in every_node(graph)} | {""}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, versions[domain]) for domain in sorted(used))


def _is_to_nhwc(node: onnx.NodeProto | None) -> bool:
    if node is None or node.op_type != "Transpose":
        return False
    return any(list(attribute.ints) == _TO_NHWC for attribute in node.attribute)


def _opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain == "")


def _with_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    if _opset(model) == version:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        return version_converter.convert_version(model, version)
    except RuntimeError as error:  # onnx raises classes of its own for operators without an adapter
        raise ValueError(f"an operator cannot be written in opset {version}: {error}") from error


def _names(infos: Iterable[onnx.ValueInfoProto]) -> list[str]:
    return [info.name for info in infos]
