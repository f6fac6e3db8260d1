"""hvjax's own weights files: `.safetensors` with metadata, from and to plain nested dicts.

A tensor is stored under its path in the variables, `params/stage1/block1/mhca/conv/kernel`. The
metadata (text, as the format demands) says which model the tensors are of; see `FileInfo`. Nothing in
such a file can run code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hvjax.ops.trees import Tree, flatten, unflatten

FORMAT = 1  # raised when older readers would misunderstand a file
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class FileInfo:
    """What a weights file says about itself.

    Attributes:
      model: name in the registry, or None for a file saved without its model.
      overrides: the config fields that differ from the registry's row of that name.
      deploy: whether the variables are of the deploy form.
      class_names: one name per output, in order, or None if unknown.
      version: version of hvjax that wrote the file.
    """

    model: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    deploy: bool = False
    class_names: tuple[str, ...] | None = None
    version: str = ""


def write_file(path: str | os.PathLike[str], variables: Mapping[str, Any], info: FileInfo) -> None:
    """Write variables and info; an existing file is replaced in one step or, on failure, left alone.

    Raises:
      FileNotFoundError: if the folder does not exist.
      ValueError: if the name does not end in .safetensors, or a leaf is not an array of numbers.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"weights file {str(path)!r}: the name must end in {SUFFIX}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} to write {path.name} into")
    arrays = {"/".join(tensor): _storable(tensor, leaf) for tensor, leaf in flatten(variables).items()}
    # Not safetensors' own save_file: what it writes is readable by the owner only, whatever the umask.
    _replace(path, save(arrays, metadata=_encode(info)))


def read_file(path: str | os.PathLike[str]) -> tuple[Tree, FileInfo]:
    """Return the variables, as NumPy arrays of the stored types, and the info of a weights file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not a whole weights file written by `write_file`.
    """
    with _opened(path) as file:
        info = _decode(path, file.metadata())
        flat = {tuple(name.split("/")): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return unflatten(flat), info


def read_info(path: str | os.PathLike[str]) -> FileInfo:
    """Return what a weights file says about itself, without reading its tensors; raises as `read_file`."""
    with _opened(path) as file:
        return _decode(path, file.metadata())


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a `.safetensors` file with our metadata; others may hold PyTorch's names."""
    if Path(path).suffix != SUFFIX:
        return False
    with _opened(path) as file:
        return "hvjax_version" in (file.metadata() or {})


def _storable(tensor: tuple[str, ...], leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    if any("/" in name for name in tensor):
        raise ValueError(f"{'.'.join(tensor)}: a name in a weights file cannot contain '/'")
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise ValueError(f"{'.'.join(tensor)} has type {array.dtype}: expected an array of numbers")
    # The writer copies raw memory: transposed views would be stored in the wrong order.
    return np.array(array, order="C", copy=None)


def _replace(path: Path, content: bytes) -> None:
    """Write a file beside `path` and move it over `path` when it is safely on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weights file {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: expected a {SUFFIX} file")
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is not a {SUFFIX} file, or not a whole one ({error})") from error


def _encode(info: FileInfo) -> dict[str, str]:
    text = {"format": str(FORMAT), "hvjax_version": info.version, "deploy": json.dumps(info.deploy)}
    if info.model is not None:
        text |= {"model": info.model, "overrides": json.dumps(info.overrides, default=_number)}
    if info.class_names is not None:
        text["class_names"] = json.dumps(list(info.class_names))
    return text


def _number(value: Any) -> Any:
    """Return a NumPy number, which users pass as easily as Python's own, as one of Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"{value!r} ({type(value).__name__}) in the model's config cannot be written as JSON")


def _decode(path: str | os.PathLike[str], metadata: Mapping[str, str] | None) -> FileInfo:
    text = metadata or {}
    number = text.get("format", "")
    if not number.isdecimal() or "hvjax_version" not in text:
        raise ValueError(
            f"{str(path)!r} has no hvjax metadata (found {', '.join(sorted(text)) or 'none'}): it was not "
            "written by hvjax.save_weights. Checkpoints with PyTorch names load with hvjax.load_torch"
        )
    if int(number) > FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {number}, written by hvjax {text['hvjax_version']}; this version "
            f"reads formats up to {FORMAT}: upgrade hvjax"
        )
    overrides, deploy = _json(path, text, "overrides", dict), _json(path, text, "deploy", bool)
    names = _json(path, text, "class_names", list)
    return FileInfo(
        model=text.get("model"),
        overrides=overrides or {},
        deploy=bool(deploy),
        class_names=None if names is None else tuple(names),
        version=text["hvjax_version"],
    )


def _json(path: str | os.PathLike[str], text: Mapping[str, str], key: str, kind: type) -> Any:
    """Parse an entry of the metadata, which must be of the given kind; None if it is not there."""
    if key not in text:
        return None
    try:
        value = json.loads(text[key])
    except json.JSONDecodeError as error:
        raise ValueError(f"{str(path)!r}: metadata {key}={text[key]!r} is not JSON") from error
    if not isinstance(value, kind):
        raise ValueError(f"{str(path)!r}: metadata {key}={text[key]!r} is not a {kind.__name__}")
    return value
