"""TensorFlow functions around a JAX function, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import export
import hvjax
from export import flags, graph
from export.load import load_source
from export.resize_scales import mend_scales
from export.runtimes.onnxruntime import OnnxSession

#: ONNX Runtime against TensorFlow and JAX in float32, of the largest result: sums in another order, and a
#: coordinate of the resizing rounded otherwise.
SAME = 1e-5
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def tf() -> Any:
    pytest.importorskip("tensorflow")
    pytest.importorskip("tf2onnx")
    from export.frontends.jax2tf import import_tensorflow

    return import_tensorflow()[0]


@pytest.fixture(scope="module")
def net(small_model: Any) -> Any:
    """(fn, weights): the deploy form."""
    model, weights = hvjax.reparameterize(*small_model)
    return (lambda variables, images: model.apply(variables, images)), weights


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    return np.stack(pytest.importorskip("sklearn.datasets").load_sample_images().images)


def prepare(tf: Any) -> Any:
    def before(pictures: Any) -> Any:
        resized = tf.image.resize(tf.cast(pictures, tf.float32), (32, 32))
        return (resized / 255.0 - MEAN) / STD

    return before


def run(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    return list(OnnxSession(model.SerializeToString()).run(images).values())


def near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return float(np.abs(found - wanted).max()) <= SAME * float(np.abs(wanted).max())


@pytest.mark.parametrize("dynamic", [False, True])
def test_preprocessing_in_tensorflow(tf: Any, net: Any, photographs: np.ndarray, dynamic: bool) -> None:
    fn, weights = net
    before = prepare(tf)
    model = export.convert_tf(
        fn,
        jax.ShapeDtypeStruct(photographs.shape, jnp.uint8),
        before=before,
        weights=weights,
        input_names=["images"],
        output_names=["logits"],
        dynamic_batch=dynamic,
        metadata={"model": "small"},
    )
    (entry,), (end,) = model.graph.input, model.graph.output
    assert (entry.name, end.name) == ("images", "logits")
    assert entry.type.tensor_type.elem_type == TensorProto.UINT8
    assert (entry.type.tensor_type.shape.dim[0].dim_param == "batch") == dynamic
    assert [each.value for each in model.metadata_props] == ["small"]
    wanted = np.asarray(fn(weights, before(photographs).numpy()))
    assert near(run(model, photographs)[0], wanted)
    if dynamic:
        assert near(run(model, photographs[:1])[0], wanted[:1])
    kinds = [node.op_type for node in model.graph.node]
    # TensorFlow's way back to NHWC and ours to NCHW are not there
    assert kinds[:7] == ["Cast", "Transpose", "Resize", "Mul", "Sub", "Mul", "Conv"]
    assert kinds.count("Transpose") == 1


def test_postprocessing_in_tensorflow(tf: Any, net: Any, photographs: np.ndarray) -> None:
    fn, weights = net

    def after(logits: Any) -> Any:
        return tf.math.top_k(tf.nn.softmax(logits), k=3)

    images = np.asarray(prepare(tf)(photographs))
    names = ["chances", "classes"]
    model = export.convert_tf(
        fn, images, after=after, weights=weights, output_names=names, dynamic_batch=True, via="stablehlo"
    )
    assert [value.name for value in model.graph.output] == names
    chances, classes = after(np.asarray(fn(weights, images)))
    found = run(model, images)
    assert near(found[0], chances.numpy())
    np.testing.assert_array_equal(found[1], classes.numpy())


def test_several_tensors_in_between(tf: Any) -> None:
    def before(x: Any, y: Any) -> Any:
        return tf.cast(x, tf.float32) * 2.0, tf.nn.relu(y)

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, (2, 3)).astype(np.int32), rng.normal(size=(2, 3)).astype(np.float32)
    model = export.convert_tf(
        lambda a, b: {"sum": a + b, "product": a * b},
        tf.TensorSpec(x.shape, tf.int32),
        y,
        before=before,
        after=lambda product, total: total - product,
        output_names=["result"],
    )
    assert [value.name for value in model.graph.input] == ["input_0", "input_1"]
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["result"], {"input_0": x, "input_1": y})
    a, b = 2.0 * x, np.maximum(y, 0)
    assert near(np.asarray(found), a + b - a * b)


def test_what_tf2onnx_does_not_know_is_named(tf: Any) -> None:
    def before(pictures: Any) -> Any:
        return tf.image.resize(tf.cast(pictures, tf.float32), (8, 8), antialias=True)

    with pytest.raises(ValueError, match=r"TensorFlow \(before\): tf2onnx has no ONNX form of ScaleAndTr"):
        export.convert_tf(jnp.tanh, np.zeros((1, 20, 20, 3), np.uint8), before=before)


@pytest.mark.parametrize(
    ("before", "dynamic", "message"),
    [
        ("tf.cast(x, tf.float64)", False, "before: the TensorFlow function gives float64.*cast it"),
        ("tf.boolean_mask(x, x[:, 0] > 1)", False, "all sizes but an open batch must be known"),
        ("tf.zeros((3, 4))", True, "the batch of its result is 3 whatever the pictures are"),
    ],
)
def test_parts_that_do_not_fit(tf: Any, before: str, dynamic: bool, message: str) -> None:
    fn = eval(f"lambda x: {before}", {"tf": tf})
    with pytest.raises(ValueError, match=message):
        export.convert_tf(jnp.tanh, np.zeros((3, 4), np.float32), before=fn, dynamic_batch=dynamic)


def test_open_sizes_are_refused(tf: Any) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, None, 3\): only the batch may be open"):
        export.convert_tf(jnp.tanh, tf.TensorSpec((2, None, 3), tf.float32), before=tf.nn.relu)


@pytest.mark.parametrize(("old", "new"), [(427, 32), (640, 224), (37, 111)])
def test_scales_that_lose_a_pixel(old: int, new: int) -> None:
    """floor(427 * float32(32 / 427)) is 31."""
    scales = np.array([1, 1, new / old, new / old], np.float32)
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "Resize", mode="linear")
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, old, old])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    held = [onnx.numpy_helper.from_array(scales, "scales")]
    model = helper.make_model(
        helper.make_graph([node], "resize", [entry], [end], held),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    mend_scales(model)
    found = run(model, np.zeros((1, 3, old, old), np.float32))[0].shape
    assert found == (1, 3, new, new)
    if (old, new) == (427, 32):
        assert len(model.graph.initializer) == 2, "the test has a scale to mend"


def test_both_front_ends_give_the_same_file_for_pictures(tf: Any, small_weights: Path) -> None:
    source = load_source(str(small_weights))
    assert source.variables is not None
    deploy, weights = hvjax.reparameterize(source.model, source.variables)
    made = []
    for via in ("jax2tf", "stablehlo"):
        given = ["--ckpt", str(small_weights), "--via", via, "--batch", "1:2:4", "--precision", "fp16"]
        given += ["--preprocess", "full", "--source-size", "60x80"]
        request = flags.parse("to_onnx", given)
        made.append(graph.to_onnx_bytes(request, source, deploy, weights, (32, 32)))
    assert made[0] == made[1]
