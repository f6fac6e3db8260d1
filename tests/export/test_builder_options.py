"""Rare builder options: flags, what each TensorRT is told, timing caches on disk, engines without weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import bundles
import pytest

from export import builder_flags, runtimes
from export._optional import available
from export.arguments import OneLineParser, UsageError
from export.batch import BatchRange
from export.bundle.trtexec import command_lines
from export.provenance import sha256
from export.runtimes import BuildError, BuildOptions, make
from export.runtimes.builder import OPTIONS, BuilderOptions, TimingCache, trtexec
from export.runtimes.tensorrt import TensorRT

FOUR = BatchRange(4, 4, 4)
needs_rtx = pytest.mark.skipif(
    not available("tensorrt_rtx_bindings"), reason="TensorRT for RTX is not installed: hvjax[tensorrt-rtx]"
)
EVERYTHING = BuilderOptions(
    refit=True,
    strip_weights=True,
    hardware_compatible="ampere+",
    timing_cache=TimingCache(Path("times.bin")),
    optimization_level=4,
)


def given(*argv: str) -> BuilderOptions:
    parser = OneLineParser(allow_abbrev=False)
    builder_flags.add(parser.add_argument)
    return builder_flags.read(parser.parse_known(argv))


def build(fake: Any, name: str = "tensorrt", **options: Any) -> Any:
    return TensorRT(name, fake.module).build(b"model", BuildOptions(FOUR, builder=BuilderOptions(**options)))


# --- the command line -----------------------------------------------------------------------------------


def test_nothing_is_asked_of_the_builder_by_default() -> None:
    assert given() == BuilderOptions() and given().flags() == ()


def test_every_flag_is_read(tmp_path: Path) -> None:
    file = tmp_path / "times.bin"
    found = given("--refit", "--strip-weights", "--hardware-compatible", "--optimization-level", "5",
                  "--timing-cache", str(file))  # fmt: skip
    assert found == BuilderOptions(True, True, False, "ampere+", TimingCache(file), 5)
    assert given("--version-compatible", "--hardware-compatible", "Same-Compute-Capability").flags() == (
        "--version-compatible",
        "--hardware-compatible",
    )
    assert set(found.flags()) | {"--version-compatible"} == set(OPTIONS)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--hardware-compatible", "hopper"], "--hardware-compatible hopper: .*accepted are ampere\\+, same"),
        (["--optimization-level", "6"], "'6' is not a number from 0 to 5"),
        (["--optimization-level", "fast"], "'fast' is not a number from 0 to 5"),
        (["--version-compatible", "--strip-weights"], "does not go with --strip-weights"),
        (["--version-compatible", "--refit"], "does not go with --refit"),
        (["--timing-cache", "t", "--optimization-level", "0"], "measures nothing"),
        (["--timing-cache", ""], "is not the name of a file"),
        (["--timing-cache", "t@sha256:12"], "'12' is no SHA-256"),
        (["--timing-cache", "t@sha256:" + "0" * 64], "t is pinned, and there is no such file"),
        (["--timing-cache", "no/such/folder/t"], "there is no folder no/such/folder"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        given(*argv)
    assert "\n" not in str(caught.value)


# --- what each runtime takes ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["10", "11"])
def test_tensorrt_is_told_all_of_it(fake_trt: Any, version: str, tmp_path: Path) -> None:
    fake = fake_trt(version)
    built = build(
        fake,
        refit=True,
        strip_weights=True,
        hardware_compatible="ampere+",
        optimization_level=4,
        timing_cache=TimingCache(tmp_path / "t"),
    )
    config = fake.seen("config")[0]
    assert fake.seen("set_flag") == ["REFIT", "STRIP_PLAN"] == built.options["builder_flags"]
    assert config.hardware_compatibility_level == fake.module.HardwareCompatibilityLevel.AMPERE_PLUS
    assert config.builder_optimization_level == 4 and config.cache is not None
    assert built.stripped and not built.host_code


def test_weights_that_come_back_are_the_same_unless_told(fake_trt: Any) -> None:
    fake = fake_trt("11")
    assert build(fake, strip_weights=True).options["builder_flags"] == ["REFIT_IDENTICAL", "STRIP_PLAN"]
    built = build(fake, version_compatible=True)
    assert built.host_code and not built.stripped
    untouched = build(fake_trt("11"))
    assert untouched.options == {"builder_flags": []} and not untouched.stripped


def test_an_older_version_names_the_levels_it_knows(fake_trt: Any) -> None:
    with pytest.raises(BuildError, match="same-compute-capability: this version knows ampere\\+"):
        build(fake_trt("10"), hardware_compatible="same-compute-capability")
    assert build(fake_trt("11"), hardware_compatible="same-compute-capability").engine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version_compatible": True}, "its engines fit one release"),
        ({"hardware_compatible": "ampere+"}, "name them with --targets"),
        ({"timing_cache": TimingCache(Path("t"))}, "it times no kernels"),
        ({"optimization_level": 5}, "chosen where the engine runs"),
    ],
)
def test_rtx_refuses_what_it_would_ignore(fake_trt: Any, options: Any, message: str) -> None:
    runtime = TensorRT("tensorrt_rtx", fake_trt("rtx").module)
    reason = runtime.refuses(BuilderOptions(**options))
    assert reason is not None and message in reason
    assert "not known to tensorrt_rtx" in reason and "it takes --refit, --strip-weights" in reason
    with pytest.raises(BuildError, match="not known to tensorrt_rtx"):
        build(fake_trt("rtx"), "tensorrt_rtx", **options)


def test_a_version_without_them_and_a_runtime_without_engines_refuse_too(fake_trt: Any) -> None:
    reason = TensorRT("tensorrt", fake_trt("11-bare").module).refuses(BuilderOptions(refit=True))
    assert (
        reason == "--refit is not known to tensorrt: this version of it is too old; it takes no such option"
    )
    onnxruntime = make("onnxruntime")
    assert onnxruntime.refuses(BuilderOptions()) is None
    assert onnxruntime.refuses(EVERYTHING) == "--refit is about an engine, and onnxruntime builds none"


# --- for other tools ------------------------------------------------------------------------------------


def test_the_same_for_trtexec() -> None:
    assert trtexec(BuilderOptions()) == ()
    assert trtexec(EVERYTHING) == (
        "--refit", "--stripWeights", "--hardwareCompatibilityLevel=ampere+", "--timingCacheFile=times.bin",
        "--builderOptimizationLevel=4",
    )  # fmt: skip
    assert trtexec(BuilderOptions(version_compatible=True)) == ("--versionCompatible",)


def test_the_command_lines_that_go_with_an_engine() -> None:
    wanted = BuildOptions(FOUR, tf32=True, targets=("SM89", "SM120"), builder=EVERYTHING)
    text = command_lines("images", (3, 8, 8), FOUR, wanted)
    ten, eleven, rtx = re.findall(r"^(?:trtexec|tensorrt_rtx) .*$", text, re.MULTILINE)
    rare = " ".join(trtexec(EVERYTHING))
    assert eleven == f"trtexec --onnx=model.onnx --saveEngine=model.engine {rare}"
    assert ten == f"{eleven} --stronglyTyped"
    assert rtx == (
        "tensorrt_rtx --onnx=model.onnx --saveEngine=model.engine "
        "--computeCapabilities=89,120 --refit --stripWeights"
    )
    current = command_lines("images", (3, 8, 8), FOUR, BuildOptions(FOUR, targets=("CURRENT",)))
    assert "model.engine --useGpu" in current


# --- both roads -----------------------------------------------------------------------------------------


def test_a_bundle_is_built_with_them_and_says_so(
    fake_trt: Any, tiny_net: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from export.bundle import command
    from export.runtimes import Choice

    fake, bundle = fake_trt("11"), bundles.write(tiny_net, tmp_path / "bundle", (4, 4, 4))
    fake.measured = b"conv1"
    runtime = TensorRT("tensorrt", fake.module)
    monkeypatch.setattr(runtimes, "choose", lambda name: Choice(runtime))
    cache = tmp_path / "times.bin"
    asked = ["--strip-weights", "--hardware-compatible", "--timing-cache", str(cache)]
    assert command.main(["--onnx", str(bundle), *asked]) == 0
    said = capsys.readouterr().out
    assert "options  without weights: it is refitted from model.onnx" in said
    assert f"timing cache {cache}, written, SHA-256 {sha256(cache.read_bytes())[:12]}" in said
    made = {path.name for path in (bundle / "tensorrt").iterdir()}
    assert made == {"model.engine", "report.json", "report.html", "trtexec.txt"}, "no engine for Triton"
    options = json.loads((bundle / "tensorrt" / "report.json").read_text())["engine"]["options"]
    assert options["builder_flags"] == ["REFIT_IDENTICAL", "STRIP_PLAN"] and options["strip_weights"] is True
    assert options["timing_cache"]["sha256"] == sha256(b"this GPU:conv1")
    page = (bundle / "tensorrt" / "report.html").read_text()
    assert "REFIT_IDENTICAL, STRIP_PLAN" in page and sha256(b"this GPU:conv1") in page
    assert (
        "--stripWeights --hardwareCompatibilityLevel=ampere+"
        in (bundle / "tensorrt" / "trtexec.txt").read_text()
    )


def test_an_export_is_built_with_them_and_its_bundle_says_so(
    fake_trt: Any, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from export import to_trt
    from export.runtimes import Choice

    fake, out = fake_trt("10"), tmp_path / "out"
    fake.input_shape = (4, 3, 32, 32)
    runtime = TensorRT("tensorrt", fake.module)
    monkeypatch.setattr(runtimes, "choose", lambda name: Choice(runtime))
    asked = ["--ckpt", str(small_weights), "--out", str(out), "--via", "stablehlo", "--image-size", "32",
             "--batch", "4", "--gate-images", "4", "--refit", "--strip-weights",
             "--optimization-level", "1"]  # fmt: skip
    assert to_trt.main(asked) == 0
    assert "its weights can be replaced; optimisation level 1" in capsys.readouterr().out
    assert fake.seen("set_flag") == ["REFIT", "STRIP_PLAN"]
    assert "--refit --stripWeights --builderOptimizationLevel=1" in (out / "trtexec.txt").read_text()
    assert 'platform: "onnxruntime_onnx"' in (out / "config.pbtxt").read_text()
    options = json.loads((out / "report.json").read_text())["engine"]["options"]
    assert (options["refit"], options["optimization_level"], options["timing_cache"]) == (True, 1, None)
    assert "optimization level" in (out / "report.html").read_text()


def test_what_a_runtime_does_not_do_ends_the_command(tiny_net: Any, tmp_path: Path, capsys: Any) -> None:
    from export import to_trt

    bundle = bundles.write(tiny_net, tmp_path / "bundle")
    for argv, message in (
        (["--onnx", str(bundle), "--runtime", "onnxruntime", "--refit"], "--refit is about an engine"),
        (["--onnx", str(bundle), "--refit", "--targets", "SM89,SM120"], "takes one of --targets at most"),
        (["--ckpt", "resnet50", "--runtime", "onnxruntime", "--timing-cache", str(tmp_path / "t")],
         "--timing-cache is about an engine"),
    ):  # fmt: skip
        assert to_trt.main(argv) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (bundle / "onnxruntime").exists()


# --- for real -------------------------------------------------------------------------------------------


@needs_rtx
def test_rtx_ends_the_command_with_what_it_takes(tiny_net: Any, tmp_path: Path, capsys: Any) -> None:
    from export.bundle import command

    bundle = bundles.write(tiny_net, tmp_path / "bundle")
    assert command.main(["--onnx", str(bundle), "--runtime", "tensorrt_rtx", "--version-compatible"]) == 2
    assert "is not known to tensorrt_rtx: its engines fit one release of it" in capsys.readouterr().err


@needs_rtx
def test_the_real_bindings_have_every_name() -> None:
    """TensorRT for RTX shares these names with TensorRT 10 and 11, whose bindings cannot be tested here."""
    trt = make("tensorrt_rtx").trt  # type: ignore[attr-defined]
    for owner, names in {
        trt.BuilderFlag: ("REFIT", "REFIT_IDENTICAL", "STRIP_PLAN", "VERSION_COMPATIBLE"),
        trt.HardwareCompatibilityLevel: ("AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"),
        trt.IBuilderConfig: ("hardware_compatibility_level", "builder_optimization_level",
                             "create_timing_cache", "set_timing_cache"),
        trt.ITimingCache: ("serialize",),
        trt.Runtime: ("engine_host_code_allowed",),
        trt.Refitter: ("get_missing_weights", "refit_cuda_engine"),
        trt.OnnxParserRefitter: ("refit_from_bytes", "num_errors", "get_error"),
    }.items():  # fmt: skip
        assert [name for name in names if not hasattr(owner, name)] == []


@needs_rtx
def test_rtx_writes_the_same_engine_at_every_level(tiny_net: Any) -> None:
    """Why --optimization-level is refused there: the attribute does nothing."""
    runtime: Any = make("tensorrt_rtx")

    def engine(level: int | None) -> bytes:
        trt = runtime.trt
        log = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        assert trt.OnnxParser(network, log).parse(tiny_net.make())
        config = builder.create_builder_config()
        if level is not None:
            config.builder_optimization_level = level
        return bytes(builder.build_serialized_network(network, config))

    assert engine(None) == engine(0) == engine(5)


@needs_rtx
def test_a_bundle_with_tf32_is_judged_by_emulation(tiny_net: Any, tmp_path: Path, capsys: Any) -> None:
    from export.bundle import command
    from export.precision.tf32_gate import TF32

    bundle = bundles.write(tiny_net, tmp_path / "bundle")
    assert command.main(["--onnx", str(bundle), "--runtime", "tensorrt_rtx", "--tf32"]) == 0
    assert "  tf32     passed: with factors rounded to 11 bits, emulated" in capsys.readouterr().out
    report = json.loads((bundle / "tensorrt_rtx" / "report.json").read_text())
    limits = {line["limit"] for line in report["gate"]["comparisons"] if line["candidate"] == TF32}
    assert limits == {2e-3}
    half = bundles.write(tiny_net, tmp_path / "half", precision="fp16")
    command.main(["--onnx", str(half), "--runtime", "tensorrt_rtx", "--tf32"])
    assert "notice   TF32 is not emulated for fp16 files" in capsys.readouterr().out
