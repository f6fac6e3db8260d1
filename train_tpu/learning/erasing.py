"""Random erasing (Zhong et al. 2020, arXiv 1708.04896) of normalised images, on the device.

The law is that of timm's RandomErasing in mode "pixel" with one box an image: a share of the area uniform in
AREA, an aspect (height / width) log-uniform in ASPECT, the first of ten boxes that is smaller than the image
in both directions; it is filled with standard normal noise, drawn for each pixel and channel.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

AREA = (0.02, 1 / 3)
ASPECT = (0.3, 1 / 0.3)
ATTEMPTS = 10


class Erasure(NamedTuple):
    """What is erased of each image of a batch.

    boxes: (top, left, height, width) in pixels, all of height 0 where nothing is. keys: of the noise.
    """

    boxes: Int[Array, "b 4"]
    keys: Key[Array, "b"]


def draw_erasure(key: jax.Array, count: int, height: int, width: int, probability: float) -> Erasure:
    """Of `count` images, each erased with `probability`."""
    which_key, area_key, aspect_key, place_key, noise_key = jax.random.split(key, 5)
    attempts = (count, ATTEMPTS)
    shares = jax.random.uniform(area_key, attempts, minval=AREA[0], maxval=AREA[1])
    low, high = map(math.log, ASPECT)
    aspects = jnp.exp(jax.random.uniform(aspect_key, attempts, minval=low, maxval=high))
    places = jax.random.uniform(place_key, (count, 2))
    boxes = first_fitting(shares, aspects, places, height, width)
    erased = jax.random.uniform(which_key, (count,)) < probability
    return Erasure(jnp.where(erased[:, None], boxes, 0), jax.random.split(noise_key, count))


def erase(images: Float[Array, "b h w c"], erasure: Erasure) -> Float[Array, "b h w c"]:
    """The images with noise in their boxes. It is drawn for every pixel, since shapes under jit are fixed."""
    _, height, width, _ = images.shape
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(erasure.keys)
    return jnp.where(inside_boxes(erasure.boxes, height, width)[..., None], noise, images)


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
