"""Networks that are not hvjax's, written as users of flax.linen and flax.nnx write them, export like ours."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from foreign import MODELS, Loaded, load
from jax import export as jax_export

import export
from export._optional import available
from export.batch import BatchRange
from export.runtimes import BuildOptions, make

# ONNX Runtime against JAX in float32, of the largest result: the limit for hvjax's own models.
FLOAT32_TOLERANCE = 2e-6
# Random weights; JAX, ONNX Runtime and the folded weights round at other places.
FLOAT16_TOLERANCE = 1e-2
# Most nodes at the small size, dynamic batch and NCHW images.
NODES = {
    "vit_linen": 65,
    "vit_nnx": 57,
    "mlp_mixer": 38,
    "convnext": 39,
    "unet": 28,
    "unet_nearest": 30,
    "unet_bilinear": 40,
    "resnet_nnx": 28,
    "group_norm_net": 44,
}
# Nothing of what has an operator of its own may be left in pieces.
PIECES = {"BatchNormalization", "Erf", "Tanh", "Exp", "Sqrt", "Reciprocal", "Pow", "Expand"}
# What computes; a file may move data by other operators (a Gather for a Slice).
WORK = (
    "Conv",
    "ConvTranspose",
    "MatMul",
    "Gemm",
    "LayerNormalization",
    "GroupNormalization",
    "Gelu",
    "Softmax",
)
# A layer norm normalises the last dimension, so what stands before it has its channels last.
CHANNELS_LAST = {"LayerNormalization"}


@functools.cache
def _loaded(name: str) -> tuple[Loaded, np.ndarray]:
    """A small network and what JAX gives for its two images."""
    loaded = load(name)
    return loaded, np.asarray(jax.jit(loaded.fn)(loaded.weights, loaded.images))


def _error(model: onnx.ModelProto, images: np.ndarray, wanted: np.ndarray) -> float:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    if session.get_inputs()[0].shape[1] == 3:
        images = images.transpose(0, 3, 1, 2)
    found: Any = session.run(None, {session.get_inputs()[0].name: images})[0]
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _transposes_between_convolutions(model: onnx.ModelProto) -> list[str]:
    """Transposes with a convolution before and behind them, and no layer norm on the way."""
    nodes = list(model.graph.node)
    before: dict[str, bool] = {}
    for node in nodes:
        inside = any(before.get(name, False) for name in node.input)
        after = node.op_type in ("Conv", "ConvTranspose") or (inside and node.op_type not in CHANNELS_LAST)
        before.update(dict.fromkeys(node.output, after))
    behind: dict[str, bool] = {}
    for node in nodes[::-1]:
        inside = any(behind.get(name, False) for name in node.output)
        leads = node.op_type in ("Conv", "ConvTranspose") or (inside and node.op_type not in CHANNELS_LAST)
        for name in node.input:
            behind[name] = behind.get(name, False) or leads
    between = (node for node in nodes if node.op_type == "Transpose")
    return [node.name for node in between if before.get(node.input[0]) and behind.get(node.output[0])]


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_equal_to_jax_and_economical(name: str) -> None:
    loaded, wanted = _loaded(name)
    model = export.convert(
        loaded.fn, loaded.images, weights=loaded.weights, input_layout="nchw", dynamic_batch=True
    )
    for batch in (1, 2):
        assert _error(model, loaded.images[:batch], wanted[:batch]) <= FLOAT32_TOLERANCE
    assert not PIECES & {node.op_type for node in model.graph.node}
    assert not _transposes_between_convolutions(model)
    assert len(model.graph.node) <= NODES[name]
    if available("tensorrt_rtx_bindings"):
        options = BuildOptions(BatchRange(1, 2, 2))
        assert make("tensorrt_rtx").build(model.SerializeToString(), options).engine


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_static_batch_in_the_callable_s_own_order(name: str, batch: int) -> None:
    loaded, wanted = _loaded(name)
    images = loaded.images[:batch]
    model = export.convert(loaded.fn, images, weights=loaded.weights)
    assert _error(model, images, wanted[:batch]) <= FLOAT32_TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_a_jax_export_file_gives_the_same_graph(name: str) -> None:
    """The file knows neither the Python code nor the names of the modules' weights; its batch is symbolic."""
    loaded, wanted = _loaded(name)
    (batch,) = jax_export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *loaded.images.shape[1:]), jnp.float32)
    leaves, tree = jax.tree.flatten(loaded.weights)

    def fn(leaves: list, x: jax.Array) -> jax.Array:
        return loaded.fn(jax.tree.unflatten(tree, leaves), x)

    file = jax_export.export(jax.jit(fn))(leaves, images).serialize()
    model = export.convert_stablehlo(file, weights=leaves, input_layout="nchw")
    for rows in (1, 2):
        assert _error(model, loaded.images[:rows], wanted[:rows]) <= FLOAT32_TOLERANCE
    direct = export.convert(
        loaded.fn, loaded.images, weights=loaded.weights, input_layout="nchw", dynamic_batch=True
    )
    mine, theirs = (Counter(node.op_type for node in graph.graph.node) for graph in (model, direct))
    assert mine.total() <= theirs.total()
    assert {kind: mine[kind] for kind in WORK} == {kind: theirs[kind] for kind in WORK}


@pytest.mark.parametrize("name", ["vit_linen", "vit_nnx", "unet", "convnext"])
def test_half_precision(name: str) -> None:
    heads = {"width": 64, "heads": 2} if name.startswith("vit") else {}  # as wide as real ones
    wide, loaded = (load(name, dtype=dtype, **heads) for dtype in (jnp.float32, jnp.float16))
    wanted = np.asarray(jax.jit(wide.fn)(wide.weights, wide.images))
    model = export.convert(loaded.fn, loaded.images, weights=loaded.weights, input_layout="nchw")
    assert _error(model, loaded.images, wanted) <= FLOAT16_TOLERANCE
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not PIECES & kinds.keys()
    if not available("tensorrt_rtx_bindings"):
        pytest.skip("engines are built with TensorRT for RTX, which is not installed: hvjax[tensorrt-rtx]")
    built = make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(BatchRange(2, 2, 2)))
    assert built.kernels
    fused = [kernel for kernel in built.kernels if "_gemm_mha" in kernel.name]
    assert len(fused) == kinds["Softmax"]  # every attention is one kernel
