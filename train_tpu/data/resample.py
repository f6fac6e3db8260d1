"""Resizing of training crops: Pillow's filters, by the fastest code that has them.

Antialiased: `cykooz-resizer`, SIMD code with Pillow's filters, where it is installed (there are wheels for
x86-64 and Apple silicon); Pillow itself, four times slower, elsewhere. The two differ by one level, and by
more only where a bicubic overshoot is cut off at 0 or 255. Not antialiased: OpenCV.
"""

import threading
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

try:
    import cykooz_resizer as simd
except ModuleNotFoundError:
    simd: Any = None

Pixels = UInt8[np.ndarray, "h w 3"]
_CV2 = {Image.Resampling.BILINEAR: cv2.INTER_LINEAR, Image.Resampling.BICUBIC: cv2.INTER_CUBIC}
cv2.setNumThreads(0)  # the loader's threads are as many as there is work for; OpenCV's would get in their way
_mine = threading.local()  # a resizer keeps buffers: one for each thread


def resize(image: Pixels, size: int, resample: Image.Resampling, antialias: bool = True) -> Pixels:
    """At size x size; the aspect ratio may change.

    Args:
      image: may be a view; all of it is used.
      resample: BILINEAR or BICUBIC.
      antialias: let a pixel that stands for several see all of them.
    """
    if image.shape[:2] == (size, size):
        return image
    if not antialias:
        return cv2.resize(image, (size, size), interpolation=_CV2[resample])
    if simd is None:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), resample))
    return _resize_simd(image, size, resample)


def _resize_simd(image: Pixels, size: int, resample: Image.Resampling) -> Pixels:
    if not hasattr(_mine, "resizer"):
        filters = {"BILINEAR": simd.FilterType.bilinear, "BICUBIC": simd.FilterType.catmull_rom}
        _mine.resizer = simd.Resizer()
        _mine.options = {
            name: simd.ResizeOptions(resize_alg=simd.ResizeAlg.convolution(kind))
            for name, kind in filters.items()
        }
    height, width = image.shape[:2]
    source = simd.ImageData(width, height, simd.PixelType.U8x3, image.tobytes())
    target = simd.ImageData(size, size, simd.PixelType.U8x3)
    _mine.resizer.resize(source, target, _mine.options[resample.name])
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(size, size, 3)
