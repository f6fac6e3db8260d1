"""A float model and pictures -> the int8 model, and what was done to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from export import gate_images
from export.gate_images import GateImages
from export.load import Source
from export.quantize.calibrate import FUNCTIONS
from export.quantize.flags import Int8Request
from export.quantize.insert import insert
from export.quantize.observe import observe
from export.quantize.place import plan


@dataclass(frozen=True)
class Quantised:
    """`model`: in int8; `base`: the same graph before, in float; layers in int8, those kept and why; how many
    images of what source the ranges are from; `clipped`: share of the largest magnitude that is represented,
    of the tensor that lost most."""

    model: bytes
    base: bytes
    layers: tuple[str, ...]
    kept: dict[str, str]
    tensors: int
    images: int
    source: str
    clipped: float


def quantise_model(
    base: bytes,
    request: Int8Request,
    images: np.ndarray,
    source: str,
    batch: int,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> Quantised:
    """Plans, takes ranges from `images` (in the layout of the file's input) and inserts Q/DQ.

    Args:
      base: float16 or float32 ONNX file that takes `batch` images.
      source: in words where the images are from.

    Raises:
      ValueError: no layer to quantise, `keep` names none, or activations that are not finite; one line.
    """
    model = onnx.load_model_from_string(base)
    found = plan(model, request.keep)
    tensors = list(found.activations)
    seen = observe(model, tensors, images, batch, say)
    largest = {name: FUNCTIONS[request.calibrator](seen[name]) for name in tensors}
    made = insert(model, found, largest)
    for entry in made.metadata_props:
        if entry.key == "precision":
            entry.value = "int8"
    onnx.checker.check_model(made, full_check=True)
    parts = [largest[name] / seen[name].largest for name in tensors if seen[name].largest]
    return Quantised(
        model=made.SerializeToString(),
        base=base,
        layers=tuple(found.layers),
        kept=dict(found.kept),
        tensors=len(tensors),
        images=len(images),
        source=source,
        clipped=min(parts, default=1.0),
    )


def calibration_images(
    request: Int8Request, source: Source, size: tuple[int, int], gated: int, seed: int
) -> tuple[GateImages, str | None]:
    """Pictures to take ranges from, and a line to print if they are not the user's own.

    A training run's held-out images serve from number `gated` on: the others are the gate's, which shall
    judge ranges that were taken elsewhere. If there are no more, the gate's own must do.

    Raises:
      ValueError: a folder without readable pictures, or a damaged gate.npz; one line.
    """
    channels = source.model.config.in_channels
    if request.calibration is not None:
        try:
            found = gate_images.from_folder(
                request.calibration, size, channels, request.images, source.crop_pct, source.interpolation
            )
        except ValueError as error:
            raise ValueError(str(error).replace("--images", "--calibration", 1)) from error
        return found, None
    if source.gate_file is None:
        found = gate_images.photographs(size, channels, request.images, seed + 1)
        return found, f"no --calibration: ranges are taken from {found.source}, not from the model's own kind"
    held = gate_images.from_checkpoint(source.gate_file, size, channels, gated + request.images)
    if len(held) <= gated:
        return held, f"no --calibration: ranges are taken from the gate's own {len(held)} images"
    rest = GateImages(held.pixels[gated:], held.source)
    return rest, f"no --calibration: ranges are taken from {len(rest)} {rest.source}"
