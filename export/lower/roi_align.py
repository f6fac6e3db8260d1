"""roi_align: the features under boxes, as `hvjax.dense.roi_align` names the operation.

A RoiAlign for each map reads all boxes, and a Where picks the cells of each box's own map. That is as many
times the work as there are maps, in one kernel each, where the operation written out gathers every pixel of
every box for itself.
"""

from __future__ import annotations

import numpy as np

from export.lower.context import Context
from export.lower.graph import Tensor, onnx_type
from export.lower.layout import Perm, permute, reshape
from export.lower.program import Batch, Op, UnsupportedError

_NCHW: Perm = (0, 3, 1, 2)
_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(np.bool_)


def _roi_align(context: Context, op: Op) -> None:
    """inputs: maps (b, h, w, c), boxes (b, n, 4), levels (b, n), behind tables that only the written-out form
    reads; attrs: rows, columns, strides, sampling_ratio. The output is (b * n, rows, columns, c)."""
    graph, layouts, where, out = context.graph, context.layouts, op.where, op.output
    strides = [int(stride) for stride in op.attrs["strides"]]
    *maps, boxes, levels = op.inputs[-len(strides) - 2 :]
    images, count = levels.shape
    if isinstance(images, Batch):
        raise UnsupportedError(where, "its boxes carry the number of their image, which dynamic_batch cannot")
    every = reshape(graph, layouts.logical(boxes, where), (images * count, 4), where)
    image = graph.constant(np.repeat(np.arange(images), count))
    shape = permute(out.shape, _NCHW)

    def read(source: Tensor, stride: int) -> Tensor:
        if source.dtype != _FLOAT32:
            # boxes have the type of the map, and half precision knows no place behind pixel 1024
            source = graph.node("Cast", [source], source.shape, _FLOAT32, where, to=onnx_type(_FLOAT32))
        return graph.node(
            "RoiAlign",
            [source, every, image],
            shape,
            _FLOAT32,
            where,
            mode="avg",
            output_height=int(op.attrs["rows"]),
            output_width=int(op.attrs["columns"]),
            sampling_ratio=int(op.attrs["sampling_ratio"]),
            spatial_scale=1 / stride,
            coordinate_transformation_mode="half_pixel",
        )

    cells = [
        read(layouts.get(level, _NCHW, where), stride) for level, stride in zip(maps, strides, strict=True)
    ]
    level = reshape(graph, layouts.logical(levels, where), (images * count, 1, 1, 1), where)
    chosen = cells[-1]
    for number in range(len(cells) - 2, -1, -1):
        wanted = graph.constant(np.array(number, level.dtype))
        mine = graph.node("Equal", [level, wanted], level.shape, _BOOL, where)
        chosen = graph.node("Where", [mine, cells[number], chosen], shape, _FLOAT32, where)
    if out.dtype != _FLOAT32:
        chosen = graph.node("Cast", [chosen], shape, out.dtype, where, to=onnx_type(out.dtype))
    layouts.put(out, _NCHW, chosen)


LOWERINGS = {"roi_align": _roi_align}
