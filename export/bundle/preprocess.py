"""preprocess.json: how an image file becomes the input of the graph, for whoever has no hvjax.

The rules are those of `hvjax.preprocessing`; a test follows the file with Pillow and NumPy alone and
arrives at the same input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from export.ends.spec import from_dict

#: The weights of red, green and blue in a model's single channel (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)


def describe(
    model: Mapping[str, Any], *, crop_pct: float, interpolation: str, name: str, dtype: str, channels: int
) -> dict[str, Any]:
    """The content of preprocess.json. `steps` are left to whoever feeds the graph, those of `in_graph` are
    inside it; `source_size` is that of the pictures which it resizes.

    Args:
      model: the section `model` of report.json.
      crop_pct: share of the resized image that the crop covers, in (0, 1].
      name: of the graph's input. dtype: of its elements.
    """
    height, width = model["image_size"]
    short = [math.floor(height / crop_pct), math.floor(width / crop_pct)]
    square = short[0] == short[1]
    ends = from_dict(model)
    in_graph = {"none": (), "normalise": ("normalise",), "full": ("resize", "crop", "normalise")}
    inside = in_graph[ends.preprocess]
    steps = {
        "read": "RGB, 8 bits a channel, turned upright by its EXIF orientation, alpha dropped",
        **({"size": "pictures of source_size (height, width)"} if ends.source is not None else {}),
        "resize": "keep the aspect ratio; resize so that both sides cover resize.short_side",
        "crop": "the centre; top = round((resized height - height) / 2), left likewise, halves to even",
        "normalise": "(pixels / 255 - mean) / std, in float32, by channel",
        "arrange": "in the layout and channel order below, a batch axis in front",
    }
    return {
        "steps": [f"{step}: {how}" for step, how in steps.items() if step not in inside],
        "in_graph": list(inside),
        "source_size": list(ends.source) if ends.source is not None else None,
        "resize": {
            "rule": "shorter side exact, longer side cut down to whole pixels"
            if square
            else "scale = max(short_side / size); both sides rounded to the nearest pixel, halves to even",
            "short_side": short,
            "rounding": "down" if square else "nearest",
            "interpolation": interpolation,
            "antialias": interpolation != "nearest",
        },
        "crop": {"rule": "centre", "crop_pct": crop_pct, "size": [height, width]},
        **common(model, name=name, dtype=dtype, channels=channels),
    }


def common(model: Mapping[str, Any], *, name: str, dtype: str, channels: int) -> dict[str, Any]:
    """What is said of pixels and the graph's input, wherever the pixels come from; arguments as of
    `describe`."""
    return {
        "scale": 1 / 255,
        "mean": list(model["mean"]),
        "std": list(model["std"]),
        "channels": channels,
        "channel_order": _channel_order(channels),
        "input": {
            "name": name,
            "dtype": dtype,
            "layout": model["input_layout"],
            "shape": list(model["input_shape"]),
        },
    }


def _channel_order(channels: int) -> Sequence[str] | dict[str, Any]:
    """R, G, B; one channel is the luminance; more repeat R, G, B."""
    if channels == 1:
        return {"luminance": list(LUMINANCE), "rounding": "nearest"}
    return ["RGB"[index % 3] for index in range(channels)]
