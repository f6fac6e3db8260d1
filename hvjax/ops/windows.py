"""Windows of a feature map, as Swin attends within them (Liu et al., arXiv 2103.14030, section 3.2).

What depends on sizes alone (which pairs of tokens may see each other, which entry of a table belongs to a
pair) is a NumPy constant, so that a traced model has static shapes only.

Letters in suffixes and annotations: `r` and `s` rows and columns of windows, `y` and `x` rows and columns
inside a window, `w` windows (r * s), `n` tokens of a window (y * x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Pair = tuple[int, int]

# Added to the score of tokens that are neighbours only because the map was shifted cyclically. The reference
# has this number, not minus infinity: float16 holds it, and exp(-100) vanishes beside any real score.
MASKED = -100.0


@dataclass(frozen=True)
class Windows:
    """How a map of `height` x `width` is cut into windows.

    Attributes:
      height, width: of the map.
      size: rows and columns of a window. Those that cross the border of the map are completed with zeros, at
        the bottom and at the right.
      shift: rows and columns by which the windows are moved down and right; the map is rolled instead.

    Raises:
      ValueError: if a window is empty or larger than the padded map, or the shift is not within a window.
    """

    height: int
    width: int
    size: Pair
    shift: Pair = (0, 0)

    def __post_init__(self) -> None:
        if min(self.height, self.width, *self.size) < 1:
            raise ValueError(
                f"windows of {self.size} on a map of {self.height}x{self.width}: sizes start at 1"
            )
        if any(not 0 <= shift < size for shift, size in zip(self.shift, self.size, strict=True)):
            raise ValueError(f"shift={self.shift}: expected 0 <= shift < {self.size} on each axis")

    @property
    def grid(self) -> Pair:
        """Rows and columns of windows."""
        return -(-self.height // self.size[0]), -(-self.width // self.size[1])

    @property
    def padded(self) -> Pair:
        """Height and width of the map that the windows cover."""
        return self.grid[0] * self.size[0], self.grid[1] * self.size[1]

    @cached_property
    def mask(self) -> Float[np.ndarray, "w n n"] | None:
        """What to add to the scores: 0 between tokens that are close in the map, `MASKED` between others.

        None where no window holds tokens from opposite borders. As in the reference, the zeros that complete
        the map are tokens like all others.
        """
        if self.shift == (0, 0):
            return None
        regions = [_regions(*axis) for axis in zip(self.padded, self.size, self.shift, strict=True)]
        label = 3 * regions[0][:, None] + regions[1]
        (r, s), (y, x) = self.grid, self.size
        label = label.reshape(r, y, s, x).transpose(0, 2, 1, 3).reshape(r * s, y * x)
        apart = label[:, :, None] != label[:, None, :]
        return np.where(apart, np.float32(MASKED), np.float32(0))

    def prepare(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hp wp c"]:
        """Complete the map with zeros and roll it, so that `self.size` divides it into windows."""
        bottom, right = self.padded[0] - self.height, self.padded[1] - self.width
        if bottom or right:
            x = jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)))
        return roll(roll(x, -self.shift[0], axis=1), -self.shift[1], axis=2)

    def restore(self, x: Float[Array, "b hp wp c"]) -> Float[Array, "b h w c"]:
        """Inverse of `prepare`."""
        x = roll(roll(x, self.shift[0], axis=1), self.shift[1], axis=2)
        return x[:, : self.height, : self.width]

    def split_heads(
        self, x: Float[Array, "b hp wp parts*heads*d"], parts: int, heads: int
    ) -> Float[Array, "parts b w heads n d"]:
        """Cut a prepared map into windows and its channels into `parts` (queries, keys, values) and heads.

        One transposition does both.
        """
        b, (r, s), (y, x_) = x.shape[0], self.grid, self.size
        d = x.shape[-1] // (parts * heads)
        pieces = x.reshape(b, r, y, s, x_, parts, heads, d).transpose(5, 0, 1, 3, 6, 2, 4, 7)
        return pieces.reshape(parts, b, r * s, heads, y * x_, d)

    def merge_heads(self, x: Float[Array, "b w heads n d"]) -> Float[Array, "b hp wp heads*d"]:
        """Put windows and heads back into a prepared map, again with one transposition."""
        b, _, heads, _, d = x.shape
        (r, s), (y, x_) = self.grid, self.size
        pieces = x.reshape(b, r, s, heads, y, x_, d).transpose(0, 1, 4, 2, 5, 3, 6)
        return pieces.reshape(b, r * y, s * x_, heads * d)


def roll(x: Float[Array, "..."], shift: int, axis: int) -> Float[Array, "..."]:
    """Cyclic shift along an axis: two slices and a concatenation, nothing at all for a shift of 0."""
    return jnp.roll(x, shift, axis) if shift else x


def relative_index(window: Pair, table_window: Pair) -> np.ndarray:
    """Rows of a table of relative positions for each pair of tokens in a window, int32 (n, n).

    The table has `(2h - 1) * (2w - 1)` rows for windows of `table_window` (h, w), row-major from the offset
    (1 - h, 1 - w) to (h - 1, w - 1). A smaller window uses the part of the table around offset (0, 0).

    Raises:
      ValueError: if the window is larger than that of the table.
    """
    if any(size > most for size, most in zip(window, table_window, strict=True)):
        raise ValueError(f"a table for windows of {table_window} holds no offsets of windows of {window}")
    positions = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij"), -1).reshape(-1, 2)
    offsets = positions[:, None] - positions[None] + np.array(table_window) - 1
    return (offsets[..., 0] * (2 * table_window[1] - 1) + offsets[..., 1]).astype(np.int32)


def merge_patches(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 4*c"]:
    """Put the four pixels of each 2x2 patch side by side: (0, 0), (1, 0), (0, 1), (1, 1), (row, column).

    A map with an odd side is completed with zeros at the bottom or right.
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    h, w = -(-h // 2), -(-w // 2)
    return x.reshape(b, h, 2, w, 2, c).transpose(0, 1, 3, 4, 2, 5).reshape(b, h, w, 4 * c)


def _regions(length: int, size: int, shift: int) -> np.ndarray:
    """Label of each place of a rolled axis; places of the last window with other labels lie apart."""
    places = np.arange(length)
    return (places >= length - size).astype(int) + (places >= length - shift)
