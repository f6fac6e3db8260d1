"""Damaged, foreign and newer bundles, and mistakes in the command: one line each, exit status 2."""

from __future__ import annotations

import io
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest

from export import to_trt
from export._optional import available
from export.bundle import FILES, BundleError
from export.bundle import unpack as unpacking
from export.bundle.unpack import unpack

Edit = Callable[[Path], None]


def said(capsys: Any, *arguments: str) -> str:
    assert to_trt.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("python -m export.to_trt: error: ")
    return captured.err


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def flip(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[200] ^= 1
    (folder / "model.onnx").write_bytes(bytes(data))


def manifest(edit: Callable[[dict[str, Any]], Any]) -> Edit:
    return lambda folder: bundles.change(folder, edit)


def gate(**arrays: Any) -> Edit:
    """The gate of the bundle with other arrays; a rehashed manifest."""

    def replace(folder: Path) -> None:
        with np.load(folder / "gate.npz") as file:
            held = {key: file[key] for key in file.files}
        changed = {**held, **{key.replace("__", "."): value for key, value in arrays.items()}}
        bundles.replace(folder, "gate.npz", npz(**changed))

    return replace


DAMAGE: dict[str, tuple[Edit, str]] = {
    "one bit of the model": (flip, "model.onnx was changed: its SHA-256 is not the one in manifest.json"),
    "a cut file": (
        lambda f: (f / "gate.npz").write_bytes((f / "gate.npz").read_bytes()[:-9]),  # pyright: ignore
        "gate.npz has",
    ),
    "a missing file": (lambda f: (f / "labels.json").unlink(), "labels.json is missing"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "is no bundle"),
    "another's manifest": (
        lambda f: (f / "manifest.json").write_text('{"name": "a web app"}') and None,
        "is not the manifest of a bundle",
    ),
    "no JSON": (lambda f: (f / "manifest.json").write_text("{") and None, "manifest.json cannot be read"),
    "no text": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe\x00") and None, "cannot be read"),
    "a newer format": (
        manifest(lambda m: m.update(format=3)),
        "has format 3, and this version reads up to 2: use a newer hvjax",
    ),
    "no format": (manifest(lambda m: m.pop("format")), "says no format"),
    "a file too few": (manifest(lambda m: m["files"].pop("trtexec.txt")), "lists no trtexec.txt"),
    "a path outside": (
        manifest(lambda m: m["files"].update({"../../etc/passwd": {}})),
        "lists '../../etc/passwd', which is no file of a bundle",
    ),
    "no files": (manifest(lambda m: m.update(files=[])), "lists no files"),
    "no model": (manifest(lambda m: m.pop("model")), "incomplete or damaged"),
    "a bad batch": (manifest(lambda m: m["model"]["batch"].update(minimum=9)), "incomplete or damaged"),
    "a foreign npz": (
        lambda f: bundles.replace(f, "gate.npz", npz(images=np.zeros((2, 4, 4, 3), np.uint8))),
        "gate.npz is not the gate of a bundle: it holds images; expected one input.*",
    ),
    "no npz": (lambda f: bundles.replace(f, "gate.npz", b"PK\x03\x04"), "is not an archive of NumPy arrays"),
    "one array": (
        lambda f: bundles.replace(f, "gate.npz", b"\x93NUMPY\x01\x00"),
        "is not an archive of NumPy arrays",
    ),
    "another model's gate": (
        gate(input__images=np.zeros((8, 3, 9, 9), np.float32)),
        "gate.npz belongs to another model: it holds images (3, 9, 9)",
    ),
    "answers for fewer images": (gate(output__logits=np.zeros((3, 5), np.float32)), "do not belong together"),
    "answers that are not finite": (gate(output__logits=np.full((8, 5), np.nan, np.float32)), "not finite"),
    "a tolerance that is text": (gate(tolerance__onnx=np.array("much")), "tolerance.onnx is not one number"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_bundle_is_refused(kind: str, tiny_net: Any, tmp_path: Path, capsys: Any) -> None:
    damage, message = DAMAGE[kind]
    folder = bundles.write(tiny_net, tmp_path / "b")
    damage(folder)
    assert message in said(capsys, "--onnx", str(folder), "--runtime", "onnxruntime")
    assert not (folder / "onnxruntime").exists()


def test_an_undamaged_one_is_not(tiny_net: Any, tmp_path: Path) -> None:
    folder = bundles.write(tiny_net, tmp_path / "b")
    assert to_trt.main(["--onnx", str(folder), "--runtime", "onnxruntime"]) == 0


def test_the_gate_of_an_earlier_version_is_read() -> None:
    """Its arrays by name, as format 1 has them."""
    answers = np.arange(10, dtype=np.float32).reshape(2, 5)
    limits = {"tolerance.onnx": 1e-5, "tolerance.engine": 5e-5, "tolerance.engine_tf32": 2e-3}
    images = np.zeros((2, 8, 8, 3), np.uint8)
    arrays = {"input.images": images, "output.probabilities": answers, "exact_top1": True, "top": 3}
    found = unpack(npz(**arrays, **{name: np.float64(limit) for name, limit in limits.items()}))
    assert found.answers == "classes" and found.exact_top1 and found.top == 3
    np.testing.assert_array_equal(found.expected["probabilities"], answers)
    assert found.tolerances == {
        name.split(".")[1]: {"probabilities": limit} for name, limit in limits.items()
    }


def test_a_pickle_is_never_loaded() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was run",))

    arrays = npz(**{"input.images": np.array([Trap()], dtype=object)})
    with pytest.raises(
        BundleError, match="is not an archive of NumPy arrays: Object arrays cannot be loaded"
    ):
        unpack(arrays)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "LARGEST", 10_000)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"input.images": np.zeros(100_000, np.uint8)})
    bomb = buffer.getvalue()
    assert len(bomb) < 1_000
    with pytest.raises(BundleError, match="unpacks to 100128 bytes, more than 10000"):
        unpack(bomb)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--onnx"], "expected one argument"),
        (["--onnx", "{missing}"], "missing: no such file or folder"),
        (["--onnx", "x" * 5000], "File name too long"),
        (["--onnx", "{bundle}", "--ckpt", "resnet50"], "--ckpt does not go with --onnx"),
        (["--onnx={bundle}", "--precision=fp16"], "--precision does not go with --onnx"),
        (["--onnx", "{bundle}", "--runtim", "auto"], "unknown flag --runtim; did you mean --runtime"),
        (["--onnx", "{bundle}", "stray"], "unexpected argument 'stray'; the model is given with --onnx"),
        (["--onnx", "{bundle}", "--runtime", "tensort"], "did you mean tensorrt?"),
        (["--onnx", "{bundle}", "--batch", "8:1"], "neither a number"),
        (["--onnx", "{bundle}", "--batch", "1:4:64"], "--batch 1:4:64: this bundle was made for 1:2:4"),
        (["--onnx", "{bundle}", "--runtime", "onnxruntime", "--tf32"], "--tf32 is about an engine"),
        (["--onnx", "{bundle}", "--runtime", "onnxruntime", "--out", "{bundle}"], "is a bundle: results"),
    ],
)
def test_mistakes_in_flags(
    arguments: list[str], message: str, tiny_net: Any, tmp_path: Path, capsys: Any
) -> None:
    places = {
        "{bundle}": str(bundles.write(tiny_net, tmp_path / "b")),
        "{missing}": str(tmp_path / "missing"),
    }
    for mark, place in places.items():
        arguments = [argument.replace(mark, place) for argument in arguments]
    assert message in said(capsys, *arguments)


