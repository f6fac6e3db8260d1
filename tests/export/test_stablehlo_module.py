"""convert_stablehlo(): a module without its Python code, in every form that it comes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import export as jax_export

import export
from export.lower.program import UnsupportedError

X = np.random.default_rng(0).standard_normal((3, 4, 2, 3)).astype(np.float32)
WEIGHTS = {
    "params": {"head": {"kernel": np.random.default_rng(1).standard_normal((24, 5)).astype(np.float32)}},
    "unused": np.zeros(7, np.float32),
}
# The project's limit for float32 graphs: ONNX Runtime against JAX, of the largest absolute result.
FLOAT32_TOLERANCE = 1e-5


def network(weights: Any, images: Any) -> dict[str, Any]:
    flat = images.reshape(images.shape[0], -1)
    logits = jax.nn.gelu(flat @ weights["params"]["head"]["kernel"], approximate=False)
    return {"mean": images.mean((1, 2)), "logits": logits, "erf": jax.lax.erf(images)}


def same(model: onnx.ModelProto, images: np.ndarray = X) -> onnx.ModelProto:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Any = session.run(None, {session.get_inputs()[0].name: images})
    wanted = network(WEIGHTS, images)
    assert [info.name for info in session.get_outputs()] == sorted(wanted)
    for name, value in zip(sorted(wanted), found, strict=True):
        np.testing.assert_allclose(
            value, wanted[name], rtol=0, atol=FLOAT32_TOLERANCE * abs(wanted[name]).max()
        )
    return model


def artifact(shape: tuple[Any, ...] = X.shape, **options: Any) -> jax_export.Exported:
    return jax_export.export(jax.jit(network), **options)(WEIGHTS, jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.fixture(scope="module")
def lowered() -> Any:
    return jax.jit(network, keep_unused=True).lower(WEIGHTS, X)


@pytest.fixture(scope="module")
def symbolic() -> jax_export.Exported:
    return artifact((*jax_export.symbolic_shape("b"), *X.shape[1:]))


FORMS: dict[str, Callable[[Any, Path], Any]] = {
    "lowered": lambda lowered, path: lowered,
    "module": lambda lowered, path: lowered.compiler_ir("stablehlo"),
    "text": lambda lowered, path: lowered.as_text(),
    "text as bytes": lambda lowered, path: lowered.as_text().encode(),
    "bytecode": lambda lowered, path: bytecode(lowered),
    "file": lambda lowered, path: path.write_bytes(artifact().serialize()) and path,
    "exported": lambda lowered, path: artifact(),
    "portable artifact": lambda lowered, path: (
        artifact((*jax_export.symbolic_shape("b"), 4, 2, 3)).mlir_module_serialized
    ),
    "for two platforms": lambda lowered, path: artifact(platforms=["cpu", "cuda"]).serialize(),
}


def bytecode(lowered: Any) -> bytes:
    import io

    file = io.BytesIO()
    lowered.compiler_ir("stablehlo").operation.write_bytecode(file)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_module_gives_the_same_results(form: str, lowered: Any, tmp_path: Path) -> None:
    model = same(export.convert_stablehlo(FORMS[form](lowered, tmp_path / "net.jax"), weights=WEIGHTS))
    assert "head.kernel" in [tensor.name for tensor in model.graph.initializer]


def test_it_is_the_graph_that_convert_makes(lowered: Any) -> None:
    mine = export.convert_stablehlo(lowered, weights=WEIGHTS, input_layout="nchw", metadata={"model": "tiny"})
    assert mine == export.convert(
        network, X, weights=WEIGHTS, input_layout="nchw", metadata={"model": "tiny"}
    )


def test_a_symbolic_batch_stays_open(symbolic: jax_export.Exported) -> None:
    model = same(export.convert_stablehlo(symbolic.serialize(), weights=WEIGHTS))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    same(model, X[:1])
    closed = export.convert_stablehlo(symbolic, weights=WEIGHTS, dynamic_batch=False)
    assert closed.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    four = export.convert_stablehlo(symbolic, weights=WEIGHTS, input_shapes=[X.shape])
    assert four.graph.input[0].type.tensor_type.shape.dim[0].dim_value == len(X)


def test_an_open_image_size_is_chosen_at_conversion() -> None:
    b, h = jax_export.symbolic_shape("b, h")
    source = jax_export.export(jax.jit(lambda x: jax.nn.relu(x).sum((1, 2))))(
        jax.ShapeDtypeStruct((b, h, h, 3), jnp.float32)
    )
    with pytest.raises(
        ValueError, match=r"input 0 of the module has the shape \(\?, \?, \?, 3\); only the first"
    ):
        export.convert_stablehlo(source)
    model = export.convert_stablehlo(source, input_shapes=[(None, 8, 8, 3)])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 8, 8, 3]
    with pytest.raises(
        ValueError, match=r"the module does not take arguments of shapes \(1009, 8, 9, 3\)|input_shapes"
    ):
        export.convert_stablehlo(source, input_shapes=[(None, 8, 9, 4)])


def test_weights_as_a_list_as_constants_and_as_inputs(symbolic: jax_export.Exported) -> None:
    listed = same(export.convert_stablehlo(symbolic, weights=jax.tree.leaves(WEIGHTS)))
    assert "head.kernel" in [tensor.name for tensor in listed.graph.initializer]
    baked = jax_export.export(jax.jit(lambda x: network(WEIGHTS, x)))(X)
    same(export.convert_stablehlo(baked.serialize()))
    free = export.convert_stablehlo(artifact(), input_names=["kernel", "images"])
    assert [info.name for info in free.graph.input] == ["kernel", "images"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_layout": "chw"}, "input_layout='chw' is not one of 'nhwc', 'nchw'"),
        (
            {"weights": WEIGHTS, "input_names": ["a", "b"]},
            "input_names has 2 names .a, b.; the function has 1",
        ),
        (
            {"weights": WEIGHTS, "dynamic_batch": True},
            "the batch of this module is fixed; export it with a symbolic",
        ),
        (
            {"weights": [X[0]]},
            r"weights: leaf 0 .* is float32\[4, 2, 3\], argument 0 of the module is tensor<24x5xf32>",
        ),
    ],
)
def test_mistakes_in_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export.convert_stablehlo(artifact(), **options)


def test_more_weights_than_arguments(lowered: Any) -> None:
    with pytest.raises(ValueError, match="weights has 4 arrays, the module takes 3 arguments"):
        export.convert_stablehlo(lowered, weights=[X] * 4)


def test_what_is_no_module_is_told_in_one_line(tmp_path: Path) -> None:
    wrong = {
        "module is empty": b"",
        "are neither StableHLO nor a jax.export artifact": b"\x08\x00\x00\x00not it",
        "module is no StableHLO that this jaxlib reads": "module { what }",
        "has no function called main; it has a, b": "func.func @a() {return} func.func @b() {return}",
        "takes an argument of type !stablehlo.token": "func.func @main(%a: !stablehlo.token) {return}",
    }
    for message, module in wrong.items():
        with pytest.raises(ValueError, match=message) as caught:
            export.convert_stablehlo(module)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="module is a int; accepted: StableHLO text"):
        export.convert_stablehlo(1)
    with pytest.raises(FileNotFoundError):
        export.convert_stablehlo(tmp_path / "missing")


def test_an_operation_without_a_lowering_is_named() -> None:
    module = jax_export.export(jax.jit(jnp.fft.fft))(X[0, 0, 0]).serialize()
    with pytest.raises(UnsupportedError, match=r"cannot export stablehlo"):
        export.convert_stablehlo(module)


@pytest.mark.parametrize("form", ["serialized", "portable", "text"])
def test_damaged_bytes_are_an_error_and_not_the_end(
    form: str, symbolic: jax_export.Exported, lowered: Any
) -> None:
    whole = {
        "serialized": bytes(symbolic.serialize()),
        "portable": symbolic.mlir_module_serialized,
        "text": lowered.as_text().encode(),
    }[form]
    rng = np.random.default_rng(2)
    for round_ in range(24):
        data = bytearray(whole)
        if round_ % 2:
            del data[rng.integers(len(data)) :]
        else:
            for at in rng.integers(0, min(len(data), 600), 6):
                data[at] = rng.integers(256)
        try:
            export.convert_stablehlo(bytes(data), weights=WEIGHTS)
        except ValueError as error:
            assert "\n" not in str(error)
