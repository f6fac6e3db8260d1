"""JAX callable -> ONNX model: front end, program, passes, lowering, checks. Knows no model.

fn --front end--> StableHLO --walk--> Program --passes--> Program --lower--> Graph --> onnx.ModelProto
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import onnx

from export.frontends.traced import Traced, weight_names
from export.lower.batch import SIZES, mark_batch
from export.lower.graph import BATCH, Graph
from export.lower.lowering import lower
from export.lower.program import Program
from export.lower.regions import MAX_TRIPS
from export.lower.walk import shorten_paths, walk
from export.passes import run_passes
from hvjax.ops.conv import plain_convolutions

# docs/export-decisions.md says why these: 20 is the newest that TensorRT 10.0 reads and the first with Gelu,
# at the same kernel counts as any other. Only convolutions in bfloat16 need 22, and group norms 21 (with
# scale and bias per channel: 117 kernels of PoolFormer-S12 instead of 165 by instance norms).
OPSET = 20
OPSET_GROUP_NORM = 21
OPSET_BFLOAT16 = 22
IR_VERSION = 10
NOT_INFERRED = ("GroupNormalization",)  # its shape: onnx has it as a function only

FRONT_ENDS = ("stablehlo", "jax2tf")


def convert(
    fn: Callable[..., Any],
    *example_args: Any,
    weights: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    input_layout: str = "nhwc",
    output_layout: str | None = None,
    via: str = "stablehlo",
    dynamic_batch: bool = False,
    loop_rounds: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Convert a JAX callable to an ONNX model that has passed the checker and strict shape inference.

    Args:
      fn: called as `fn(*example_args)`, or `fn(weights, *example_args)` if there are weights; arrays or
        pytrees of arrays in and out. Its precision is the graph's precision.
      example_args: arrays or `jax.ShapeDtypeStruct`s; only shapes and dtypes matter.
      weights: pytree of arrays; each leaf that the graph needs becomes an initializer named by its path
        ("stage3.block2.mhca.conv.kernel", a leading "params." dropped).
      input_names: one per array in `example_args`; by default "input", "input_0", ...
      output_names: one per array in the result; by default its dict keys, "output", "output_0", ...
      input_layout: "nhwc" keeps the callable's own order; "nchw" makes every rank-4 graph input (b, c, h, w).
      output_layout: the same for rank-4 graph outputs; None is "nhwc".
      via: "stablehlo" lowers with JAX alone; "jax2tf" goes through TensorFlow and tf2onnx to the same graph.
      dynamic_batch: leave the first dimension of every input open, under the name "batch".
      loop_rounds: how often a loop that ends when a computed value says so (`lax.while_loop`) is written out,
        behind the repetitions that are known beforehand (one, where its flag begins as True). A repetition
        changes nothing once the condition no longer holds, so the graph is right where this many are enough.
        None: such a loop is an error.
      metadata: written to the model's metadata_props.

    Raises:
      UnsupportedError: (a ValueError) the function does what ONNX cannot express here; names operation,
        module path and source line.
      ValueError: an argument is not one of the accepted values.
    """
    _check("input_layout", input_layout, ("nhwc", "nchw"))
    _check("output_layout", output_layout, (None, "nhwc", "nchw"))
    _check("via", via, FRONT_ENDS)
    _check_rounds(loop_rounds)
    # hvjax's own models write some convolutions in another form on a CPU; a graph wants one Conv for each
    with plain_convolutions():
        traced, program = _program(
            fn, example_args, weights, input_names, output_names, via, dynamic_batch, loop_rounds
        )
    return _finish(traced, program, input_layout, output_layout, metadata)


