"""Fixtures of the export tests: a small network as ONNX and as NumPy, and stand-ins for TensorRT and CUDA."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class TinyNet:
    """Two 1x1 convolutions with ReLU ("stages"), a mean over the image and a linear head.

    `make(batch, half)` writes it as ONNX, images NCHW in, logits out; `features(images)` computes it in
    NumPy in float64, stages NHWC. `weights` may be replaced to plant mistakes.
    """

    weights: dict[str, np.ndarray]
    size: int = 8

    def features(self, images_nhwc: np.ndarray) -> dict[str, np.ndarray]:
        w = {name: value.astype(np.float64) for name, value in self.weights.items()}
        stage1 = np.maximum(images_nhwc @ w["stage1.kernel"] + w["stage1.bias"], 0)
        stage2 = np.maximum(stage1 @ w["stage2.kernel"] + w["stage2.bias"], 0)
        pre_logits = stage2.mean((1, 2))
        logits = pre_logits @ w["head.kernel"] + w["head.bias"]
        values = {"stage1": stage1, "stage2": stage2, "pre_logits": pre_logits, "logits": logits}
        return {name: value.astype(np.float32) for name, value in values.items()}

    def images(self, count: int) -> np.ndarray:
        return np.random.default_rng(1).normal(size=(count, self.size, self.size, 3)).astype(np.float32)

    def make(self, batch: int | str = 4, *, half: bool = False, ops: dict[str, str] | None = None) -> bytes:
        """`batch` may be a name: dynamic. `ops` replaces operators by node name."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        dtype, ops = np.float16 if half else np.float32, ops or {}
        held = []
        for name, value in self.weights.items():
            if name in ("stage1.kernel", "stage2.kernel"):
                value = value.T[:, :, None, None]
            held.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        held.append(numpy_helper.from_array(np.array([2, 3]), "spatial"))

        def node(kind: str, name: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
            return helper.make_node(ops.get(name, kind), inputs, [output], name=name, **attributes)

        border = {"to": TensorProto.FLOAT16 if half else TensorProto.FLOAT}
        nodes = [
            node("Cast", "enter", ["images"], "x0", **border),
            node("Conv", "stage1.conv", ["x0", "stage1.kernel", "stage1.bias"], "x1"),
            node("Relu", "stage1.relu", ["x1"], "x2"),
            node("Conv", "stage2.conv", ["x2", "stage2.kernel", "stage2.bias"], "x3"),
            node("Relu", "stage2.relu", ["x3"], "x4"),
            node("ReduceMean", "pool", ["x4", "spatial"], "x5", keepdims=0),
            node("Gemm", "head", ["x5", "head.kernel", "head.bias"], "x6"),
            node("Cast", "leave", ["x6"], "logits", to=TensorProto.FLOAT),
        ]
        entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, self.size, self.size])
        end = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])
        graph = helper.make_graph(nodes, "tiny", [entry], [end], held)
        opset = [helper.make_opsetid("", 20)]
        return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


@pytest.fixture(scope="session")
def tiny_net() -> TinyNet:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    return TinyNet(
        {
            "stage1.kernel": draw(3, 6),
            "stage1.bias": draw(6),
            "stage2.kernel": draw(6, 7),
            "stage2.bias": draw(7),
            "head.kernel": draw(7, 5),
            "head.bias": draw(5),
        }
    )


@dataclass
class FakeTensorRT:
    """What a fake TensorRT module saw and what it shall do."""

    module: Any
    calls: list[tuple[str, Any]] = field(default_factory=list)
    parse_errors: list[tuple[str, str, str]] = field(default_factory=list)
    layer_lines: str = ""
    engine: bytes | None = b"engine"
    input_shape: tuple[int, ...] = (4, 3, 8, 8)
    answer: Callable[[np.ndarray], np.ndarray] | None = None
    #: How a timing cache of this GPU and version begins, and what a build adds to it.
    cache_header: bytes = b"this GPU:"
    measured: bytes = b""
    #: What happens to a cache of another GPU: refused, or taken as an empty one.
    refuses_foreign_cache: bool = True

    def seen(self, name: str) -> list[Any]:
        return [value for call, value in self.calls if call == name]


@pytest.fixture
def fake_trt() -> Callable[..., FakeTensorRT]:
    """`fake_trt("10" | "11" | "rtx" | "9")`: a module with the differences that matter between them."""
    return _fake_trt


