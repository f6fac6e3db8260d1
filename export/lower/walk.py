"""StableHLO module -> Program: calls inlined, constants as NumPy arrays, attributes as plain Python.

Only `jaxlib.mlir` is used. The walker knows how StableHLO is written, not what it means: an operation it has
never seen passes through with its attributes and fails in the lowering, which says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
from jaxlib.mlir import ir

from export.lower import mixed, regions
from export.lower.batch import SIZES
from export.lower.program import Op, Program, UnsupportedError, Value, Where, constant

DTYPES = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f64": np.dtype(np.float64),
    "i1": np.dtype(np.bool_),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "ui8": np.dtype(np.uint8),
    "ui16": np.dtype(np.uint16),
    "ui32": np.dtype(np.uint32),
    "ui64": np.dtype(np.uint64),
}

# Library frames: a location inside them is not where the user wrote the operation.
_LIBRARY = re.compile(
    r"-packages[/\\](jax|jaxlib|flax|tensorflow|tf2onnx)[/\\]"
    r"|[/\\]hvjax[/\\]ops[/\\]|[/\\]export[/\\](frontends[/\\]|bridge)"
)
_PASS_THROUGH = {"optimization_barrier", "sharding_constraint"}
_MARKERS = {"Sharding", "annotate_device_placement", "LayoutConstraint"}
_CONTROL = {
    "stablehlo.while": regions.loop,
    "stablehlo.case": regions.branch,
    "stablehlo.if": regions.branch,
}
_RANDOM = re.compile(r"threefry|_?random_bits|_rng_bit")  # functions of jax.random
_ASSERTIONS = {"shape_assertion"}  # jax.export checks the sizes of a call; here they are fixed


def walk(module: ir.Module, arguments: Sequence[Value], loop_rounds: int | None = None) -> Program:
    """Read the `main` function of a StableHLO module.

    Args:
      module: a module whose public function is called `main`.
      arguments: one value per argument of `main`: a graph input, or a weight (a value with `data`).
      loop_rounds: repetitions of a loop that ends when a computed value says so, behind those that are known
        beforehand; None: such a loop is an error.

    Raises:
      UnsupportedError: control flow or a type that ONNX export has no form for, named with its source line.
    """
    functions = {_text(op.attributes["sym_name"]): op for op in module.body.operations}
    walker = _Walker(functions, loop_rounds)
    main = functions["main"]
    block = main.regions[0].blocks[0]
    if len(block.arguments) != len(arguments):
        raise ValueError(f"the module takes {len(block.arguments)} arguments, {len(arguments)} were given")
    outputs = walker.block(block, arguments, Where())
    program = Program([value for value in arguments if value.data is None], outputs, walker.ops)
    program.remove_dead()  # what nobody reads may be as it likes, also at another batch
    return program


class _Walker:
    def __init__(self, functions: dict[str, Any], rounds: int | None = None):
        self.functions = functions
        self.rounds = rounds
        self.ops: list[Op] = []
        self.folding = 0  # inside a loop that is written out its counters are computed here and now

    def apart(self) -> _Walker:
        """A walker for a body that is run on constants: its operations go nowhere."""
        other = _Walker(self.functions, self.rounds)
        other.folding = 1
        return other

    def block(
        self, block: Any, arguments: Sequence[Value], outer: Where, around: dict[Any, Value] | None = None
    ) -> list[Value]:
        """Append the operations of one block; returns what its terminator returns. `around`: what a block
        inside another one may read too."""
        values = {**(around or {}), **dict(zip(block.arguments, arguments, strict=True))}
        for view in block.operations:
            op = view.operation
            inputs = [values[operand] for operand in op.operands]
            if op.name in ("func.return", "stablehlo.return"):
                return inputs
            where = locate(op, outer)
            if op.name in _CONTROL:
                results = _CONTROL[op.name](self, op, inputs, where, values)
            else:
                results = self.operation(op, inputs, where)
            values.update(zip(op.results, results, strict=True))
        raise ValueError("a block without a terminator")

    def operation(self, op: Any, inputs: list[Value], where: Where) -> list[Value]:
        kind = op.name.split(".", 1)[1]
        if kind == "constant":
            return [constant(_elements(op.attributes["value"], where))]
        if op.name == "func.call":
            return self.call(_text(op.attributes["callee"]), inputs, where)
        if kind == "composite":
            name = _text(op.attributes["name"])
            if not name.startswith("chlo."):
                return self.call(_text(op.attributes["decomposition"]), inputs, where)
            kind = name.removeprefix("chlo.")
            attrs = (
                _attributes(op.attributes["composite_attributes"])
                if "composite_attributes" in op.attributes
                else {}
            )
            return self.append(kind, op, inputs, attrs, where)
        if kind in _PASS_THROUGH:
            return inputs
        if kind == "custom_call":
            target = _text(op.attributes["call_target_name"])
            if target in _MARKERS:
                return inputs
            if target in _ASSERTIONS and not len(op.results):
                return []
            if target == "ApproxTopK":
                attrs = _approximate_top_k(op)
                if attrs is not None:  # the exact answer
                    return self.append("top_k", op, inputs[:1], attrs, where)
            if "callback" in target:
                if not len(op.results):  # jax.debug.print and its like change nothing
                    return []
                raise UnsupportedError(where, f"it is a custom call to '{target}', back into Python")
            raise UnsupportedError(where, f"it is a custom call to '{target}'")
        attrs = _attributes(op.attributes)
        if kind in ("reduce", "reduce_window", "scatter"):
            attrs["reducer"] = regions.reducer(self, op, where)
        elif kind == "sort":
            attrs["order"] = regions.comparator(self, op, where)
        elif len(op.regions):
            raise UnsupportedError(where, "this operation with a body has no ONNX form here")
        return self.append(kind, op, inputs, attrs, where)

    def call(self, name: str, inputs: list[Value], where: Where) -> list[Value]:
        if _RANDOM.match(name):
            raise UnsupportedError(
                replace(where, op=f"jax.random ('{name}')"),
                "it draws random numbers (dropout of a model in training?); "
                "draw them outside and pass them as an argument",
            )
        return self.block(self.functions[name].regions[0].blocks[0], inputs, where)

    def append(self, kind: str, op: Any, inputs: list[Value], attrs: dict, where: Where) -> list[Value]:
        if kind == "square":  # newer JAX has a name for it; one spelling is enough for the passes
            kind, inputs = "multiply", [*inputs, *inputs]
        if kind == "concatenate":  # jnp.pad also writes the axes where it pads by nothing
            inputs = [value for value in inputs if value.shape[attrs["dimension"]] != 0] or inputs[:1]
            if len(inputs) == 1:
                return inputs
        if kind in ("slice", "dynamic_slice") and inputs[0].shape == _shape(op):
            return inputs[:1]  # all of it, as jnp.roll by nothing writes
        if kind.startswith("rng"):
            raise UnsupportedError(where, "it draws random numbers; pass them as an argument")
        made = Op(
            kind, inputs, [Value(*tensor_type(result.type, where)) for result in op.results], attrs, where
        )
        known = regions.constant_result(made) if self.folding and _is_small(made) else None
        if known is not None:
            return [known]
        self.ops += mixed.in_one_type(made) if kind in mixed.PRODUCTS else [made]
        return self.ops[-1].outputs


def _shape(op: Any) -> tuple[int, ...]:
    return tuple(ir.RankedTensorType(op.results[0].type).shape)


def _is_small(op: Op) -> bool:
    """A counter or the like. What has the size of the batch stays an operation, or it would be a constant
    that depends on the batch."""
    return all(math.prod(value.shape) < SIZES[0] for value in op.outputs)


def locate(op: Any, outer: Where) -> Where:
    """Module path and source line of an operation; inside an inlined call, the caller's where it has none."""
    text = str(op.location)
    found = re.match(r'loc\("([^"]*)"(?!:\d)', text)
    parts = [part for part in (found[1] if found else "").rstrip(":").split("/") if part]
    # The last part is the primitive's own name; "jit(f)" and einsum formulas are no modules.
    parts = [part for part in parts[:-1] if not re.fullmatch(r"\w+\(.*\)", part) and "->" not in part]
    path = "/".join(part for part in (outer.path, *parts) if part)
    frames = re.findall(r'"([^"]+)":(\d+):\d+', text)
    frames = [f"{file}:{line}" for file, line in frames if not _LIBRARY.search(file)]
    return Where(op.name, path, frames[0] if frames else outer.source)