def convert_stablehlo(
    module: Any,
    *,
    weights: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    input_layout: str = "nhwc",
    output_layout: str | None = None,
    input_shapes: Sequence[Sequence[int | None]] | None = None,
    dynamic_batch: bool | None = None,
    loop_rounds: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Convert a StableHLO module to ONNX, like `convert`, without the Python code that it was made from.

    Args:
      module: StableHLO text (str or bytes), MLIR bytecode, a portable artifact, the bytes of a serialized
        `jax.export.Exported`, or the path (`os.PathLike`) of a file with one of them; a
        `jax.export.Exported`, a `jax.stages.Lowered` or an `ir.Module`. Its function is `main`, or the only
        one.
      weights: list or pytree of arrays that become the first arguments, in flattening order; initializers
        named by path, for a list by what the module says. None: every argument is a graph input. Weights that
        are constants of the module need nothing.
      input_names: one per argument that is no weight; by default "input", "input_0", ...
      output_names: one per result; by default the keys of the dict that the function returned, else
        "output", "output_0", ...
      input_layout, output_layout: as in `convert`.
      input_shapes: shapes of the inputs, for a module that leaves more open than the batch; None inside
        stands for the batch.
      dynamic_batch: None leaves the batch open exactly if the module does; False closes it at 1; True demands
        an open one.
      loop_rounds: as in `convert`.
      metadata: written to the model's metadata_props.

    Raises:
      UnsupportedError: (a ValueError) the module does what ONNX cannot express here.
      ValueError: bytes that are no module, arguments that do not fit it, an option that is not accepted.
      OSError: the file cannot be read.
      TypeError: `module` is none of the above.
    """
    from export.frontends import module as artifacts

    _check("input_layout", input_layout, ("nhwc", "nchw"))
    _check("output_layout", output_layout, (None, "nhwc", "nchw"))
    _check_rounds(loop_rounds)
    artifact = artifacts.Artifact(module)
    is_open = artifacts.open_batch(artifact, weights, input_shapes)
    if dynamic_batch and not is_open:
        raise artifacts.no_open_batch()

    def trace(batch: int | None) -> tuple[Traced, Program]:
        traced = artifacts.trace(artifact, batch, weights, input_names, output_names, input_shapes)
        return traced, _walk(traced, weights, loop_rounds)

    if is_open and dynamic_batch is not False:
        traced, program = trace(SIZES[0])
        mark_batch(program, trace(SIZES[1])[1])
    else:
        traced, program = trace(1)
    return _finish(traced, program, input_layout, output_layout, metadata)


def _finish(
    traced: Traced,
    program: Program,
    input_layout: str,
    output_layout: str | None,
    metadata: Mapping[str, str] | None,
) -> onnx.ModelProto:
    run_passes(program)
    graph = lower(program, traced.output_names, input_layout, output_layout)
    return _model(graph, dict(metadata or {}))


def _walk(traced: Traced, weights: Any, loop_rounds: int | None) -> Program:
    program = walk(traced.module, traced.arguments, loop_rounds)
    program.inputs = traced.inputs
    if weights is not None:
        shorten_paths(program, {name.split(".")[0] for name in weight_names(weights)})
    return program


def _program(
    fn: Callable[..., Any],
    args: Sequence[Any],
    weights: Any,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    via: str,
    dynamic_batch: bool,
    loop_rounds: int | None,
) -> tuple[Traced, Program]:
    def trace(batch: int | None) -> tuple[Traced, Program]:
        traced = _front_end(via)(fn, _with_batch(args, batch), weights, input_names, output_names)
        return traced, _walk(traced, weights, loop_rounds)

    if not dynamic_batch:
        return trace(None)
    traced, program = trace(SIZES[0])
    mark_batch(program, trace(SIZES[1])[1])
    return traced, program


def _front_end(via: str) -> Callable[..., Traced]:
    if via == "jax2tf":
        from export.frontends import jax2tf

        return jax2tf.trace
    from export.frontends import stablehlo

    return stablehlo.trace


def _with_batch(args: Sequence[Any], batch: int | None) -> tuple[Any, ...]:
    """The arguments as shapes, the first dimension replaced by `batch` unless that is None."""

    def struct(leaf: Any) -> jax.ShapeDtypeStruct:
        shape = tuple(np.shape(leaf))
        if batch is not None and not shape:
            raise ValueError("dynamic_batch needs inputs with a first dimension; one input is a scalar")
        return jax.ShapeDtypeStruct(shape if batch is None else (batch, *shape[1:]), leaf.dtype)

    return jax.tree.map(struct, tuple(args))


def _model(graph: Graph, metadata: Mapping[str, str]) -> onnx.ModelProto:
    proto = graph.proto("main")
    bfloat16 = any(info.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16 for info in proto.value_info)
    grouped = any(node.op_type == "GroupNormalization" for node in proto.node)
    opset = OPSET_BFLOAT16 if bfloat16 else OPSET_GROUP_NORM if grouped else OPSET
    model = onnx.helper.make_model(
        proto,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
        producer_name="hvjax",
    )
    if metadata:
        onnx.helper.set_model_props(model, dict(metadata))
    check(model)
    return model


def check(model: onnx.ModelProto) -> None:
    """ONNX checker with full_check, strict shape inference, and no value_info that inference contradicts.

    Raises:
      ValueError: the model is not valid; says where.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        # Inference knows no shape of a group norm; it takes the recorded one and goes on from there.
        blind = {name for node in model.graph.node if node.op_type in NOT_INFERRED for name in node.output}
        del bare.graph.value_info[:]
        bare.graph.value_info.extend(info for info in model.graph.value_info if info.name in blind)
        inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"the bridge made an invalid ONNX graph, please report it: {error}") from error
    ours = {info.name: info for info in model.graph.value_info}
    for info in inferred.graph.value_info:
        known, found = ours[info.name].type.tensor_type, info.type.tensor_type
        if known.elem_type != found.elem_type or not _agree(known.shape, found.shape):
            raise ValueError(f"the bridge recorded a wrong shape for '{info.name}', please report it")


def _agree(known: onnx.TensorShapeProto, found: onnx.TensorShapeProto) -> bool:
    """Same rank, and equal sizes wherever inference knows them."""
    if len(known.dim) != len(found.dim):
        return False
    for mine, theirs in zip(known.dim, found.dim, strict=True):
        if theirs.HasField("dim_value") and mine.dim_value != theirs.dim_value:
            return False
        if theirs.dim_param == BATCH and mine.dim_param != BATCH:
            return False
    return True


def _check_rounds(loop_rounds: int | None) -> None:
    if loop_rounds is not None and (isinstance(loop_rounds, bool) or not 1 <= loop_rounds <= MAX_TRIPS):
        raise ValueError(f"loop_rounds={loop_rounds!r}: expected 1 to {MAX_TRIPS}, or None")


def _check(name: str, value: Any, accepted: Sequence[Any]) -> None:
    if value not in accepted:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, accepted))}")