def _fake_trt(version: str) -> FakeTensorRT:
    fake = FakeTensorRT(types.SimpleNamespace())
    flags = {"TF32": 7} | ({"FP16": 0, "INT8": 1} if version in ("9", "10") else {})
    rare = version in ("10", "11", "rtx")
    if rare:
        flags |= {"REFIT": 4, "VERSION_COMPATIBLE": 13, "STRIP_PLAN": 19, "REFIT_IDENTICAL": 20}

    class Cache:
        def __init__(self, content: bytes, accepted: bool = True) -> None:
            self.content, self.accepted = content, accepted

        def serialize(self) -> bytes:
            return self.content

    class ILogger:
        class Severity(enum.IntEnum):
            INTERNAL_ERROR = 0
            ERROR = 1
            WARNING = 2
            INFO = 3
            VERBOSE = 4

        ERROR, WARNING, VERBOSE = Severity.ERROR, Severity.WARNING, Severity.VERBOSE

    class Config:
        profiling_verbosity = None
        num_compute_capabilities = 0

        def clear_flag(self, flag: Any) -> None:
            fake.calls.append(("clear_flag", flag.name))

        def set_flag(self, flag: Any) -> None:
            fake.calls.append(("set_flag", flag.name))

        def add_optimization_profile(self, profile: Any) -> int:
            fake.calls.append(("profile", profile.shapes))
            return 0

    if rare:

        def create_timing_cache(self: Any, data: bytes) -> Cache:
            foreign = bool(data) and not data.startswith(fake.cache_header)
            return Cache(fake.cache_header if foreign or not data else data, not foreign)

        def set_timing_cache(self: Any, cache: Cache, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False, "a cache of another GPU may never be taken"
            self.cache = cache
            return cache.accepted or not fake.refuses_foreign_cache

        Config.create_timing_cache = create_timing_cache  # type: ignore[attr-defined]
        Config.set_timing_cache = set_timing_cache  # type: ignore[attr-defined]
        Config.builder_optimization_level = 3  # type: ignore[attr-defined]
        Config.hardware_compatibility_level = "NONE"  # type: ignore[attr-defined]

    if version == "rtx":

        def set_compute_capability(self: Any, target: Any, index: int) -> bool:
            fake.calls.append(("target", (target.name, index)))
            return True

        Config.set_compute_capability = set_compute_capability  # type: ignore[attr-defined]

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, tuple[Any, ...]] = {}

        def set_shape(self, name: str, *shapes: Any) -> None:
            self.shapes[name] = shapes

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log

        def create_network(self, creation_flags: int = 0) -> Any:
            fake.calls.append(("create_network", creation_flags))
            tensor = types.SimpleNamespace(name="images", shape=fake.input_shape)
            return types.SimpleNamespace(num_inputs=1, num_layers=9, get_input=lambda index: tensor)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
            fake.calls.append(("verbosity", config.profiling_verbosity))
            fake.calls.append(("config", config))
            if hasattr(config, "cache"):
                config.cache.content += fake.measured
            self.log.log(ILogger.VERBOSE, fake.layer_lines)
            if fake.engine is None:
                self.log.log(ILogger.ERROR, "Error Code 10: no implementation\n for node 7")
            return fake.engine

    class OnnxParser:
        def __init__(self, network: Any, log: Any) -> None:
            self.num_errors = len(fake.parse_errors)

        def parse(self, model: bytes) -> bool:
            fake.calls.append(("parse", model))
            return not fake.parse_errors

        def get_error(self, index: int) -> Any:
            node, operator, text = fake.parse_errors[index]
            return types.SimpleNamespace(
                node_name=lambda: node, node_operator=lambda: operator, desc=lambda: text, node=lambda: index
            )

    members = {
        "__name__": f"fake_tensorrt_{version}",
        "__version__": version,
        "ILogger": ILogger,
        "Builder": Builder,
        "OnnxParser": OnnxParser,
        "IBuilderConfig": Config,
        "BuilderFlag": enum.IntEnum("BuilderFlag", flags),
        "ProfilingVerbosity": enum.IntEnum("ProfilingVerbosity", {"NONE": 0, "DETAILED": 2}),
        "LayerInformationFormat": enum.IntEnum("LayerInformationFormat", {"ONELINE": 0, "JSON": 1}),
        "TensorIOMode": enum.IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2}),
        "nptype": lambda dtype: dtype,
        "NetworkDefinitionCreationFlag": enum.IntEnum(
            "NetworkDefinitionCreationFlag",
            {
                "9": {"EXPLICIT_BATCH": 0},
                "10": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
                "11-bare": {},
            }.get(version, {"STRONGLY_TYPED": 1}),
        ),
    }
    if version == "rtx":
        members["DynamicShapesKernelSpecializationStrategy"] = enum.IntEnum(
            "DynamicShapesKernelSpecializationStrategy", {"LAZY": 0, "EAGER": 1}
        )
        members["ComputeCapability"] = enum.IntEnum("ComputeCapability", {"SM80": 1, "SM89": 2, "SM120": 3})
    if rare:
        levels = {"NONE": 0, "AMPERE_PLUS": 1} | ({"SAME_COMPUTE_CAPABILITY": 2} if version != "10" else {})
        members["HardwareCompatibilityLevel"] = enum.IntEnum("HardwareCompatibilityLevel", levels)
        members["OnnxParserRefitter"] = members["Refitter"] = object
    for name, value in members.items():
        setattr(fake.module, name, value)
    return fake


