"""Small whole files of every kind that the commands read, and who reads them, to be damaged."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Reader:
    """`read(path)` raises nothing else than `accepted` whatever the bytes of the file are."""

    read: Callable[[Path], Any]
    accepted: tuple[type[Exception], ...]


def _safetensors(path: Path) -> None:
    from hvjax import saving

    saving._to_jax = lambda path, name, array: array  # XLA's threads do not survive a fork
    saving.load_weights(path)


def _torch_names(path: Path) -> None:
    import hvjax

    hvjax.load_torch(path, hvjax.create_model("resnet50", **SMALL))


def _training(path: Path) -> None:
    from export.load import load_source

    load_source(str(next(p for p in path.parents if (p / "checkpoints").is_dir())))


def _held_out(path: Path) -> None:
    from export import gate_images

    gate_images.from_checkpoint(path, (8, 8), 3, 4)


def _gate(path: Path) -> None:
    from export.bundle.unpack import unpack

    unpack(path.read_bytes(), str(path))


def _onnx(path: Path) -> None:
    from export import run

    run._load_onnx(str(path), path, run._read_onnx(str(path), path), "cpu").session.close()


def _engine_metadata(path: Path) -> None:
    from export import opening

    opening.metadata_beside(path.with_name("model.engine"))


def _recipe(path: Path) -> None:
    from export.recipe import find_recipe

    made = find_recipe(path.parent, {}, None)
    made.inputs(np.zeros((1, *made.size, len(made.mean)), np.uint8)[:, :8, :8], np.dtype(np.float32))


def _image(path: Path) -> None:
    from export.gate_images import from_folder

    from_folder(path.parent, (8, 8), 3, 1, 0.9)


def _stablehlo(path: Path) -> None:
    import export

    export.convert_stablehlo(path)


SMALL = {"num_classes": 7, "depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8), "stem_channels": 4}


def _readers() -> dict[str, Reader]:
    return {
        "safetensors": Reader(_safetensors, (ValueError,)),
        "torch_names": Reader(_torch_names, (ValueError,)),
        "training": Reader(_training, (ValueError,)),
        "held_out": Reader(_held_out, (ValueError,)),
        "gate": Reader(_gate, (ValueError,)),
        "onnx": Reader(_onnx, (ValueError, RuntimeError)),
        "beside": Reader(_engine_metadata, (ValueError,)),
        "recipe": Reader(_recipe, (ValueError,)),
        "image": Reader(_image, (ValueError,)),
        "stablehlo": Reader(_stablehlo, (ValueError,)),
    }


READERS = _readers()


def samples(name: str, folder: Path) -> list[Path]:
    """The files of one kind below `folder`, each of which its reader takes as it is."""
    place = folder / name
    place.mkdir(parents=True)
    return _MAKERS[name](place)


def _small_variables() -> tuple[Any, Any]:
    import hvjax
    from hvjax.structure import abstract_variables

    model = hvjax.create_model("resnet50", **SMALL)
    return model, _drawn(abstract_variables(model))


def _drawn(tree: Any) -> Any:
    rng = np.random.default_rng(0)
    if hasattr(tree, "shape"):
        return rng.uniform(0.1, 1, tree.shape).astype(np.float32)
    return {key: _drawn(value) for key, value in tree.items()}


def _make_safetensors(place: Path) -> list[Path]:
    import hvjax

    model, variables = _small_variables()
    path = place / "small.safetensors"
    hvjax.save_weights(path, variables, model, class_names=[f"class {n}" for n in range(7)])
    return [path]


def _make_torch_names(place: Path) -> list[Path]:
    from safetensors.numpy import save_file

    path = place / "small.safetensors"
    save_file({"conv1.weight": np.zeros((4, 3, 7, 7), np.float32), "fc.bias": np.zeros(7, np.float32)}, path)
    return [path]


def _make_training(place: Path) -> list[Path]:
    """What a run leaves, as far as an export reads it."""
    _elsewhere("write_run", place)
    return sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size)


def write_run(place: Path) -> None:
    """A training folder with one checkpoint of a small ResNet."""
    import orbax.checkpoint as ocp

    from hvjax.registry import identify

    model, variables = _small_variables()
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(place / "checkpoints", item_names=("model",), options=options) as manager:
        manager.save(3, args=ocp.args.Composite(model=ocp.args.StandardSave({**variables, "ema": {}})))
    step = place / "checkpoints" / "3"
    (step / "metrics").mkdir()
    (step / "metrics" / "metrics").write_text(json.dumps({"top1": 0.5, "loss": 1.0}))
    name, overrides = identify(model)
    info = {
        **{"format": 1, "model": name, "num_classes": 7, "overrides": overrides, "image_size": [32, 32]},
        **{"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "class_names": list("abcdefg")},
        **{"crop_pct": 0.9, "interpolation": "bicubic", "eval_resize": [32, 48]},
    }
    (place / "model.json").write_text(json.dumps(info))


def _make_held_out(place: Path) -> list[Path]:
    path, plain = place / "gate.npz", place / "plain.npz"
    images = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), np.uint8)
    np.savez_compressed(path, images=images, labels=np.arange(4))
    np.savez(plain, images=images)
    return [path, plain]


def _make_gate(place: Path) -> list[Path]:
    from export.bundle.gatefile import GateFile
    from export.bundle.tolerances import tolerances

    rng = np.random.default_rng(0)
    drawn = {
        "classes": {"logits": (4, 5)},
        "map": {"logits": (4, 5, 4, 4)},
        "detections": {"boxes": (4, 3, 4), "scores": (4, 3), "labels": (4, 3), "masks": (4, 3, 2, 2)},
    }
    paths = []
    for answers, shapes in drawn.items():
        inputs = rng.uniform(size=(4, 3, 4, 4)).astype(np.float32)
        expected = {name: rng.uniform(size=shape).astype(np.float32) for name, shape in shapes.items()}
        if "labels" in expected:
            expected["labels"] = expected["labels"].astype(np.int32)
        limits = tolerances(answers, "fp32", 1e-5, expected)
        made = GateFile("images", inputs, expected, limits, answers, exact_top1=answers == "classes")
        paths += [place / f"{answers}.npz", place / f"{answers}_plain.npz"]
        paths[-2].write_bytes(made.pack())
        with np.load(paths[-2]) as arrays:
            np.savez(paths[-1], **arrays)
    return paths


def network(batch: Any = "batch") -> bytes:
    """A small ONNX file as the export writes it, images in, logits out."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def held(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["images", "k1", "b1"], ["x1"], "stage1/Conv", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["x1"], ["x2"], "stage1/Relu"),
        helper.make_node("MaxPool", ["x2"], ["x3"], "stage1/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["x3", "shape"], ["x4"], "tokens/Reshape"),
        helper.make_node("Transpose", ["x4"], ["x5"], "tokens/Transpose", perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["x5", "s", "b"], ["x6"], "norm/LayerNormalization"),
        helper.make_node("MatMul", ["x6", "w"], ["x7"], "mix/MatMul"),
        helper.make_node("Softmax", ["x7"], ["x8"], "mix/Softmax", axis=-1),
        helper.make_node("Add", ["x8", "x6"], ["x9"], "mix/Add"),
        helper.make_node("ReduceMean", ["x9", "axes"], ["x10"], "pool/ReduceMean", keepdims=0),
        helper.make_node("Gemm", ["x10", "head", "c"], ["logits"], "head/Gemm"),
    ]
    weights = [
        *(held("k1", 4, 3, 3, 3), held("b1", 4), held("s", 4), held("b", 4), held("w", 4, 4)),
        *(held("head", 4, 5), held("c", 5)),
        numpy_helper.from_array(np.array([0, 4, -1]), "shape"),
        numpy_helper.from_array(np.array([1]), "axes"),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    said = {
        **{"mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]", "input_layout": "nchw"},
        **{"crop_pct": "0.9", "interpolation": "bicubic", "class_names": json.dumps(list("abcde"))},
    }
    helper.set_model_props(model, said)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _make_onnx(place: Path) -> list[Path]:
    path = place / "model.onnx"
    path.write_bytes(network())
    return [path]


def _make_recipe(place: Path) -> list[Path]:
    from export.bundle.preprocess import describe

    model = {
        **{"image_size": [8, 8], "mean": [0.5] * 3, "std": [0.25] * 3},
        **{"input_layout": "nchw", "input_shape": ["batch", 3, 8, 8]},
    }
    made = describe(model, crop_pct=0.9, interpolation="bicubic", name="images", dtype="float32", channels=3)
    (place / "preprocess.json").write_text(json.dumps(made))
    (place / "labels.json").write_text(json.dumps(list("abcde")))
    return [place / "preprocess.json", place / "labels.json"]


def _make_image(place: Path) -> list[Path]:
    """One a folder, as the reader of folders passes over what it cannot read."""
    from pictures import pictures

    paths = []
    for name, content in pictures().items():
        suffix = {"jpeg": ".jpg", "webp": ".webp", "odd": ".bmp"}.get(name.split("_")[0], ".png")
        path = place / name / f"picture{suffix}"
        path.parent.mkdir()
        path.write_bytes(content)
        paths.append(path)
    return paths


def _make_stablehlo(place: Path) -> list[Path]:
    """Text, bytecode, a portable artifact and a file of jax.export."""
    _elsewhere("write_modules", place)
    return sorted(place.iterdir())


def _elsewhere(name: str, place: Path) -> None:
    """Call a function of this file in a process of its own: the threads of XLA and orbax do not survive the
    forks in which the files are read."""
    code = f"import damaged_files, pathlib; damaged_files.{name}(pathlib.Path({str(place)!r}))"
    here = Path(__file__).resolve()
    environment = {**os.environ, "PYTHONPATH": f"{here.parents[2]}:{here.parent}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def write_modules(place: Path) -> None:
    import jax
    import jax.numpy as jnp

    def net(x: Any) -> Any:
        x = jax.nn.gelu(jax.lax.conv(x, jnp.ones((4, 3, 3, 3)), (2, 2), "SAME"), approximate=False)
        return jax.nn.softmax(x.mean((2, 3)) @ jnp.arange(20.0).reshape(4, 5) / 20)

    image = jax.ShapeDtypeStruct((2, 3, 8, 8), jnp.float32)
    lowered = jax.jit(net).lower(image)
    (place / "text.mlir").write_text(lowered.as_text())
    file = io.BytesIO()
    module: Any = lowered.compiler_ir("stablehlo")
    module.operation.write_bytecode(file)
    (place / "bytes.mlirbc").write_bytes(file.getvalue())
    (b,) = jax.export.symbolic_shape("b")
    open_batch = jax.ShapeDtypeStruct((b, 3, 8, 8), jnp.float32)
    exported = jax.export.export(jax.jit(net))(open_batch)
    (place / "net.jax").write_bytes(exported.serialize())
    (place / "portable.mlirbc").write_bytes(exported.mlir_module_serialized)


_MAKERS = {
    "safetensors": _make_safetensors,
    "torch_names": _make_torch_names,
    "training": _make_training,
    "held_out": _make_held_out,
    "gate": _make_gate,
    "onnx": _make_onnx,
    "beside": _make_onnx,
    "recipe": _make_recipe,
    "image": _make_image,
    "stablehlo": _make_stablehlo,
}
