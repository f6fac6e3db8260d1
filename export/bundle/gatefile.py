"""gate.npz: what to feed the graph, what it must answer, and how near.

Arrays (never pickles): `input.NAME` (images, ...) in the layout and type of the graph's input;
`output.NAME` (images, ...) as the deploy form answers in JAX in float32 (for a graph that ends in top-k: all
probabilities, and `top`, how many of them the graph gives); `tolerance.onnx`,
`tolerance.engine`, `tolerance.engine_tf32`: the largest difference allowed, relative to the largest
magnitude of the expected output; `exact_top1`: whether each image must keep its top-1 class.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export import parity
from export.bundle import BundleError

#: Bytes of the arrays of a gate: 64 images of 2048x2048 pixels in float32 are 3.2 GB.
LARGEST = 4 << 30
TOLERANCES = ("onnx", "engine", "engine_tf32")


@dataclass(frozen=True)
class GateFile:
    """`inputs` and `expected` have one entry an image; `tolerances` has the keys `TOLERANCES`; `top`: the
    graph gives that many largest of `expected` and their classes, 0: `expected` itself."""

    input: str
    output: str
    inputs: np.ndarray
    expected: np.ndarray
    tolerances: Mapping[str, float]
    exact_top1: bool
    top: int = 0

    def __len__(self) -> int:
        return len(self.inputs)

    def engine_tolerance(self, tf32: bool) -> float:
        return self.tolerances["engine_tf32" if tf32 else "engine"]

    def pack(self) -> bytes:
        """The bytes of gate.npz; equal contents give equal bytes."""
        arrays = {
            f"input.{self.input}": self.inputs,
            f"output.{self.output}": self.expected,
            "exact_top1": np.array(self.exact_top1),
        }
        arrays |= {f"tolerance.{key}": np.array(self.tolerances[key], np.float64) for key in TOLERANCES}
        arrays |= {"top": np.array(self.top)} if self.top else {}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def tolerances(precision: str, onnx_limit: float) -> dict[str, float]:
    """The limits of the gate (`export.parity`) for this precision; `onnx_limit` is what the file passed."""
    engine = parity.ENGINE_LIMITS[precision]
    return {"onnx": onnx_limit, "engine": engine, "engine_tf32": max(engine, parity.ENGINE_TF32_LIMIT)}


def unpack(data: bytes, name: str = "gate.npz") -> GateFile:
    """Reads what `GateFile.pack` wrote.

    Raises:
      BundleError: no archive of arrays, one with pickles, or one of another purpose.
    """
    try:
        _check_size(data)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except Exception as error:  # zip, zlib and NumPy have many words for a damaged archive
        raise BundleError(f"{name} is not an archive of NumPy arrays: {_line(error)}") from error
    inputs = [key for key in arrays if key.startswith("input.")]
    outputs = [key for key in arrays if key.startswith("output.")]
    missing = {f"tolerance.{key}" for key in TOLERANCES} | {"exact_top1"}
    held = ", ".join(sorted(arrays)) or "nothing"
    if len(inputs) != 1 or len(outputs) != 1 or not missing <= arrays.keys():
        raise BundleError(
            f"{name} is not the gate of a bundle: it holds {held}; expected "
            "one input.*, one output.*, the tolerances and exact_top1"
        )
    found = GateFile(
        input=inputs[0].split(".", 1)[1],
        output=outputs[0].split(".", 1)[1],
        inputs=arrays[inputs[0]],
        expected=arrays[outputs[0]],
        tolerances={key: _number(arrays[f"tolerance.{key}"], f"tolerance.{key}", name) for key in TOLERANCES},
        exact_top1=bool(_number(arrays["exact_top1"], "exact_top1", name)),
        top=int(_number(arrays["top"], "top", name, "iu")) if "top" in arrays else 0,
    )
    if found.inputs.ndim < 2 or found.expected.ndim < 2 or len(found.inputs) != len(found.expected):
        raise BundleError(
            f"{name}: inputs of shape {found.inputs.shape} and outputs of shape {found.expected.shape} "
            "do not belong together"
        )
    if not 0 <= found.top <= found.expected.shape[-1]:
        raise BundleError(f"{name}: top is {found.top}, of {found.expected.shape[-1]} classes")
    if found.expected.dtype.kind != "f" or not np.isfinite(found.expected).all():
        raise BundleError(f"{name}: the expected outputs are not finite floating point numbers")
    return found


def _check_size(data: bytes) -> None:
    """Raises ValueError for an archive that unpacks to more than any gate holds. NumPy would try."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"it unpacks to {size} bytes, more than {LARGEST}")


def _number(array: np.ndarray, key: str, name: str, kinds: str = "fb") -> float:
    if array.shape != () or array.dtype.kind not in kinds:
        raise BundleError(f"{name}: {key} is not one number")
    return float(array)


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
