"""Masks of whole images, as `hvjax.dense.paste` makes them, as run lengths of COCO."""

from typing import TypedDict

import numpy as np
from jaxtyping import Bool

from train_tpu.data.masks import pycocotools_mask


class RunLengths(TypedDict):
    """COCO's compressed RLE: size [height, width], counts as ASCII text."""

    size: list[int]
    counts: str


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> RunLengths:
    """A mask as COCO's RLE, encoded by pycocotools.

    Raises:
      UserError: pycocotools is not installed.
    """
    height, width = mask.shape
    columns = np.asfortranarray(mask).view(np.uint8)
    counts = pycocotools_mask().encode(columns)["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii")}
