"""preprocess.json of a file that answers for places of an image: how an image gets onto its canvas, and what
is found there back onto the image.

The rules are those of evaluation in training (`train_tpu.data.geometry.fit`, `train_tpu.data.dense_rows`,
`train_tpu.evaluation.detection_records`); a test follows them with Pillow and NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.bundle.preprocess import common
from export.ends.spec import from_dict

#: What the outputs mean, by what the file answers.
_BACK: dict[str, dict[str, str]] = {
    "stages": {
        "stage1..stage4": "features, in the layout of the input; a cell of a map of h rows covers "
        "canvas.size[0] / h rows of the canvas",
    },
    "map": {
        "logits": "a score of each class for each pixel of the canvas, in the layout of the input; the "
        "largest is that of the class",
        "image": "keep the first `shown` rows and columns, what lies beyond is of the padding; resize these "
        "scores, bilinear as above, to the size of the image, and take the largest then",
    },
    "detections": {
        "boxes": "x1, y1, x2, y2 in pixels of the canvas, whole pixels are [i, i + 1); most probable first, "
        "zeros where labels are -1",
        "scores": "probability of the label",
        "labels": "class, counted from 0; -1: no detection in this row",
        "masks": "probability of the object in each cell of a grid that is stretched over its box; bilinear "
        "between the centres of cells, 0 beyond the grid, and on from 0.5",
        "image": "divide x by shown width / image width and y by shown height / image height; stretch the "
        "mask over that box; then cut the box off at the image, and drop it if nothing is left: it was found "
        "in the padding",
    },
}


def describe_canvas(
    model: Mapping[str, Any], *, sides: Sequence[int] | None, name: str, dtype: str, channels: int
) -> dict[str, Any]:
    """The content of preprocess.json. `steps` are left to whoever feeds the graph, those of `in_graph` are
    inside it.

    Args:
      model: the section `model` of report.json.
      sides: pixels that the (shorter, longer) side of an image had at most where the model was evaluated;
        None where nobody says: those of the canvas.
      name: of the graph's input. dtype: of its elements.
    """
    height, width = model["image_size"]
    shorter, longer = sides or (min(height, width), max(height, width))
    inside = ("normalise",) if from_dict(model).takes_pictures else ()
    steps = {
        "read": "RGB, 8 bits a channel, turned upright by its EXIF orientation, alpha dropped",
        "resize": "keep the aspect ratio, by resize.scale; shown = its (height, width) then",
        "place": "at the top left of a canvas of canvas.size (height, width) that is filled with canvas.fill",
        "normalise": "(pixels / 255 - mean) / std, in float32, by channel",
        "arrange": "in the layout and channel order below, a batch axis in front",
    }
    return {
        "answers": model["answers"],
        "steps": [f"{step}: {how}" for step, how in steps.items() if step not in inside],
        "in_graph": list(inside),
        "resize": {
            "scale": "min(shorter / min(image), longer / max(image), canvas height / image height, "
            "canvas width / image width); shown = floor(side * scale + 0.5), at least 1",
            "shorter": int(shorter),
            "longer": int(longer),
            "as_trained": sides is not None,
            "interpolation": "bilinear",
            "antialias": False,
            # OpenCV's resize of 8 bits, which training uses, to the last bit
            "centres": "column j of shown lies at x = (j + 0.5) * (image width / shown width) - 0.5, rounded "
            "to float32; its neighbours are floor(x) and floor(x) + 1, each held inside the image; their "
            "weights are round(2048 * (floor(x) + 1 - x)) and round(2048 * (x - floor(x))), halves to even, "
            "what is in brackets in float32; rows likewise",
            "rounding": "in integers: columns first, sum of pixel * weight; then of two rows a and b with "
            "weights u and v: (((a >> 4) * u >> 16) + ((b >> 4) * v >> 16) + 2) >> 2",
        },
        "canvas": {"size": [height, width], "place": "top left", "fill": fill(model["mean"], channels)},
        **common(model, name=name, dtype=dtype, channels=channels),
        "outputs": _BACK[model["answers"]],
    }


def fill(mean: Sequence[float], channels: int) -> list[int]:
    """The mean colour in pixels, halves to even: what is nearly zero when normalised."""
    colours = np.round(np.resize(np.asarray(mean, np.float64), channels) * 255)
    return [int(value) for value in colours]