def shorten_paths(program: Program, roots: set[str]) -> None:
    """Drop what stands before the first of `roots` in every module path ("NextViT/NextViT.features/stage1").

    `roots` are the first parts of the weights' names; a path without any of them belongs to the model itself.
    """
    for op in program.ops:
        parts = op.where.path.split("/")
        start = next((i for i, part in enumerate(parts) if part.partition(".")[0] in roots), len(parts))
        op.where = replace(op.where, path="/".join(parts[start:]))


def tensor_type(kind: Any, where: Where) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an MLIR tensor type."""
    shaped = ir.RankedTensorType(kind)
    element = str(shaped.element_type)
    if element not in DTYPES:
        raise UnsupportedError(
            where, f"element type {element} has no ONNX form here (known: {', '.join(DTYPES)})"
        )
    if not shaped.has_static_shape:
        raise UnsupportedError(where, "its shape is dynamic; lower with static shapes and use dynamic_batch")
    return tuple(shaped.shape), DTYPES[element]


def _elements(attr: Any, where: Where) -> np.ndarray:
    """A dense constant as an array. MLIR hands bfloat16 out as text only: NumPy itself does not know it."""
    shape, dtype = tensor_type(attr.type, where)
    if dtype != DTYPES["bf16"]:
        return np.array(attr).astype(dtype, copy=False).reshape(shape)
    if attr.is_splat:
        return np.full(shape, attr.get_splat_value().value, dtype)
    text = str(attr)[len("dense<") :].rsplit(">", 2)[0]
    if text.startswith('"0x'):  # the bytes of a large constant
        return np.frombuffer(bytes.fromhex(text[3:-1]), dtype).reshape(shape)
    words = re.findall(r"[^\[\],\s]+", text)
    bits = [int(word, 16) if word.startswith("0x") else None for word in words]  # infinities and NaN
    parts = [
        np.array(float(word), dtype) if bit is None else np.array(bit, np.uint16).view(dtype)
        for word, bit in zip(words, bits, strict=True)
    ]
    return np.stack(parts).reshape(shape)


def _approximate_top_k(op: Any) -> dict[str, Any] | None:
    """Attributes of the exact top-k in the place of jax.lax.approx_max_k or approx_min_k."""
    (comparator,) = _attribute(op.attributes["called_computations"])
    options = str(op.attributes["mhlo.backend_config"])
    axis, k = (re.search(rf"{key} = (\d+)", options) for key in ("reduction_dim", "top_k"))
    order = re.match(r"@top_k_(gt|lt)_", comparator)
    if axis is None or k is None or order is None:
        return None
    return {"axis": int(axis[1]), "k": int(k[1]), "largest": order[1] == "gt"}


def _attributes(attributes: Any) -> dict[str, Any]:
    keys = (item if isinstance(item, str) else item.name for item in attributes)
    return {key: _attribute(attributes[key]) for key in keys}


def _attribute(attr: Any) -> Any:
    """An MLIR attribute as a Python value; the structured StableHLO attributes as dicts of tuples."""
    text = str(attr)
    if isinstance(attr, ir.BoolAttr | ir.IntegerAttr | ir.FloatAttr | ir.StringAttr):
        return attr.value
    if isinstance(attr, ir.DenseI64ArrayAttr | ir.DenseBoolArrayAttr):
        return tuple(attr)
    if isinstance(attr, ir.DenseIntElementsAttr):
        return np.array(attr)
    if isinstance(attr, ir.ArrayAttr):
        return tuple(_attribute(item) for item in attr)
    fields = _STRUCTS.get(text.split("<")[0])
    if fields is None:
        return text
    struct = fields[0](attr)
    return {name: _plain(getattr(struct, name)) for name in fields[1]}


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | str) else tuple(value)


def _structs() -> dict[str, tuple[Any, tuple[str, ...]]]:
    from jaxlib.mlir.dialects import stablehlo

    convolution = ("input_batch_dimension", "input_feature_dimension", "input_spatial_dimensions")
    convolution += (
        "kernel_input_feature_dimension",
        "kernel_output_feature_dimension",
        "kernel_spatial_dimensions",
    )
    convolution += ("output_batch_dimension", "output_feature_dimension", "output_spatial_dimensions")
    gather = ("offset_dims", "collapsed_slice_dims", "operand_batching_dims", "start_indices_batching_dims")
    gather += ("start_index_map", "index_vector_dim")
    scatter = ("update_window_dims", "inserted_window_dims", "input_batching_dims")
    scatter += ("scatter_indices_batching_dims", "scattered_dims_to_operand_dims", "index_vector_dim")
    sides = ("lhs", "rhs")
    dot = tuple(f"{side}_{role}_dimensions" for side in sides for role in ("batching", "contracting"))
    return {
        "#stablehlo.scatter": (stablehlo.ScatterDimensionNumbers, scatter),
        "#stablehlo.conv": (stablehlo.ConvDimensionNumbers, convolution),
        "#stablehlo.gather": (stablehlo.GatherDimensionNumbers, gather),
        "#stablehlo.dot": (stablehlo.DotDimensionNumbers, dot),
    }


_STRUCTS = _structs()


def _text(attr: Any) -> str:
    return attr.value
