"""A StableHLO module as text, bytes, file or JAX object -> the bridge, without the Python code it came from.

A `jax.export` artifact may leave dimensions open ("?"). MLIR's own passes give such a module the shapes of
one call (`stablehlo-refine-shapes`); a dimension that stays open in the ONNX graph is found as for a
callable, by comparing two sizes of the batch.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxlib.mlir import ir, passmanager
from jaxlib.mlir.dialects import stablehlo

from export.frontends.bytecode import MAGIC, check_strings
from export.frontends.traced import Traced, named, weight_names, weight_values
from export.lower.program import Value, constant
from export.lower.walk import DTYPES

_PORTABLE = b"StableHLO_v"  # the producer that follows in a portable artifact
ACCEPTED = (
    "StableHLO text, MLIR bytecode, a portable artifact, a serialized jax.export.Exported, or the path of a "
    "file with one of them; a jax.export.Exported, a jax.stages.Lowered or an ir.Module"
)
_HOW_TO_EXPORT = (
    "b, = jax.export.symbolic_shape('b'); jax.export.export(jax.jit(f))(weights, "
    "jax.ShapeDtypeStruct((b, 224, 224, 3), jnp.float32))"
)


class Artifact:
    """A module that can be opened again and again, each time with other sizes of its open dimensions."""

    def __init__(self, module: Any):
        self._open, self.kept = _opener(module)
        self.opened = self._open()
        main = _main(self.opened)
        self.block = main.regions[0].blocks[0]
        self.types = [_ranked(argument.type) for argument in self.block.arguments]
        attrs = _attribute(main, "arg_attrs")
        # the index of the platform in a module for several: the first is as good as any
        self.platform = any("_platform_index" in str(attr) for attr in attrs)
        self.outputs = _result_names(
            main, len(ir.FunctionType(main.attributes["function_type"].value).results)
        )

    def shapes(self) -> list[tuple[int | None, ...]]:
        """Of every argument; None for an open dimension."""
        return [
            tuple(None if kind.is_dynamic_dim(axis) else kind.get_dim_size(axis) for axis in range(kind.rank))
            for kind in self.types
        ]

    def named_arguments(self) -> list[Any]:
        """The arguments with JAX's names for them: where shapes are checked first, those of the function
        inside."""
        functions = (view.operation for view in self.opened.body.operations)
        for function in functions:
            if function.attributes["sym_name"].value == "_wrapped_jax_export_main":
                return list(function.regions[0].blocks[0].arguments)[-len(self.types) :]
        return list(self.block.arguments)

    def at(self, shapes: Sequence[Sequence[int]]) -> Any:
        """The module for arguments of these shapes."""
        if "tensor<?" not in self.opened.operation.get_asm(large_elements_limit=16):
            return self.opened
        module = self._open()
        with module.context:
            _composites_to_chlo(module.body)
            kinds = [
                str(ir.RankedTensorType.get(list(shape), kind.element_type, loc=ir.Location.unknown()))
                for shape, kind in zip(shapes, self.types, strict=True)
            ]
            passes = (
                f"stablehlo-refine-arguments{{types={','.join(kinds)}}}",
                "stablehlo-refine-shapes",
                "func.func(stablehlo-canonicalize-dynamism)",
                "canonicalize",
            )
            _register_passes()
            pipeline = passmanager.PassManager.parse(f"builtin.module(inline,{','.join(passes)})")
            try:
                pipeline.run(module.operation)
            except ir.MLIRError as error:
                given = ", ".join(str(tuple(shape)) for shape in shapes)
                raise ValueError(
                    f"the module does not take arguments of shapes {given}: {_line([error])}"
                ) from error
        return module


def trace(
    artifact: Artifact,
    batch: int | None,
    weights: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    input_shapes: Sequence[Sequence[int | None]] | None = None,
) -> Traced:
    """The module with its first arguments bound to the leaves of `weights`.

    Args:
      artifact: what the module was loaded as.
      batch: size of the open first dimensions.
      weights: pytree of arrays.
      input_names: one per argument that is no weight.
      output_names: one per result.
      input_shapes: shapes of the arguments that are no weights, where the module leaves them open.
    """
    shapes = artifact.shapes()
    fixed = [constant(np.zeros((), np.int32))] if artifact.platform else []
    held = _bind(artifact, weights, len(fixed))
    fixed += held
    free = _close(shapes[len(fixed) :], batch, input_shapes)
    kinds = [DTYPES.get(str(kind.element_type)) for kind in artifact.types[len(fixed) :]]
    for i, kind in enumerate(kinds):
        if kind is None:
            raise ValueError(
                f"argument {len(fixed) + i} is {artifact.types[len(fixed) + i]}: no ONNX form here"
            )
    default = ["input"] if len(free) == 1 else [f"input_{i}" for i in range(len(free))]
    names = named("input", input_names, len(free), default)
    inputs = [Value(tuple(s), np.dtype(k), None, n) for s, k, n in zip(free, kinds, names, strict=True)]
    outputs = named("output", output_names, len(artifact.outputs), artifact.outputs)
    module = artifact.at([*(value.shape for value in fixed), *free])
    return Traced(module, [*fixed, *inputs], outputs, inputs)


def open_batch(artifact: Artifact, weights: Any, input_shapes: Any) -> bool:
    """True if the first dimension of some input stays open."""
    if input_shapes is not None:
        return any(shape and shape[0] is None for shape in input_shapes)
    leaves = range(len(jax.tree_util.tree_leaves(weights)))
    count = len(leaves) if artifact.kept is None else sum(leaf in artifact.kept for leaf in leaves)
    return any(shape and shape[0] is None for shape in artifact.shapes()[count + artifact.platform :])


def no_open_batch() -> ValueError:
    """What to say when a dynamic batch is asked of a module that fixes it."""
    return ValueError(
        "dynamic_batch=True: the batch of this module is fixed; export it with a symbolic one: "
        + _HOW_TO_EXPORT
    )


def _opener(module: Any) -> tuple[Callable[[], Any], tuple[int, ...] | None]:
    """How to open the module, and which arguments of the function it still has, if that is known."""
    if isinstance(module, jax.stages.Lowered):
        module = module.compiler_ir("stablehlo")
    if isinstance(module, ir.Module):
        file = io.BytesIO()
        module.operation.write_bytecode(file)
        return functools.partial(_parse, file.getvalue()), None
    if isinstance(module, os.PathLike):
        module = Path(module).read_bytes()
    if isinstance(module, jax.export.Exported):
        exported = module
    elif not isinstance(module, str | bytes | bytearray | memoryview):
        raise TypeError(f"module is a {type(module).__name__}; accepted: {ACCEPTED}")
    else:
        data = module if isinstance(module, str) else bytes(module)
        if not data.strip():
            raise ValueError(f"module is empty; accepted: {ACCEPTED}")
        if isinstance(data, str) or data.startswith(MAGIC):
            return functools.partial(_parse, data), None
        if _is_text(data):
            return functools.partial(_parse, data.decode()), None
        exported = _deserialize(data)
    return functools.partial(_parse, exported.mlir_module_serialized), tuple(exported.module_kept_var_idx)


def _deserialize(data: bytes) -> Any:
    try:
        return jax.export.deserialize(bytearray(data))
    # the reader of the artifact fails in whatever way the bytes mislead it
    except Exception as error:
        raise ValueError(
            f"module is {len(data)} bytes that are neither StableHLO nor a jax.export artifact this JAX "
            f"({jax.__version__}) reads: {_line([error])}"
        ) from error


def _is_text(data: bytes) -> bool:
    try:
        return "func" in data.decode()
    except UnicodeDecodeError:
        return False


def _parse(data: str | bytes) -> Any:
    complaints: list[str] = []
    try:
        if isinstance(data, bytes):
            check_strings(data)
        # the context of a lowered function knows every dialect that JAX writes
        lowered: Any = jax.jit(lambda: 0).lower().compiler_ir("stablehlo")
        context = lowered.context
        if not (isinstance(data, bytes) and _PORTABLE in data[:64]):
            return ir.Module.parse(data, context)
        handler = context.attach_diagnostic_handler(lambda said: complaints.append(said.message) or True)
        try:
            return stablehlo.deserialize_portable_artifact(context, data)
        finally:
            handler.detach()
    # a portable artifact fails with an exception of the C++ standard library
    except Exception as error:
        why = _line([*complaints, error])
        raise ValueError(f"module is no StableHLO that this jaxlib reads: {why}") from None


def _line(errors: Sequence[object]) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for error in errors for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.endswith(":")] or lines or [type(errors[0]).__name__]
    return lines[0][:300]


def _main(module: Any) -> Any:
    """The function `main`, or the only one there is."""
    functions = [view.operation for view in module.body.operations if view.operation.name == "func.func"]
    by_name = {function.attributes["sym_name"].value: function for function in functions}
    if "main" in by_name:
        return by_name["main"]
    if len(functions) == 1:
        with module.context:
            functions[0].attributes["sym_name"] = ir.StringAttr.get("main")
        return functions[0]
    raise ValueError(f"the module has no function called main; it has {', '.join(by_name) or 'none at all'}")


def _ranked(kind: Any) -> Any:
    try:
        return ir.RankedTensorType(kind)
    except ValueError:
        raise ValueError(f"the module takes an argument of type {kind}; ONNX graphs take tensors") from None


def _result_names(main: Any, count: int) -> list[str]:
    """The keys of a returned dict, as JAX notes them on the results; else "output", "output_0", ..."""
    names = []
    attrs = list(_attribute(main, "res_attrs"))
    for attr in attrs:
        info = attr["jax.result_info"].value if "jax.result_info" in attr else ""
        names.append(_dotted(info.removeprefix("result")))
    if (
        len(names) == count
        and all(names)
        and len(set(names)) == count
        and not any(n[0].isdigit() for n in names)
    ):
        return names
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]


def _dotted(path: str) -> str:
    """ "['a']['b'].c[0]" -> "a.b.c.0"."""
    return ".".join(re.findall(r"[^\[\]'\".]+", path))


def _bind(artifact: Artifact, weights: Any, start: int) -> list[Value]:
    """The leaves of `weights` as the arguments from `start` on."""
    if weights is None:
        return []
    values = weight_values(weights)
    if artifact.kept is not None:  # arguments that the function never reads are not in its module
        values = [value for i, value in enumerate(values) if i in artifact.kept]
    kinds = artifact.types[start:]
    if len(values) > len(kinds):
        raise ValueError(
            f"weights has {len(values)} arrays, the module takes {len(kinds)} arguments (jax.jit drops "
            "unused ones: lower with jax.jit(f, keep_unused=True))"
        )
    if all(name.isdigit() for name in weight_names(weights)):  # a list: the module may know better names
        for value, argument in zip(values, artifact.named_arguments()[start:], strict=False):
            value.name = _argument_name(argument) or value.name
    for i, (value, kind, shape) in enumerate(zip(values, kinds, artifact.shapes()[start:], strict=False)):
        fits = len(shape) == value.rank and all(
            b in (a, None) for a, b in zip(value.shape, shape, strict=False)
        )
        if not fits or DTYPES.get(str(kind.element_type)) != value.dtype:
            raise ValueError(
                f"weights: leaf {i} ('{value.name}') is {value.dtype}{list(value.shape)}, argument "
                f"{start + i} of the module is {kind}"
            )
    return values


def _argument_name(argument: Any) -> str:
    """Path of the leaf from the argument's location ("w['params']['head']['kernel']" -> "head.kernel")."""
    found = re.match(r'loc\("\w+((?:\[[^\]]+\]|\.\w+)+)"', str(argument.location))
    return _dotted(found[1]).removeprefix("params.") if found else ""