def test_a_runtime_that_is_not_installed_is_asked_for_without_jax(
    tiny_net: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extras of hvjax would bring JAX; the plain packages do not."""
    import sys

    folder = bundles.write(tiny_net, tmp_path / "b")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    line = said(capsys, "--onnx", str(folder), "--runtime", "tensorrt")
    assert "needs tensorrt, which is not installed: pip install tensorrt" in line and "hvjax[" not in line


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_is_refused_in_one_line(seed: int, tiny_net: Any, tmp_path: Path, capsys: Any) -> None:
    """Bytes of any file but the manifest: never a traceback, never accepted."""
    rng = random.Random(seed)
    folder = bundles.write(tiny_net, tmp_path / "b")
    path = folder / rng.choice(FILES)
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data))
    data[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(1, 4))
    if bytes(data) == path.read_bytes():
        data.append(0)
    path.write_bytes(bytes(data))
    assert path.name in said(capsys, "--onnx", str(folder), "--runtime", "onnxruntime")


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of a JSON document."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [place for key, entry in entries for place in ((*at, key), *places(entry, (*at, key)))]


@pytest.mark.parametrize("seed", range(8))
def test_a_manifest_with_any_value_replaced_is_no_traceback(
    seed: int, tiny_net: Any, tmp_path: Path, capsys: Any
) -> None:
    """Ten such manifests a seed: refused in one line, or accepted where nothing depends on the value."""
    rng = random.Random(seed)
    folder = bundles.write(tiny_net, tmp_path / "b")
    whole = (folder / "manifest.json").read_text()
    for _ in range(10):
        manifest = json.loads(whole)
        *parents, key = rng.choice(places(manifest))
        entry = manifest
        for parent in parents:
            entry = entry[parent]
        entry[key] = rng.choice([None, -1, 10**30, "", "x", [], {}, [[]], {"": None}, True, 0.5])
        (folder / "manifest.json").write_text(json.dumps(manifest))
        status = to_trt.main(["--onnx", str(folder), "--runtime", "onnxruntime", "--overwrite"])
        captured = capsys.readouterr()
        assert status in (0, 2) and "Traceback" not in captured.err
        assert status == 0 or captured.err.count("\n") == 1, captured.err


def test_an_interrupted_build_leaves_nothing(
    tiny_net: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.bundle import command

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command, "gate_onnx", interrupted)
    folder = bundles.write(tiny_net, tmp_path / "b")
    before = sorted(folder.rglob("*"))
    assert to_trt.main(["--onnx", str(folder), "--runtime", "onnxruntime"]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


CUTS = (0, 1, 40, 300)


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt_rtx"])
@pytest.mark.parametrize("length", CUTS)
def test_a_malformed_model_is_a_message(
    runtime: str, length: int, tiny_net: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest knows the cut file, so that the runtime's own parser meets it."""
    from export.bundle import trial

    if runtime == "tensorrt_rtx":
        if not available("tensorrt_rtx_bindings"):
            pytest.skip("TensorRT for RTX is not installed: hvjax[tensorrt-rtx]")
        monkeypatch.setattr(trial, "available", lambda module: False)  # or ONNX Runtime would meet it first
    folder = bundles.write(tiny_net, tmp_path / "b")
    bundles.replace(folder, "model.onnx", (folder / "model.onnx").read_bytes()[:length])
    assert to_trt.main(["--onnx", str(folder), "--runtime", runtime]) == 1
    captured = capsys.readouterr()
    assert runtime.split("_")[0] in (captured.out + captured.err).lower().replace(" ", "")
    assert "Traceback" not in captured.err
    assert not (folder / runtime / "model.engine").exists()


def test_a_report_page_that_cannot_be_drawn_costs_no_engine(
    tiny_net: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundles.write(tiny_net, tmp_path / "b")
    bundles.change(folder, lambda m: m["report"]["graph"].clear())
    assert to_trt.main(["--onnx", str(folder), "--runtime", "onnxruntime"]) == 0
    assert "notice: no report.html: KeyError" in capsys.readouterr().err
    assert json.loads((folder / "onnxruntime" / "report.json").read_text())["accepted"]
