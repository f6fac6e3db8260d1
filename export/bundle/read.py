"""Reading a bundle: everything is checked against its manifest before anything is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.batch import BatchRange
from export.bundle import CLASSES, FILES, FORMAT, KIND, MANIFEST, BundleError, format_of
from export.bundle.gatefile import GateFile
from export.bundle.unpack import unpack
from export.ends.spec import Ends, from_dict
from export.provenance import sha256


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those its manifest lists."""

    folder: Path
    manifest: Mapping[str, Any]
    model: bytes
    gate: GateFile
    batch: BatchRange

    @property
    def name(self) -> str:
        return str(self.manifest["model"]["name"])

    @property
    def precision(self) -> str:
        return str(self.manifest["model"]["precision"])

    @property
    def ends(self) -> Ends:
        return from_dict(self.manifest["model"])

    @property
    def half_share(self) -> float:
        """`Economy.half_share` of the file; bundles of before it was counted have no float32 islands."""
        found = self.manifest.get("graph", {}).get("half_share")
        return float(found) if isinstance(found, int | float) and 0 <= found <= 1 else 1.0


def is_bundle(folder: Path) -> bool:
    """Whether the folder holds a manifest.json of ours, whole or not."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("bundle") == KIND


def read_bundle(given: Path) -> Bundle:
    """Reads and verifies the bundle in the folder `given` (or the one around a file of it).

    Raises:
      BundleError: no bundle, one of a newer format, a missing or changed file, a foreign gate.npz.
    """
    try:
        folder = given.parent if given.is_file() else given
        found = folder.is_dir()
    except OSError as error:  # a name too long
        raise BundleError(f"{given}: {error.strerror}") from error
    if not found:
        raise BundleError(f"{given}: no such file or folder")
    manifest = _manifest(folder, given)
    contents = {name: _verified(folder, name, entry) for name, entry in _listed(manifest, folder)}
    missing = [name for name in FILES if name not in contents]
    if missing:
        raise BundleError(f"{folder / MANIFEST} lists no {missing[0]}: not a whole bundle")
    gate = unpack(contents["gate.npz"], str(folder / "gate.npz"))
    try:
        batch = BatchRange(**{k: int(v) for k, v in manifest["model"]["batch"].items()})
        said = _said(manifest, gate)
        for key, kind in (("report", dict), ("nodes", list), ("versions", dict)):
            if not isinstance(manifest[key], kind):
                raise TypeError(key)
        for key in ("gate", "graph", "proof"):
            if not isinstance(manifest["report"][key], dict):
                raise TypeError(f"report.{key}")
        from_dict(manifest["model"])
        texts = [*(manifest["model"][key] for key in ("name", "precision")), *manifest["nodes"]]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name that is no text")
        lines = manifest["report"]["gate"]["comparisons"]
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise TypeError("report.gate.comparisons")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{folder / MANIFEST} is incomplete or damaged ({error})") from error
    if manifest["format"] != format_of(gate.answers):
        raise BundleError(
            f"{folder / MANIFEST} has format {manifest['format']}, and gate.npz holds {gate.answers}, "
            f"which is of format {format_of(gate.answers)}"
        )
    held = _held(gate)
    if said != held:
        raise BundleError(
            f"{folder / 'gate.npz'} belongs to another model: it holds {_words(held)}, "
            f"and {MANIFEST} says {_words(said)}"
        )
    if len(gate) < batch.maximum:
        raise BundleError(
            f"{folder / 'gate.npz'} holds {len(gate)} images, fewer than a batch of {batch.maximum}"
        )
    return Bundle(folder, manifest, contents["model.onnx"], gate, batch)


#: Name and axes without the batch, of a tensor, and its type where the file does not answer classes.
Tensor = tuple[str, tuple[int, ...], str]


def _said(manifest: Mapping[str, Any], gate: GateFile) -> list[Tensor]:
    """The input and what is expected, as the manifest has them. Raises KeyError, TypeError."""
    if gate.answers == CLASSES:
        return [(one["name"], tuple(one["shape"]), "") for one in (manifest["input"], manifest["output"])]
    if manifest["model"]["answers"] != gate.answers:
        raise TypeError(f"model.answers is not {gate.answers}")
    tensors = (manifest["input"], *manifest["outputs"])
    return [(one["name"], tuple(one["shape"]), one["dtype"]) for one in tensors]


def _held(gate: GateFile) -> list[Tensor]:
    """The same as gate.npz has them."""
    held = {gate.input: gate.inputs, **gate.expected}
    typed = gate.answers != CLASSES
    return [(name, value.shape[1:], str(value.dtype) if typed else "") for name, value in held.items()]


def _words(tensors: list[Tensor]) -> str:
    return " and ".join(f"{name} {shape} {dtype}".rstrip() for name, shape, dtype in tensors)


def _manifest(folder: Path, given: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(
            f"{given} is no bundle: {path} is missing (export.to_onnx and export.to_trt --ckpt write one)"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("bundle") != KIND:
        raise BundleError(f"{path} is not the manifest of a bundle")
    version = found.get("format")
    if not isinstance(version, int):
        raise BundleError(f"{path} says no format")
    if version > FORMAT:
        raise BundleError(
            f"{path} has format {version}, and this version reads up to {FORMAT}: use a newer hvjax"
        )
    return found


def _listed(manifest: Mapping[str, Any], folder: Path) -> list[tuple[str, Mapping[str, Any]]]:
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise BundleError(f"{folder / MANIFEST} lists no files")
    for name in files:
        if Path(name).name != name or name in ("", ".", "..", MANIFEST) or "\\" in name:
            raise BundleError(f"{folder / MANIFEST} lists {name!r}, which is no file of a bundle")
    return list(files.items())


def _verified(folder: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    path = folder / name
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing, and {MANIFEST} lists it: copy the whole folder") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) != entry.get("bytes"):
        raise BundleError(f"{path} has {len(data)} bytes, and {MANIFEST} says {entry.get('bytes')}")
    if sha256(data) != entry.get("sha256"):
        raise BundleError(f"{path} was changed: its SHA-256 is not the one in {MANIFEST}")
    return data