@pytest.fixture(scope="session")
def small_model() -> Any:
    """A ResNet of four blocks with random weights whose logits depend on the image: (model, variables)."""
    import hvjax
    from export.gate_images import photographs
    from export.random_weights import random_variables

    model = hvjax.create_model(
        "resnet50", num_classes=7, depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), stem_channels=8
    )
    return model, random_variables(model, photographs((32, 32), 3, 8).normalised((0.5,) * 3, (0.25,) * 3))


@pytest.fixture(scope="session")
def small_weights(small_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A self-contained .safetensors file of `small_model`."""
    import hvjax

    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    model, variables = small_model
    hvjax.save_weights(path, variables, model, class_names=[f"class {n}" for n in range(7)])
    return path


# The project's limit for float32 graphs: ONNX Runtime against JAX, of the largest absolute result.
FLOAT32_TOLERANCE = 1e-5


@pytest.fixture(scope="session")
def same_as_jax() -> Callable[..., Any]:
    """`same_as_jax(fn, *arrays, **options of convert)` -> the model, after comparing every result with JAX's.

    `tolerance` (of the largest absolute result) replaces the float32 limit; `batches` also runs a dynamic
    graph at these batch sizes.
    """

    def check(
        fn: Callable[..., Any],
        *arrays: np.ndarray,
        tolerance: float = FLOAT32_TOLERANCE,
        batches: tuple[int, ...] = (),
        **options: Any,
    ) -> Any:
        import jax
        import onnxruntime

        from export.bridge import convert

        model = convert(fn, *arrays, dynamic_batch=bool(batches), **options)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        held = () if options.get("weights") is None else (options["weights"],)
        for batch in batches or (None,):
            fed = arrays if batch is None else tuple(np.resize(a, (batch, *a.shape[1:])) for a in arrays)
            expected = jax.tree.leaves(jax.jit(fn)(*held, *fed))
            nchw_in = options.get("input_layout") == "nchw"
            feeds = [a.transpose(0, 3, 1, 2) if nchw_in and a.ndim == 4 else a for a in fed]
            names = [info.name for info in session.get_inputs()]
            found = session.run(None, dict(zip(names, feeds, strict=True)))
            assert len(found) == len(expected) > 0
            for actual, wanted in zip(found, map(np.asarray, expected), strict=True):
                if options.get("output_layout") == "nchw" and wanted.ndim == 4:
                    wanted = wanted.transpose(0, 3, 1, 2)
                assert actual.shape == wanted.shape
                assert actual.dtype == wanted.dtype
                scale = max(float(np.abs(wanted).max(initial=0)), 1e-30)
                error = np.abs(actual.astype(np.float64) - wanted.astype(np.float64)).max(initial=0)
                assert error <= tolerance * scale, f"differs by {error / scale:.2g} of the largest result"
        return model

    return check


@pytest.fixture(scope="session")
def operators() -> Callable[[Any], list[str]]:
    """The operators of a model in order."""
    return lambda model: [node.op_type for node in model.graph.node]
