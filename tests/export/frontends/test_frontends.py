"""The two front ends: equal graphs, no TensorFlow where none is asked for, no noise where it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from families import merged

import hvjax
from export.bridge import convert
from export.frontends.traced import default_names, weight_names


def _random(struct: jax.ShapeDtypeStruct) -> np.ndarray:
    return np.random.default_rng(struct.size).standard_normal(struct.shape).astype(struct.dtype)


def assert_equal_graphs(one: onnx.ModelProto, other: onnx.ModelProto) -> None:
    """Same nodes (names and attributes too), initializers (names and bytes), borders and value_info."""
    assert len(one.graph.node) > 0
    for mine, theirs in zip(one.graph.node, other.graph.node, strict=True):
        assert mine == theirs
    for mine, theirs in zip(one.graph.initializer, other.graph.initializer, strict=True):
        assert (mine.name, mine.data_type, mine.dims) == (theirs.name, theirs.data_type, theirs.dims)
        assert mine.raw_data == theirs.raw_data
    assert one.graph.input == other.graph.input
    assert one.graph.output == other.graph.output
    assert one.graph.value_info == other.graph.value_info
    assert one.opset_import == other.opset_import and one.ir_version == other.ir_version


def _softmax_net(w: dict, unused: jax.Array, x: jax.Array) -> dict[str, jax.Array]:
    y = jax.nn.softmax(x @ w["b"] + w["a"])
    return {"sum": y.sum(-1), "prob": jax.nn.relu(y)}


SMALL: dict[str, tuple[Callable, tuple, dict]] = {
    "no weights": (lambda x: jnp.tanh(x) * 2, (np.ones((3, 4), np.float32),), {}),
    "weights, an unused input, two outputs": (
        _softmax_net,
        (np.ones(3, np.float32), np.ones((3, 4), np.float32)),
        {"weights": {"a": np.arange(5, dtype=np.float32), "b": np.ones((4, 5), np.float32)}},
    ),
    "half precision": (
        lambda w, x: (x.astype(jnp.float16) @ w["k"].astype(jnp.float16)).astype(jnp.float32),
        (np.ones((3, 4), np.float32),),
        {"weights": {"k": np.ones((4, 5), np.float32)}, "dynamic_batch": True},
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_equal_graphs_of_small_functions(name: str) -> None:
    fn, arrays, options = SMALL[name]
    one, other = (convert(fn, *arrays, via=via, **options) for via in ("stablehlo", "jax2tf"))
    assert_equal_graphs(one, other)
    assert len(one.graph.input) == len(arrays)


@pytest.mark.parametrize("name", ["next_vit_s", "resnet50"])
def test_equal_graphs_of_the_full_models(name: str) -> None:
    model: Any = hvjax.create_model(name, deploy=True)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    weights = jax.tree.map(_random, jax.eval_shape(model.init, jax.random.key(0), images))
    options: dict[str, Any] = {"weights": weights, "input_layout": "nchw"}
    one, other = (convert(model.apply, images, via=via, **options) for via in ("stablehlo", "jax2tf"))
    assert_equal_graphs(one, other)
    names = set(weight_names(weights))
    held = [
        tensor.name for tensor in one.graph.initializer if tensor.name.startswith(("stem", "stage", "head"))
    ]
    # "stage2.block4.e_mhsa.k+v.kernel" holds two weights
    assert held and all(name in names or "+" in name for name in held)


@pytest.mark.parametrize("name", ["fastvit_sa12", "swin_t"])
def test_equal_graphs_of_small_models(name: str) -> None:
    model: Any = hvjax.create_model(name, deploy=True, dtype=jnp.float16, **merged("small")[name])
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    weights = jax.tree.map(_random, jax.eval_shape(model.init, jax.random.key(0), images))
    options: dict[str, Any] = {"weights": weights, "input_layout": "nchw", "dynamic_batch": True}
    one, other = (convert(model.apply, images, via=via, **options) for via in ("stablehlo", "jax2tf"))
    assert_equal_graphs(one, other)


def _run(code: str, repository: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False, timeout=120)


def test_stablehlo_imports_no_tensorflow(repository: Path) -> None:
    code = (
        "import sys, numpy as np, jax.numpy as jnp\n"
        "import export\n"
        "export.convert(jnp.tanh, np.ones(3, np.float32))\n"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'tf2onnx') for name in sys.modules))"
    )
    done = _run(code, repository)
    assert done.returncode == 0, done.stderr


def test_jax2tf_is_silent(repository: Path) -> None:
    code = (
        "import numpy as np, jax.numpy as jnp, export\n"
        "export.convert(jnp.tanh, np.ones(3, np.float32), via='jax2tf')"
    )
    done = _run(code, repository)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_tensorflow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'hvjax\[export\]'.*via='stablehlo'"):
        convert(jnp.tanh, np.ones(3, np.float32), via="jax2tf")


def test_an_error_while_tracing_is_the_user_s_own() -> None:
    def fn(x: jax.Array) -> jax.Array:
        raise KeyError("mine")

    for via in ("stablehlo", "jax2tf"):
        with pytest.raises(KeyError, match="mine"):
            convert(fn, np.ones(3, np.float32), via=via)


def test_names_of_leaves() -> None:
    assert weight_names({"params": {"a": [1, 2]}, "batch_stats": {"m": 3}}) == ["batch_stats.m", "a.0", "a.1"]
    assert default_names("output", np.ones(1)) == ["output"]
    assert default_names("output", (np.ones(1), np.ones(1))) == ["output_0", "output_1"]
    assert default_names("output", {"logits": 1, "stage1": 2}) == ["logits", "stage1"]
