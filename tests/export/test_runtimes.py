"""Runtimes: choosing one, building for real with TensorRT for RTX, and each TensorRT by a fake module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import runtimes
from export._optional import MissingExtra, available, require
from export.batch import BatchRange, parse_batch
from export.runtimes import BuildError, BuildOptions, choose
from export.runtimes.capabilities import CHECKS, capabilities, network_flags
from export.runtimes.tensorrt import TensorRT

FOUR = BuildOptions(BatchRange(4, 4, 4))
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)


def test_a_product_behind_a_transpose_of_the_batch_loads_in_float16(tmp_path: Path) -> None:
    """ONNX Runtime ends the process on this graph unless told to leave it alone: so, in one of its own."""
    kind = TensorProto.FLOAT16
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float16), "w")
    moved = helper.make_node("Transpose", ["x"], ["moved"], perm=[1, 0, 2])
    graph = helper.make_graph(
        [moved, helper.make_node("MatMul", ["moved", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, [2, 3, 4])],
        [helper.make_tensor_value_info("y", kind, [3, 2, 4])],
        [weights],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "model.onnx")
    code = (
        "import sys, numpy; from export.runtimes.onnxruntime import OnnxSession; "
        "session = OnnxSession(open(sys.argv[1], 'rb').read()); "
        "x = numpy.arange(24, dtype=numpy.float16).reshape(2, 3, 4); "
        "assert (session.run(x)['y'] == x.transpose(1, 0, 2)).all()"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "model.onnx")]
    ended = subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == 0, ended.stderr


class Stub:
    def __init__(self, name: str, reason: str | None = None) -> None:
        self.name, self.reason = name, reason

    def why_not_build(self) -> str | None:
        return self.reason


def pick(name: str, installed: set[str], no_gpu: bool = True) -> Any:
    def create(candidate: str) -> Any:
        return Stub(candidate, "no NVIDIA GPU" if candidate == "tensorrt" and no_gpu else None)

    return choose(name, installed=installed.__contains__, create=create)


def test_auto_prefers_tensorrt_where_there_is_a_gpu() -> None:
    assert pick("auto", {"tensorrt", "tensorrt_rtx_bindings"}, no_gpu=False).runtime.name == "tensorrt"
    assert pick("auto", {"tensorrt", "tensorrt_rtx_bindings"}).runtime.name == "tensorrt_rtx"


def test_auto_says_when_it_ends_with_onnxruntime() -> None:
    choice = pick("auto", {"tensorrt"})
    assert choice.runtime.name == "onnxruntime"
    assert "no engine will be built" in choice.notice
    assert "tensorrt: no NVIDIA GPU" in choice.notice
    assert "pip install 'hvjax[tensorrt-rtx]'" in choice.notice


def test_a_named_runtime_is_never_replaced() -> None:
    with pytest.raises(BuildError, match="tensorrt cannot build an engine here: no NVIDIA GPU"):
        pick("tensorrt", {"tensorrt", "tensorrt_rtx_bindings"})


def test_a_missing_extra_is_answered_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hvjax\[tensorrt\]'"):
        choose("tensorrt")
    with pytest.raises(MissingExtra, match=r"pip install 'hvjax\[tensorrt-rtx\]'"):
        choose("tensorrt_rtx")


def test_require_passes_on_what_is_not_a_missing_extra(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_helper_of_theirs.py").write_text("import a_module_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_nobody_has"):
        require("broken_helper_of_theirs")
    assert require("onnx").__name__ == "onnx"


# --- the table of differences, by fakes ---------------------------------------------------------------


def test_the_table_for_each_version(fake_trt: Any) -> None:
    found = {version: capabilities(fake_trt(version).module) for version in ("10", "11", "11-bare", "rtx")}
    rows = {name: [getattr(found[v], name) for v in ("10", "11", "11-bare", "rtx")] for name in CHECKS}
    assert rows == {
        "strongly_typed_flag": [True, True, False, True],
        "weak_typing": [True, False, False, False],
        "builds_without_gpu": [False, False, False, True],
        "compute_capability_targets": [False, False, False, True],
        "tf32_flag": [True, True, True, True],
        "kernel_specialisation": [False, False, False, True],
        "refitting": [True, True, False, True],
        "version_compatibility": [True, True, False, False],
        "hardware_compatibility": [True, True, False, False],
        "timing_cache": [True, True, False, False],
        "optimization_level": [True, True, False, False],
    }


def test_a_tensorrt_that_types_weakly_only_is_refused(fake_trt: Any) -> None:
    with pytest.raises(ValueError, match="TensorRT 10 or newer is needed"):
        capabilities(fake_trt("9").module)


@pytest.mark.parametrize(("version", "flags"), [("10", 2), ("11", 2), ("11-bare", 0), ("rtx", 2)])
def test_networks_are_strongly_typed_in_every_version(fake_trt: Any, version: str, flags: int) -> None:
    fake = fake_trt(version)
    assert network_flags(fake.module, capabilities(fake.module)) == flags
    built = TensorRT("tensorrt", fake.module).build(b"model", FOUR)
    assert fake.seen("create_network") == [flags]
    assert fake.seen("set_flag") == []  # no precision flag, even where there are some
    assert fake.seen("clear_flag") == ["TF32"]
    assert fake.seen("verbosity") == [fake.module.ProfilingVerbosity.DETAILED]
    assert (built.engine, built.model, built.kernels) == (b"engine", b"model", None)


def test_tf32_stays_only_where_asked(fake_trt: Any) -> None:
    fake = fake_trt("11")
    TensorRT("tensorrt", fake.module).build(b"", BuildOptions(BatchRange(4, 4, 4), tf32=True))
    assert fake.seen("clear_flag") == []


def test_parse_errors_in_words(fake_trt: Any) -> None:
    fake = fake_trt("10")
    fake.parse_errors = [
        ("stem.relu", "Foo", 'creator && "Plugin not found, are the plugin name ... correct?"'),
        ("", "", "broken file"),
    ]
    with pytest.raises(BuildError) as caught:
        TensorRT("tensorrt", fake.module).build(b"", FOUR)
    assert str(caught.value) == (
        "tensorrt does not read the file: node stem.relu (Foo): this operator is not known to it; broken file"
    )


def test_a_failed_build_quotes_the_builder(fake_trt: Any) -> None:
    fake = fake_trt("11")
    fake.engine = None
    with pytest.raises(
        BuildError, match="could not build the engine: Error Code 10: no implementation for node 7"
    ):
        TensorRT("tensorrt", fake.module).build(b"", FOUR)


def test_a_dynamic_batch_gets_one_profile(fake_trt: Any) -> None:
    fake = fake_trt("10")
    fake.input_shape = (-1, 3, 8, 8)
    TensorRT("tensorrt", fake.module).build(b"", BuildOptions(parse_batch("1:8:32")))
    assert fake.seen("profile") == [{"images": ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))}]


@pytest.mark.parametrize(
    ("shape", "batch", "message"),
    [
        ((4, 3, 8, 8), "8", "has batch 4, but batch 8 was asked for"),
        ((4, 3, 8, 8), "1:4:8", "has batch 4, but batch 1:4:8 was asked for"),
        ((-1, 3, -1, 8), "1:4:8", "only the batch may be dynamic"),
    ],
)
def test_shapes_that_do_not_fit(fake_trt: Any, shape: tuple[int, ...], batch: str, message: str) -> None:
    fake = fake_trt("11")
    fake.input_shape = shape
    with pytest.raises(BuildError, match=message):
        TensorRT("tensorrt", fake.module).build(b"", BuildOptions(parse_batch(batch)))


def test_targets_are_a_feature_of_rtx(fake_trt: Any) -> None:
    options = BuildOptions(BatchRange(4, 4, 4), targets=("SM89", "SM120"))
    rtx = fake_trt("rtx")
    TensorRT("tensorrt_rtx", rtx.module).build(b"", options)
    assert rtx.seen("target") == [("SM89", 0), ("SM120", 1)]
    with pytest.raises(BuildError, match="a feature of tensorrt_rtx"):
        TensorRT("tensorrt", fake_trt("10").module).build(b"", options)
    with pytest.raises(BuildError, match="knows no target SM90; it knows SM120, SM80, SM89"):
        TensorRT("tensorrt_rtx", rtx.module).build(b"", BuildOptions(FOUR.batch, targets=("SM90",)))


# --- for real -----------------------------------------------------------------------------------------


@needs_rtx
@pytest.mark.parametrize("half", [False, True])
def test_rtx_builds_without_a_gpu_in_the_precision_of_the_file(tiny_net: Any, half: bool) -> None:
    runtime = runtimes.make("tensorrt_rtx")
    built = runtime.build(tiny_net.make(half=half), FOUR)
    assert built.engine is not None and len(built.engine) > 10_000
    assert built.kernels is not None and built.layers_parsed is not None
    convolutions = [kernel for kernel in built.kernels if kernel.kind != "kgen"]
    assert convolutions and all(k.writes == ("Half" if half else "Float",) for k in convolutions[:1])


@needs_rtx
def test_rtx_builds_a_dynamic_batch(tiny_net: Any) -> None:
    built = runtimes.make("tensorrt_rtx").build(tiny_net.make("batch"), BuildOptions(parse_batch("1:2:4")))
    assert built.engine is not None


@needs_rtx
def test_rtx_names_the_node_it_cannot_read(tiny_net: Any) -> None:
    runtime = runtimes.make("tensorrt_rtx")
    with pytest.raises(BuildError, match=r"node stage1\.relu \(Foo\): this operator is not known to it"):
        runtime.build(tiny_net.make(ops={"stage1.relu": "Foo"}), FOUR)
    with pytest.raises(BuildError, match="does not read the file"):
        runtime.build(b"no onnx file", FOUR)


def test_onnxruntime_builds_nothing_and_measures(tiny_net: Any) -> None:
    runtime = runtimes.make("onnxruntime")
    built = runtime.build(tiny_net.make(), FOUR)
    assert built.engine is None and built.kernels is None
    session = runtime.open(built)
    found = session.latency(tiny_net.images(4).transpose(0, 3, 1, 2))
    assert found.batch == 4 and found.median_ms > 0 and found.threads


def test_onnxruntime_says_what_it_cannot_load() -> None:
    with pytest.raises(BuildError, match="does not load the file"):
        runtimes.make("onnxruntime").build(b"no onnx file", FOUR)


@pytest.mark.parametrize("text", ["", "0", "-1", "8:1:32", "1:8", "1:x:3", "8.0", "1:2:3:4"])
def test_batches_that_make_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match="batch"):
        parse_batch(text)


def test_batch_ranges() -> None:
    assert parse_batch("8") == BatchRange(8, 8, 8) and not parse_batch("8").dynamic
    assert parse_batch("1:8:32").gate_sizes == (1, 8, 32)
    assert (str(parse_batch("8")), str(parse_batch("1:8:32"))) == ("8", "1:8:32")