def _close(
    shapes: Sequence[tuple[int | None, ...]],
    batch: int | None,
    wanted: Sequence[Sequence[int | None]] | None,
) -> list[tuple[int, ...]]:
    """The shapes of the inputs, with `batch` for an open first dimension and `wanted` for the others."""
    if wanted is not None:
        agree = len(wanted) == len(shapes) and all(
            len(a) == len(b) and all(y in (x, None) for x, y in zip(a, b, strict=True))
            for a, b in zip(wanted, shapes, strict=True)
        )
        if not agree:
            raise ValueError(
                f"input_shapes={[tuple(shape) for shape in wanted]} does not fit the inputs of the module, "
                f"{', '.join(map(_shape_text, shapes))}"
            )
        shapes = [tuple(shape) for shape in wanted]
    closed = [
        tuple(batch if size is None and axis == 0 else size for axis, size in enumerate(shape))
        for shape in shapes
    ]
    for i, shape in enumerate(closed):
        if any(size is None for size in shape):
            raise ValueError(
                f"input {i} of the module has the shape {_shape_text(shapes[i])}; only the first dimension "
                "may stay open: pass input_shapes=[(None, 224, 224, 3)] or export with a static shape"
            )
    return [tuple(size for size in shape if size is not None) for shape in closed]


def _shape_text(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def _attribute(op: Any, name: str) -> Any:
    attributes = op.attributes
    return attributes[name] if name in attributes else ()  # noqa: SIM401 (older jaxlib has no get)


def _composites_to_chlo(block: Any) -> None:
    """`composite "chlo.erf"` -> `chlo.erf`: refinement looks into no decomposition."""
    for view in list(block.operations):
        op = view.operation
        for region in op.regions:
            for inner in region.blocks:
                _composites_to_chlo(inner)
        if op.name != "stablehlo.composite" or not op.attributes["name"].value.startswith("chlo."):
            continue
        attributes = _attribute(op, "composite_attributes")
        keys = [item if isinstance(item, str) else item.name for item in attributes]
        with ir.InsertionPoint(op), op.location:
            plain = ir.Operation.create(
                op.attributes["name"].value,
                results=[result.type for result in op.results],
                operands=list(op.operands),
                attributes={key: attributes[key] for key in keys},
            )
        for old, new in zip(op.results, plain.results, strict=True):
            old.replace_all_uses_with(new)
        op.erase()


@functools.cache
def _register_passes() -> None:
    stablehlo.register_stablehlo_passes()
