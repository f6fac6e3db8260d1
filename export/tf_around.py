"""TensorFlow functions before and behind a JAX function, all in one ONNX file.

pictures --before (TensorFlow, tf2onnx)--> fn (JAX, our bridge) --after (TensorFlow, tf2onnx)--> results
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import onnx
from onnx import compose, helper

from export.bridge import IR_VERSION, check, convert
from export.frontends.jax2tf import OPSET, import_tensorflow, quiet
from export.frontends.traced import named
from export.join import every_node, join, rename, take_nchw
from export.lower.graph import BATCH
from export.lower.program import UnsupportedError, Where
from export.resize_scales import mend_scales

#: Names of nodes, and of the inputs, of the TensorFlow parts.
BEFORE, AFTER = "before", "after"


def convert_tf(
    fn: Callable[..., Any],
    *example_args: Any,
    before: Callable[..., Any] | None = None,
    after: Callable[..., Any] | None = None,
    weights: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    via: str = "jax2tf",
    dynamic_batch: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Convert a JAX callable with TensorFlow functions around it: `after(fn(before(*example_args)))`.

    Args:
      fn: called with what `before` returns (behind the weights, if there are any); arrays in and out.
      example_args: arrays, `jax.ShapeDtypeStruct`s or `tf.TensorSpec`s, as `before` takes them (`fn`, where
        there is no `before`).
      before: a TensorFlow function of tensors, such as `tf.image.resize` and a cast. tf2onnx converts it: an
        operation that it does not know is an error, and pictures of unknown size stay an error too.
      after: a TensorFlow function of the results of `fn`, in flattening order.
      weights, metadata, via: as of `export.convert`; the graph is the same by either `via`.
      input_names, output_names: of the whole: one per argument, one per result.
      dynamic_batch: leave the first dimension of every input open, under the name "batch".

    Pictures are in TensorFlow's order, (b, h, w, c).

    Raises:
      ImportError: TensorFlow or tf2onnx is missing; names the extra to install.
      UnsupportedError: (a ValueError) an operation without an ONNX form, in one of the functions.
      ValueError: an argument is not one of the accepted values, or the parts do not fit.
    """
    structs = [_struct(argument, dynamic_batch) for argument in example_args]
    inputs = named("input", input_names, len(structs), _numbered("input", len(structs)))
    front = _part(BEFORE, before, structs, dynamic_batch) if before is not None else None
    taken = front.results if front else structs
    shapes = [jax.ShapeDtypeStruct((1, *s.shape[1:]) if dynamic_batch else s.shape, s.dtype) for s in taken]
    nchw = front is not None and take_nchw(front.model)
    middle = convert(
        fn,
        *shapes,
        weights=weights,
        input_names=_numbered("between", len(taken)) if front else inputs,
        output_names=output_names if after is None else None,
        input_layout="nchw" if nchw else "nhwc",
        via=via,
        dynamic_batch=dynamic_batch,
        metadata=metadata,
    )
    made = middle if front is None else join(front.model, middle)
    if front is not None:
        rename(made, dict(zip(_numbered(BEFORE, len(structs)), inputs, strict=True)))
    if after is not None:
        back = _part(AFTER, after, [_of(info) for info in made.graph.output], dynamic_batch)
        made = join(made, back.model)
        given = [info.name for info in made.graph.output]
        wanted = named("output", output_names, len(given), _numbered("output", len(given)))
        rename(made, dict(zip(given, wanted, strict=True)))
    check(made)
    return made


@dataclass(frozen=True)
class _Struct:
    """Shape and type of a tensor; with an open batch its first dimension is None."""

    shape: tuple[Any, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class _Part:
    """A TensorFlow function as ONNX; its inputs are called by its name and a number."""

    model: onnx.ModelProto
    results: list[_Struct]


def _part(name: str, fn: Callable[..., Any], structs: Sequence[_Struct], dynamic: bool) -> _Part:
    tf, _, tf2onnx = import_tensorflow()
    names = _numbered(name, len(structs))
    specs = [
        tf.TensorSpec(s.shape, tf.as_dtype(s.dtype), name=one) for s, one in zip(structs, names, strict=True)
    ]
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # of TensorFlow, and of its use of NumPy
        traced = tf.function(fn, input_signature=specs)
        concrete = traced.get_concrete_function()
        model, _ = tf2onnx.convert.from_function(traced, input_signature=specs, opset=OPSET)
    unknown = {
        node.op_type for node in every_node(model.graph) if not onnx.defs.has(node.op_type, node.domain)
    }
    if unknown:
        raise UnsupportedError(
            Where(f"TensorFlow ({name})"),
            f"tf2onnx has no ONNX form of {', '.join(sorted(unknown))}; antialiased resizing is such a case: "
            "jax.image.resize can do it, in the JAX function",
        )
    results = [_result(name, tensor, dynamic) for tensor in concrete.outputs]
    model = compose.add_prefix(model, f"{name}/", rename_inputs=False)
    model.ir_version = IR_VERSION
    for infos, held in ((model.graph.input, structs), (model.graph.output, results)):
        for info, struct in zip(infos, held, strict=True):
            shape = [BATCH if size is None else size for size in struct.shape]
            kind = helper.np_dtype_to_tensor_dtype(struct.dtype)
            info.CopyFrom(helper.make_tensor_value_info(info.name, kind, shape))
    mend_scales(model)
    return _Part(model, results)


def _result(name: str, tensor: Any, dynamic: bool) -> _Struct:
    shape = tensor.shape.as_list() if tensor.shape.rank is not None else [None]
    known = shape[1:] if dynamic else shape
    if None in known or tensor.shape.rank is None:
        raise ValueError(
            f"{name}: the TensorFlow function gives a tensor of shape {tensor.shape}; all sizes but an open "
            "batch must be known (set_shape, or a fixed size to resize to)"
        )
    if dynamic and shape[0] is not None:
        raise ValueError(f"{name}: the batch of its result is {shape[0]} whatever the pictures are")
    dtype = np.dtype(tensor.dtype.as_numpy_dtype)
    if jax.dtypes.canonicalize_dtype(dtype) != dtype and name == BEFORE:
        raise ValueError(f"{name}: the TensorFlow function gives {dtype}, which JAX does not take: cast it")
    return _Struct(tuple(shape), dtype)


def _struct(argument: Any, dynamic: bool) -> _Struct:
    shape = tuple(argument.shape)
    dtype = argument.dtype
    kind = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
    if dynamic and not shape:
        raise ValueError("dynamic_batch needs inputs with a first dimension; one input is a scalar")
    if None in shape[1:] or (not dynamic and None in shape):
        raise ValueError(f"an example argument has shape {shape}: only the batch may be open (dynamic_batch)")
    return _Struct((None, *shape[1:]) if dynamic else shape, kind)


def _of(info: onnx.ValueInfoProto) -> _Struct:
    tensor = info.type.tensor_type
    shape = tuple(None if axis.dim_param else axis.dim_value for axis in tensor.shape.dim)
    return _Struct(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{index}" for index in range(count)]
