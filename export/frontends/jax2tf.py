"""JAX callable -> TensorFlow function -> tf2onnx -> StableHLO: the road of `--via jax2tf`.

`jax2tf.convert` puts the whole callable into one TensorFlow operation, `XlaCallModule`, that carries a
serialized StableHLO module. tf2onnx has no handler for it and cannot even read its attributes, so the
operation is renamed to one that tf2onnx can read (`PyFunc`, with a token that stands for the module), and our
handler keeps it as one ONNX node. The module behind that node then goes the same way as one from the other
front end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import onnx
import onnx.numpy_helper
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import chlo, stablehlo

from export.frontends.traced import Traced, default_names, named, weight_values
from export.lower.program import UnsupportedError, Value, Where

DOMAIN = "hvjax.stablehlo"
OPSET = 18


def trace(
    fn: Callable[..., Any],
    args: Sequence[Any],
    weights: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Traced:
    """Like `export.frontends.stablehlo.trace`, through TensorFlow and tf2onnx.

    Raises:
      ImportError: TensorFlow or tf2onnx is missing; names the extra to install.
    """
    tf, jax2tf, tf2onnx = import_tensorflow()
    structs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tuple(args))
    leaves, in_tree = jax.tree_util.tree_flatten(structs)
    inputs = named("input", input_names, len(leaves), default_names("input", structs))
    constants = [] if weights is None else weight_values(weights)
    operands = structs if weights is None else (weights, *structs)
    results = jax.eval_shape(fn, *operands)
    outputs = named(
        "output", output_names, len(jax.tree_util.tree_leaves(results)), default_names("output", results)
    )

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # TensorFlow's and jax2tf's own, which no user of the bridge can act on
        converted = jax2tf.convert(fn, with_gradient=False, native_serialization_platforms=("cpu",))

        def tf_function(*tensors: Any) -> list[Any]:
            arguments = jax.tree_util.tree_unflatten(in_tree, tensors)
            if weights is not None:
                held = [tf.constant(value.data, name=f"weight_{i}") for i, value in enumerate(constants)]
                tree = jax.tree_util.tree_structure(weights)
                arguments = (jax.tree_util.tree_unflatten(tree, held), *arguments)
            return jax.tree_util.tree_leaves(converted(*arguments))

        specs = [tf.TensorSpec(leaf.shape, leaf.dtype, name=f"input_{i}") for i, leaf in enumerate(leaves)]
        concrete = tf.function(tf_function, autograph=False, input_signature=specs).get_concrete_function()
        graph, modules = _rename_calls(tf, concrete.graph.as_graph_def())
        model = _to_onnx(tf, tf2onnx, graph, concrete)
    node, arguments = _read_call(model, constants)
    values = {
        f"input_{i}": Value(leaf.shape, np.dtype(leaf.dtype), None, name)
        for i, (leaf, name) in enumerate(zip(leaves, inputs, strict=True))
    }
    arguments = [values[a] if isinstance(a, str) else a for a in arguments]
    token = onnx.helper.get_node_attr_value(node, "token").decode()
    return Traced(
        _deserialize(modules[token]), arguments, outputs, [values[f"input_{i}"] for i in range(len(leaves))]
    )


def import_tensorflow() -> tuple[Any, Any, Any]:
    """(tensorflow, jax2tf, tf2onnx), imported without their noise.

    Raises:
      ImportError: one is missing; names the extra to install.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow as tf
            import tf2onnx
            import tf2onnx.tfonnx
            from jax.experimental import jax2tf

            # TensorFlow only traces here; left alone it would take all memory of the GPU
            with contextlib.suppress(RuntimeError):  # someone in this process uses it already
                tf.config.set_visible_devices([], "GPU")
    except ImportError as error:
        raise ImportError(
            f"via='jax2tf' needs TensorFlow and tf2onnx ({error}): pip install 'hvjax[export]', "
            "or use via='stablehlo', which needs neither"
        ) from error
    for name in ("tensorflow", "tf2onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return tf, jax2tf, tf2onnx


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what C++ code writes to file descriptor 2; it is replayed if an exception leaves the
    block."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            sink.seek(0)
            os.write(2, sink.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _rename_calls(tf: Any, definition: Any) -> tuple[Any, dict[str, bytes]]:
    """The graph with every XlaCallModule as a PyFunc whose token stands for the module's bytes."""
    modules: dict[str, bytes] = {}
    renamed = tf.compat.v1.GraphDef()
    renamed.versions.CopyFrom(definition.versions)
    passed = {node.name: node.input[0] for node in definition.node if node.op == "Identity"}

    def origin(name: str) -> str:
        while name in passed:
            name = passed[name]
        return name

    for old in definition.node:
        if old.op == "NoOp":
            continue
        node = renamed.node.add()
        node.name = old.name
        node.input.extend(origin(name) for name in old.input if not name.startswith("^"))
        if old.op == "PreventGradient":
            node.op = "Identity"
            node.attr["T"].CopyFrom(old.attr["T"])
        elif old.op == "XlaCallModule":
            token = f"module_{len(modules)}"
            modules[token] = old.attr["module"].s
            node.op = "PyFunc"
            node.attr["token"].s = token.encode()
            for key in ("Tin", "Tout"):
                node.attr[key].CopyFrom(old.attr[key])
            node.attr["_output_shapes"].CopyFrom(old.attr["Sout"])
        else:
            node.op = old.op
            for key, value in old.attr.items():
                node.attr[key].CopyFrom(value)
    return renamed, modules


def _to_onnx(tf: Any, tf2onnx: Any, definition: Any, concrete: Any) -> onnx.ModelProto:
    class KeepCall:
        @classmethod
        def version_1(cls, ctx: Any, node: Any, **kwargs: Any) -> None:
            node.domain = DOMAIN

    tf2onnx.handler.tf_op(["PyFunc"])(KeepCall)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    converted = tf2onnx.tfonnx.process_tf_graph(
        graph,
        opset=OPSET,
        input_names=[tensor.name for tensor in concrete.inputs],
        output_names=[tensor.name for tensor in concrete.outputs],
        extra_opset=[onnx.helper.make_opsetid(DOMAIN, 1)],
    )
    return converted.make_model("jax2tf")


def _read_call(model: onnx.ModelProto, weights: list[Value]) -> tuple[onnx.NodeProto, list[Value | str]]:
    """The call in tf2onnx's graph and its arguments: weights as tf2onnx holds them, or names of graph
    inputs."""
    graph = model.graph
    calls = [node for node in graph.node if node.domain == DOMAIN]
    others = {node.op_type for node in graph.node} - {"PyFunc", "Identity"}
    if len(calls) != 1 or others:
        found = f"{len(calls)} calls and {', '.join(sorted(others)) or 'nothing else'}"
        raise UnsupportedError(
            Where("jax2tf"), f"one JAX call was expected in the TensorFlow graph, found {found}"
        )
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    held = {tensor.name: tensor for tensor in graph.initializer}
    arguments: list[Value | str] = []
    for name in calls[0].input:
        while name in source:
            name = source[name]
        stem = name.split(":")[0]
        if not stem.startswith("weight_"):
            arguments.append(stem)
            continue
        weight = weights[int(stem.removeprefix("weight_"))]
        data = onnx.numpy_helper.to_array(held[name]).astype(weight.dtype, copy=False)
        arguments.append(Value(weight.shape, weight.dtype, data, weight.name))
    return calls[0], arguments


def _deserialize(artifact: bytes) -> Any:
    context = ir.Context()
    stablehlo.register_dialect(context)
    chlo.register_dialect(context)
    return stablehlo.deserialize_portable_artifact(context, artifact)
