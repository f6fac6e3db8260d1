"""Runs calibration images through the very graph that is to be quantised, and looks at its tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from export.quantize.magnitudes import Magnitudes
from export.taps import in_groups, tapped


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    images: np.ndarray,
    batch: int,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Magnitudes]:
    """Histograms of `tensors` over all `images`, in one pass (several for very large tensors).

    Args:
      model: in float16 or float32, with one input.
      tensors: names of what nodes of the model compute.
      images: in the layout of the model's input.
      batch: images the model takes at once; a last incomplete batch is filled up from the first images.
      say: called with (batches done, batches in all).

    Raises:
      ValueError: a tensor holds NaN or infinity on these images; it is named.
    """
    found = {name: Magnitudes() for name in tensors}
    missing = -len(images) % batch
    filled = np.concatenate([images, images[np.arange(missing) % len(images)]]) if missing else images
    groups = list(in_groups(sizes_of(model, tensors, batch)))
    total = len(groups) * (len(filled) // batch)
    for turn, group in enumerate(groups):
        session = tapped(model, group)
        try:
            for index in range(0, len(filled), batch):
                for name, value in session.run(filled[index : index + batch]).items():
                    _add(found[name], name, value)
                say(turn * (len(filled) // batch) + index // batch + 1, total)
        finally:
            session.close()
    return found


def _add(found: Magnitudes, name: str, value: np.ndarray) -> None:
    try:
        found.add(value)
    except ValueError as error:
        raise ValueError(f"calibration: {name}: {error}; 8 bits need activations that are finite") from error


def sizes_of(model: onnx.ModelProto, tensors: Sequence[str], batch: int) -> dict[str, int]:
    """Bytes of each tensor for one batch; 0 where its shape is not recorded."""
    shapes = {info.name: info.type.tensor_type.shape.dim for info in model.graph.value_info}
    sizes = {}
    for name in tensors:
        dims = [axis.dim_value or batch for axis in shapes.get(name, ())]
        sizes[name] = 4 * int(np.prod(dims)) if dims else 0
    return sizes
