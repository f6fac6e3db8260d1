"""Products whose sums float16 cannot hold before they are scaled.

Where weights have a scale for each output channel, TensorRT for RTX 1.7 writes the sums of a matrix product
in float16 (its layer list says so) and multiplies by the scales in the next kernel. Before that a sum is the
result over the scale of its channel: a result of 50 over weights that end at 0.05 is 127,000, which float16
holds as an infinity. Convolutions write float32 there. No file shows it: only the engine would overflow.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from export.precision import HOLDS
from export.quantize.grids import Grid
from export.quantize.observe import sizes_of
from export.quantize.place import Plan, layer_name
from export.quantize.rest import RANGE_IMAGES
from export.taps import in_groups, tapped


def large_sums(
    model: onnx.ModelProto, found: Plan, grid: Grid, images: np.ndarray, batch: int
) -> dict[str, str]:
    """Planned products that overflow float16 before the scales of their weights -> why they stay float.

    Args:
      images: in the layout of the model's input; an incomplete last batch begins with the first ones again.
    """
    scales = _scales(model, found, grid) if grid.by_channel else {}
    if not scales:
        return {}
    count = min(RANGE_IMAGES, len(images))
    filled = images[np.resize(np.arange(count), -(-count // batch) * batch)]
    reached = dict.fromkeys(scales, 0.0)
    for group in in_groups(sizes_of(model, list(scales), batch)):
        session = tapped(model, group)
        try:
            for start in range(0, len(filled), batch):
                for name, value in session.run(filled[start : start + batch]).items():
                    largest = np.abs(value.astype(np.float32)).reshape(-1, value.shape[-1]).max(0)
                    reached[name] = max(reached[name], float((largest / scales[name][1]).max()))
        finally:
            session.close()
    return {
        scales[name][0]: f"its sums reach {value:.2g} before the scales of its weights, and fp16 ends at "
        f"{HOLDS['fp16']:.5g}"
        for name, value in reached.items()
        if value > HOLDS["fp16"]
    }


def _scales(model: onnx.ModelProto, found: Plan, grid: Grid) -> dict[str, tuple[str, np.ndarray]]:
    """Output of each planned product in float16 -> (layer, scales of its channels)."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = {}
    for name, (axis, uses) in found.weights.items():
        if held[name].data_type != onnx.TensorProto.FLOAT16:
            continue
        values = np.abs(numpy_helper.to_array(held[name]).astype(np.float32))
        largest = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis]).max(0) / grid.largest
        for index, _ in uses:
            node = model.graph.node[index]
            if node.op_type != "Conv":
                scales[node.output[0]] = layer_name(node), np.maximum(largest, np.finfo(np.float32).tiny)
    return scales
