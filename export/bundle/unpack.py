"""Reading gate.npz: whatever lies in it is checked before anything is used."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from export import sure
from export.bundle import ANSWERS, CLASSES, BundleError
from export.bundle.gatefile import TOLERANCES, GateFile, Limits
from export.detections import DETECTIONS

#: Bytes of the arrays of a gate: 64 images of 2048x2048 pixels in float32 are 3.2 GB.
LARGEST = 4 << 30
#: What stands among the tolerances of detections where only those that are sure are compared.
_RULES = (sure.SCORE, sure.OVERLAP)

Arrays = Mapping[str, np.ndarray]


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
    return _others(arrays, name) if "answers" in arrays else _classes(arrays, name)


def _classes(arrays: Arrays, name: str) -> GateFile:
    inputs, outputs = _named(arrays, "input."), _named(arrays, "output.")
    missing = {f"tolerance.{key}" for key in TOLERANCES} | {"exact_top1"}
    if len(inputs) != 1 or len(outputs) != 1 or not missing <= arrays.keys():
        raise _foreign(arrays, name, "one input.*, one output.*, the tolerances and exact_top1")
    ((fed, images),), ((output, expected),) = inputs.items(), outputs.items()
    found = GateFile(
        input=fed,
        inputs=images,
        expected={output: expected},
        tolerances={key: {output: _number(arrays, f"tolerance.{key}", name)} for key in TOLERANCES},
        exact_top1=bool(_number(arrays, "exact_top1", name)),
        top=int(_number(arrays, "top", name, "iu")) if "top" in arrays else 0,
    )
    _check_counts(found, name)
    if not 0 <= found.top <= expected.shape[-1]:
        raise BundleError(f"{name}: top is {found.top}, of {expected.shape[-1]} classes")
    _check_floats({output: expected}, name)
    return found


def _others(arrays: Arrays, name: str) -> GateFile:
    said = arrays["answers"]
    answers = str(said) if said.shape == () and said.dtype.kind == "U" else ""
    known = [answer for answer in ANSWERS if answer != CLASSES]
    if answers not in known:
        raise BundleError(f"{name}: answers is {said!r:.40}; {', '.join(known)} are known")
    inputs, outputs = _named(arrays, "input."), _named(arrays, "output.")
    if len(inputs) != 1 or not outputs or "least_score" not in arrays:
        raise _foreign(arrays, name, "one input.*, output.*, the tolerances and least_score")
    ((fed, images),) = inputs.items()
    found = GateFile(
        input=fed,
        inputs=images,
        expected=outputs,
        tolerances=_tolerances(arrays, tuple(outputs), name),
        answers=answers,
        least_score=_number(arrays, "least_score", name),
    )
    _check_counts(found, name)
    whole = images.dtype == np.uint8 or (images.dtype.kind == "f" and np.isfinite(images).all())
    if images.ndim != 4 or not whole:
        raise BundleError(f"{name}: the inputs are not images of finite numbers")
    if answers == "detections":
        _check_detections(found, name)
    else:
        _check_maps(found, name)
    return found


def _tolerances(arrays: Arrays, outputs: tuple[str, ...], name: str) -> dict[str, Limits]:
    """Of every output, by key."""
    found: dict[str, Limits] = {}
    for key in TOLERANCES:
        names = {output: f"tolerance.{key}.{output}" for output in outputs}
        rules = {rule: f"tolerance.{key}.{rule}" for rule in _RULES}
        if set(outputs) == set(DETECTIONS) and rules.values() & arrays.keys():
            names |= rules
        missing = [entry for entry in names.values() if entry not in arrays]
        if missing:
            raise BundleError(f"{name} holds no {missing[0]}: not a whole gate")
        found[key] = {output: _number(arrays, entry, name) for output, entry in names.items()}
        for output, limit in found[key].items():
            if not 0 < limit <= 1:  # NaN is not either
                raise BundleError(f"{name}: tolerance.{key}.{output} is {limit}, not between 0 and 1")
    return found


def _check_maps(gate: GateFile, name: str) -> None:
    """Of every pixel of the input, or of each cell of four stages."""
    for output, value in gate.expected.items():
        if value.ndim != 4:
            raise BundleError(f"{name}: {output} of shape {value.shape} is no map")
    if gate.answers == "map" and len(gate.expected) != 1:
        raise BundleError(f"{name} holds {len(gate.expected)} maps; one was expected")
    _check_floats(gate.expected, name)


def _check_detections(gate: GateFile, name: str) -> None:
    held = gate.expected
    if set(held) != set(DETECTIONS):
        raise BundleError(f"{name} holds {', '.join(held)}; expected {', '.join(DETECTIONS)}")
    boxes, scores, labels, masks = (held[output] for output in DETECTIONS)
    count = labels.shape[1] if labels.ndim == 2 else -1
    axes = (len(gate), count)
    shapes = {output: value.shape for output, value in held.items()}
    if boxes.shape != (*axes, 4) or scores.shape != axes or masks.shape[:2] != axes or masks.ndim != 4:
        raise BundleError(f"{name}: shapes of no detections: {shapes}")
    if labels.dtype != np.int32 or labels.size == 0 or labels.min() < -1:
        raise BundleError(f"{name}: labels are not int32 from -1 on")
    _check_floats({output: held[output] for output in ("boxes", "scores", "masks")}, name)
    if not 0 <= gate.least_score < 1:
        raise BundleError(f"{name}: least_score is {gate.least_score}, no probability")


def _check_counts(gate: GateFile, name: str) -> None:
    for value in gate.expected.values():
        if gate.inputs.ndim < 2 or value.ndim < 2 or len(gate.inputs) != len(value):
            raise BundleError(
                f"{name}: inputs of shape {gate.inputs.shape} and outputs of shape {value.shape} "
                "do not belong together"
            )


def _check_floats(expected: Arrays, name: str) -> None:
    if not all(value.dtype.kind == "f" and np.isfinite(value).all() for value in expected.values()):
        raise BundleError(f"{name}: the expected outputs are not finite floating point numbers")


def _check_size(data: bytes) -> None:
    """Raises ValueError for an archive that unpacks to more than any gate holds. NumPy would try."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"it unpacks to {size} bytes, more than {LARGEST}")


def _named(arrays: Arrays, kind: str) -> dict[str, np.ndarray]:
    return {key[len(kind) :]: value for key, value in arrays.items() if key.startswith(kind)}


def _foreign(arrays: Arrays, name: str, expected: str) -> BundleError:
    held = ", ".join(sorted(arrays)) or "nothing"
    return BundleError(f"{name} is not the gate of a bundle: it holds {held}; expected {expected}")


def _number(arrays: Arrays, key: str, name: str, kinds: str = "fb") -> float:
    array = arrays[key]
    if array.shape != () or array.dtype.kind not in kinds:
        raise BundleError(f"{name}: {key} is not one number")
    return float(array)


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
