"""A float model and pictures -> the model in 8 bits, and what was done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from export import gate_images
from export.gate_images import GateImages
from export.load import Source
from export.quantize.calibrate import FUNCTIONS
from export.quantize.flags import QuantiseRequest
from export.quantize.grids import GRIDS
from export.quantize.insert import Known, insert
from export.quantize.observe import observe
from export.quantize.place import plan
from export.quantize.sums import large_sums


@dataclass(frozen=True)
class Quantised:
    """`model`: in 8 bits; `base`: the same graph before, in float; the quantised layers, those kept and why;
    how many images of what source the ranges are from; `clipped`: share of the largest magnitude that is
    represented, of the tensor that lost most."""

    model: bytes
    base: bytes
    layers: tuple[str, ...]
    kept: dict[str, str]
    tensors: int
    images: int
    source: str
    clipped: float


class Quantiser:
    """A float model whose ranges are known: written in 8 bits as often as asked, with these or those layers.

    `layers` can be quantised; `images` are those of the ranges.

    Args:
      base: float16 or float32 ONNX file that takes `batch` images.
      images: in the layout of the file's input.
      source: in words where the images are from.

    Raises:
      ValueError: no layer to quantise, `keep` names none, or activations that are not finite; one line.
    """

    def __init__(
        self,
        base: bytes,
        request: QuantiseRequest,
        images: np.ndarray,
        source: str,
        batch: int,
        say: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.base, self.images, self.batch = base, images, batch
        self.grid = GRIDS[request.precision]
        self._request, self._source = request, source
        self._model = onnx.load_model_from_string(base)
        widest = plan(self._model, request.keep)  # fewer layers read fewer of its tensors, never others
        self._never = large_sums(self._model, widest, self.grid, images, batch)
        self.layers = tuple(layer for layer in widest.layers if layer not in self._never)
        tensors = list(widest.activations)
        seen = observe(self._model, tensors, images, batch, say)
        self._largest = {name: FUNCTIONS[request.calibrator](seen[name]) for name in tensors}
        self._seen = {name: found.largest for name, found in seen.items()}
        self._known: Known = {}

    def write(self, kept: Mapping[str, str] | None = None) -> Quantised:
        """The file in which all `layers` but those in `kept` (layer -> why) are quantised.

        Raises:
          ValueError: none is left, or a range without a scale; one line.
        """
        found = plan(self._model, self._request.keep, {**self._never, **(kept or {})})
        made = insert(self._model, found, self._largest, self.grid, self._known)
        for entry in made.metadata_props:
            if entry.key == "precision":
                entry.value = self.grid.name
        onnx.checker.check_model(made, full_check=True)
        tensors = found.activations
        parts = [self._largest[name] / self._seen[name] for name in tensors if self._seen[name]]
        return Quantised(
            model=made.SerializeToString(),
            base=self.base,
            layers=tuple(found.layers),
            kept=dict(found.kept),
            tensors=len(tensors),
            images=len(self.images),
            source=self._source,
            clipped=min(parts, default=1.0),
        )


def calibration_images(
    request: QuantiseRequest, source: Source, size: tuple[int, int], gated: int, seed: int
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
