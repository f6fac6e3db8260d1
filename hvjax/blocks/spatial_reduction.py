"""Attention whose keys and values come from a coarser map."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import Initializer
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, Dense
from hvjax.ops.attention import dot_product_attention, merge_heads, split_heads

NORM_EPSILON = 1e-5  # the reference leaves this norm, unlike those around it, at PyTorch's default


class SpatialReductionAttention(nn.Module):
    """SRA of PVT (arXiv 2102.12122, section 3.3; whai362/PVT, classification/pvt.py, `Attention`).

    With `reduction` s > 1, keys and values see the map after a convolution of kernel and stride s (`sr`) and
    a layer norm (`norm`); rows and columns beyond a multiple of s are left out. Children `q`, `kv` (output
    channels in the order (2, heads, head_dim)), `proj`, all with biases.

    Attributes: kernel_init of the dense layers; reduction_init of `sr`. None for that of the form.

    Raises:
      ValueError: if a side of the map is smaller than the reduction.
    """

    features: int
    heads: int
    reduction: int
    form: Form = Form()
    kernel_init: Initializer | None = None
    reduction_init: Initializer | None = None
    reduction_bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], grid: tuple[int, int]) -> Float[Array, "b n c"]:
        """Attend from each token of `x` to the reduced map.

        Args:
          x: tokens, row by row; without a reduction there may be others too, such as a class token.
          grid: height and width of the map.
        """
        c, s, form, init = self.features, self.reduction, self.form, self.kernel_init
        source = x
        if s > 1:
            sr = Conv(
                c,
                c,
                s,
                s,
                form=form,
                kernel_init=self.reduction_init,
                bias_init=self.reduction_bias_init,
                name="sr",
            )
            source = sr(x.reshape(x.shape[0], *grid, c)).reshape(x.shape[0], -1, c)
            source = LayerNorm(c, NORM_EPSILON, form, name="norm")(source)
        q = split_heads(Dense(c, c, form, init, name="q")(x), self.heads)
        kv = Dense(c, 2 * c, form, init, name="kv")(source)
        kv = kv.reshape(*kv.shape[:2], 2, self.heads, c // self.heads)
        y = dot_product_attention(q, kv[:, :, 0], kv[:, :, 1])
        return Dense(c, c, form, init, name="proj")(merge_heads(y))
