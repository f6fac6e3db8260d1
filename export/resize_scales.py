"""Resize nodes of tf2onnx whose scale, a float32, gives one pixel less than the size it was made from.

ONNX takes floor(size * scale) as the new size. tf2onnx writes the scale new / old rounded to float32, and
floor(427 * float32(32 / 427)) is 31: the file would give images of another size than TensorFlow, or none.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

#: An old size times its scale is as near to the new size as float32 rounds for sizes up to some thousands.
_WHOLE = 1e-3


def mend_scales(model: onnx.ModelProto) -> None:
    """Rounds such scales up, in place, by as many steps of float32 as it takes: a coordinate moves by a
    millionth of a pixel or so. Scales whose input has an unknown size, and those that mean no whole size, are
    left alone."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "Resize" and len(node.input) > 2]
    for node in nodes:  # one after another: the size of the next depends on those before
        scales = held.get(node.input[2])
        if scales is None or not node.input[2]:
            continue
        sizes = _sizes(model, node.input[0])
        found = numpy_helper.to_array(scales).astype(np.float32)
        if sizes is None or len(sizes) != len(found):
            continue
        mended = np.array([_mended(s, size) for s, size in zip(found, sizes, strict=True)], np.float32)
        if (mended != found).any():
            name = f"{node.name}/scales"
            model.graph.initializer.append(numpy_helper.from_array(mended, name))
            node.input[2] = name


def _mended(scale: np.float32, size: int | None) -> np.float32:
    if size is None:
        return scale
    new = round(size * float(scale))
    if abs(size * float(scale) - new) > _WHOLE:
        return scale
    while np.floor(np.float32(size) * scale) < new:
        scale = np.nextafter(scale, np.float32(np.inf))
    return scale


def _sizes(model: onnx.ModelProto, name: str) -> list[int | None] | None:
    inferred = onnx.shape_inference.infer_shapes(model)
    for info in (*inferred.graph.input, *inferred.graph.value_info):
        if info.name == name and info.type.tensor_type.HasField("shape"):
            dims = info.type.tensor_type.shape.dim
            return [axis.dim_value if axis.HasField("dim_value") else None for axis in dims]
    return None
