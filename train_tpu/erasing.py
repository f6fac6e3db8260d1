"""Random erasing (Zhong et al. 2020, arXiv 1708.04896) of normalised images, on the device.

The law is that of timm's RandomErasing in mode "pixel" with one box an image: a share of the area uniform in
AREA, an aspect (height / width) log-uniform in ASPECT, the first of ten boxes that is smaller than the image
in both directions; it is filled with standard normal noise, drawn for each pixel and channel.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

AREA = (0.02, 1 / 3)
ASPECT = (0.3, 1 / 0.3)
ATTEMPTS = 10


def erase(images: Float[Array, "b h w c"], key: jax.Array, probability: float) -> Float[Array, "b h w c"]:
    """Each image, with `probability`, with a box of noise.

    The noise is drawn for all of the batch, since shapes under jit are fixed.
    """
    which_key, area_key, aspect_key, place_key, noise_key = jax.random.split(key, 5)
    count, height, width, _ = images.shape
    attempts = (count, ATTEMPTS)
    shares = jax.random.uniform(area_key, attempts, minval=AREA[0], maxval=AREA[1])
    low, high = map(math.log, ASPECT)
    aspects = jnp.exp(jax.random.uniform(aspect_key, attempts, minval=low, maxval=high))
    places = jax.random.uniform(place_key, (count, 2))
    erased = jax.random.uniform(which_key, (count,)) < probability
    inside = inside_boxes(first_fitting(shares, aspects, places, height, width), height, width)
    noise = jax.random.normal(noise_key, images.shape)
    return jnp.where((inside & erased[:, None, None])[..., None], noise, images)


def first_fitting(
    shares: Float[Array, "b attempts"],
    aspects: Float[Array, "b attempts"],
    places: Float[Array, "b 2"],
    height: int,
    width: int,
) -> Int[Array, "b 4"]:
    """(top, left, height, width) of each image's box, in pixels; height and width are 0 where none fits.

    Args:
      shares: of the image's area. aspects: height / width.
      places: of the box among the rows and columns where it fits, in [0, 1).
    """
    areas = shares * (height * width)
    heights = jnp.round(jnp.sqrt(areas * aspects)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(areas / aspects)).astype(jnp.int32)
    fits = (heights < height) & (widths < width)
    first = jnp.argmax(fits, axis=1)[:, None]
    some = fits.any(axis=1)
    h = jnp.where(some, jnp.take_along_axis(heights, first, axis=1)[:, 0], 0)
    w = jnp.where(some, jnp.take_along_axis(widths, first, axis=1)[:, 0], 0)
    top = jnp.floor(places[:, 0] * (height - h + 1)).astype(jnp.int32)
    left = jnp.floor(places[:, 1] * (width - w + 1)).astype(jnp.int32)
    # float32 may round the product up to the bound itself
    return jnp.stack([jnp.minimum(top, height - h), jnp.minimum(left, width - w), h, w], axis=1)


def inside_boxes(boxes: Int[Array, "b 4"], height: int, width: int) -> Bool[Array, "b h w"]:
    """Which pixels of a (height, width) image lie in each (top, left, height, width) box."""
    top, left, h, w = (column[:, None] for column in boxes.T)
    rows, columns = jnp.arange(height), jnp.arange(width)
    in_rows = (rows >= top) & (rows < top + h)
    in_columns = (columns >= left) & (columns < left + w)
    return in_rows[:, :, None] & in_columns[:, None, :]
