"""Does float16 hold what is not quantised? ONNX Runtime computes much of it in float32 and would not show."""

from __future__ import annotations

import numpy as np
import onnx

from export.precision.ranges import has_infinite_weights, magnitudes, overflows

#: Images that are looked at, as in the half-precision files themselves.
RANGE_IMAGES = 32
_ADVICE = "--quant-rest fp32 holds it"


def check_rest(base: bytes, images: np.ndarray, batch: int) -> None:
    """Looks at every float16 tensor of `base` on calibration images.

    Args:
      base: the float file that is to be quantised.
      images: in the layout of its input; a batch that they do not fill begins with the first ones again.

    Raises:
      ValueError: float16 cannot hold a tensor or weight of the file; one line, with what can be done.
    """
    model = onnx.load_model_from_string(base)
    if has_infinite_weights(model):
        raise ValueError(f"--quant-rest fp16: there are weights beyond its 65504; {_ADVICE}")
    count = min(RANGE_IMAGES, len(images))
    filled = images[np.resize(np.arange(count), -(-count // batch) * batch)]
    found = overflows(model, {}, magnitudes(model, {}, filled, batch))
    if found:
        more = f" (and {len(found) - 1} more tensors)" if len(found) > 1 else ""
        raise ValueError(f"--quant-rest fp16: {found[0].sentence('fp16')}{more}; {_ADVICE}")
