"""convert(): options, what is written into the file, and the economy of the models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import export
import hvjax
from export._optional import available
from export.batch import BatchRange
from export.bridge import check, convert
from export.runtimes import BuildOptions, make
from export.runtimes.kernels import data_movements

Check = Callable[..., Any]
X = np.random.default_rng(0).standard_normal((2, 4, 6, 3)).astype(np.float32)
# Random weights, so not trained ones: the project's limit for float16 is 2e-3 of the largest logit.
FLOAT16_TOLERANCE = 2e-3


def test_the_package_offers_convert() -> None:
    assert export.convert is convert
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = export.nonsense


@pytest.mark.parametrize("input_layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("output_layout", [None, "nhwc", "nchw"])
def test_layouts_of_inputs_and_outputs(
    input_layout: str, output_layout: str | None, same_as_jax: Check
) -> None:
    same_as_jax(lambda x: x[..., :2] * 2, X, input_layout=input_layout, output_layout=output_layout)


def test_names_and_metadata() -> None:
    model = convert(
        lambda x: {"y": x + 1}, X, input_names=["images"], output_names=["logits"], metadata={"model": "tiny"}
    )
    assert [info.name for info in (*model.graph.input, *model.graph.output)] == ["images", "logits"]
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("model", "tiny")]
    assert model.producer_name == "hvjax"


def test_names_of_nodes_and_weights_are_those_of_the_modules() -> None:
    from flax import linen as nn

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.relu(nn.Conv(5, (3, 3), name="conv")(x))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Block(name="stage1")(x)

    model = convert(
        lambda w, x: Net().apply(w, x), X, weights=Net().init(jax.random.key(0), X), input_layout="nchw"
    )
    assert [node.name for node in model.graph.node] == ["stage1/conv/Conv", "stage1/Relu", "Transpose"]
    assert [tensor.name for tensor in model.graph.initializer] == ["stage1.conv.kernel", "stage1.conv.bias"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"via": "tf"}, "via='tf' is not one of 'stablehlo', 'jax2tf'"),
        ({"input_layout": "NCHW"}, "input_layout='NCHW' is not one of"),
        ({"output_layout": "chw"}, "output_layout='chw' is not one of"),
        ({"input_names": ["a", "b"]}, "input_names has 2 names .a, b.; the function has 1"),
        ({"output_names": []}, "output_names has 0 names"),
    ],
)
def test_mistakes_in_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(lambda x: x + 1, X, **options)


def test_every_tensor_has_its_right_shape_in_the_file() -> None:
    model = convert(
        lambda x: jnp.tanh(x).reshape(-1, 72) @ np.ones((72, 5), np.float32), X, dynamic_batch=True
    )
    described = {info.name for info in model.graph.value_info}
    inner = {name for node in model.graph.node for name in node.output} - {model.graph.output[0].name}
    assert described == inner
    model.graph.value_info[0].type.tensor_type.shape.dim[1].dim_value = 99
    with pytest.raises(ValueError, match=r"invalid ONNX graph|wrong shape"):
        check(model)


def test_bfloat16_takes_the_opset_that_has_its_convolutions() -> None:
    kernel = np.ones((3, 3, 3, 4), np.float32)

    def fn(x: jax.Array) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            x.astype(jnp.bfloat16),
            kernel.astype(jnp.bfloat16),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.astype(jnp.float32)

    assert convert(fn, X).opset_import[0].version == 22
    assert convert(lambda x: x + 1, X).opset_import[0].version == 20


# Full-size models: (model, dtype) -> most nodes, Transposes, kernels and data movements of TensorRT for
# RTX. The fused PyTorch twins: Next-ViT-S 293 nodes, 27 Transposes, 161 kernels (24 movements) in float32 and
# 137 (8) in float16; ResNet-50 122, 0, 58 (2), 58 (2). In float16 Casts come on top: two at the float32
# border, two around the mean and two around each softmax, which stay wide.
ECONOMY = {
    ("next_vit_s", "float32"): (263, 15, 140, 8),
    ("next_vit_s", "float16"): (269, 15, 132, 8),
    ("resnet50", "float32"): (121, 0, 58, 2),
    ("resnet50", "float16"): (125, 0, 57, 1),
}


def _random(path: Any, struct: jax.ShapeDtypeStruct) -> np.ndarray:
    """Weights that keep the scale of activations, so that errors mean something."""
    draw = np.random.default_rng(struct.size).standard_normal(struct.shape)
    bias = path[-1].key == "bias"
    return (draw * (0.05 if bias else (0.5 / np.prod(struct.shape[:-1])) ** 0.5)).astype(struct.dtype)


def _deploy(name: str, dtype: str, size: int) -> tuple[Callable, Any, jax.ShapeDtypeStruct]:
    model: Any = hvjax.create_model(name, deploy=True, dtype=jnp.dtype(dtype))
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    weights = jax.tree_util.tree_map_with_path(_random, shapes)

    def answer(weights: Any, images: jax.Array) -> jax.Array:
        return model.apply(weights, images).astype(jnp.float32)

    return answer, weights, images


@pytest.mark.parametrize(("name", "dtype"), ECONOMY)
def test_economy_of_the_deploy_form_at_224(name: str, dtype: str) -> None:
    fn, weights, images = _deploy(name, dtype, 224)
    model = convert(fn, images, weights=weights, input_layout="nchw")
    nodes, transposes, kernels, movements = ECONOMY[name, dtype]
    count = Counter(node.op_type for node in model.graph.node)
    assert len(model.graph.node) <= nodes
    assert count["Transpose"] <= transposes
    assert "BatchNormalization" not in count
    _assert_kernels(model, kernels, movements)


def _assert_kernels(model: onnx.ModelProto, kernels: int, movements: int) -> None:
    if not available("tensorrt_rtx_bindings"):
        pytest.skip("kernels are counted with TensorRT for RTX, which is not installed: hvjax[tensorrt-rtx]")
    built = make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(1, 1, 1)))
    assert built.kernels is not None
    assert 0 < len(built.kernels) <= kernels
    assert len(data_movements(built.kernels)) <= movements


@pytest.mark.parametrize(
    ("name", "dtype", "size", "batches"),
    [
        ("next_vit_s", "float32", (75, 107), (1, 3)),
        ("next_vit_s", "float16", (64, 96), ()),
        ("resnet50", "float32", (75, 107), (1, 3)),
        ("resnet50", "float16", (64, 64), ()),
    ],
)
def test_equal_to_jax(
    name: str, dtype: str, size: tuple[int, int], batches: tuple[int, ...], same_as_jax: Check
) -> None:
    fn, weights, _ = _deploy(name, dtype, 64)
    x = np.random.default_rng(1).standard_normal((2, *size, 3)).astype(np.float32)
    tolerance = 1e-5 if dtype == "float32" else FLOAT16_TOLERANCE
    model = same_as_jax(fn, x, weights=weights, input_layout="nchw", batches=batches, tolerance=tolerance)
    border = [info.type.tensor_type for info in (*model.graph.input, *model.graph.output)]
    assert all(kind.elem_type == onnx.TensorProto.FLOAT for kind in border)
    assert all(kind.shape.dim[0].dim_param == ("batch" if batches else "") for kind in border)
