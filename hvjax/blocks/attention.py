"""Multi-head attention: of all tokens to all, and to fewer keys."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import Initializer
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Dense
from hvjax.ops.attention import dot_product_attention, merge_heads, split_heads
from hvjax.ops.pooling import avg_pool_tokens


class SelfAttention(nn.Module):
    """Multi-head self-attention (arXiv 1706.03762) with one projection for queries, keys and values.

    The output channels of `qkv` are ordered (3, heads, head_dim), as in timm and the code derived from it.
    Children `qkv` and `proj`; the latter has a bias, the former if `qkv_bias`. `bias_bhqk` is added to the
    scores, see `dot_product_attention`.
    """

    features: int
    heads: int
    form: Form = Form()
    qkv_bias: bool = True
    kernel_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], bias_bhqk: Float[Array, "*b heads q k"] | None = None
    ) -> Float[Array, "b n c"]:
        (b, n, _), c, form, init = x.shape, self.features, self.form, self.kernel_init
        qkv = Dense(c, 3 * c, form, init, use_bias=self.qkv_bias, name="qkv")(x)
        qkv = qkv.reshape(b, n, 3, self.heads, c // self.heads)
        y = dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], bias_bhqk)
        return Dense(c, c, form, init, name="proj")(merge_heads(y))


class ReducedAttention(nn.Module):
    """E-MHSA of Next-ViT (arXiv 2207.05501, section 3.3): keys and values from averaged tokens.

    With `reduction` s > 1, keys and values see the mean of each s*s consecutive tokens (`avg_pool_tokens`),
    batch-normalised in the training form; the deploy form has that norm inside `k` and `v`. With
    `layer_norm_epsilon` that norm is a layer norm, in both forms. Children `q`, `k`, `v`, `proj`, and `norm`
    where there is a reduction.
    """

    features: int
    heads: int
    reduction: int
    form: Form = Form()
    layer_norm_epsilon: float | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], *, train: bool = False) -> Float[Array, "b n c"]:
        c, form = self.features, self.form
        source = x
        if self.reduction > 1:
            source = avg_pool_tokens(x, self.reduction**2)
            if self.layer_norm_epsilon is not None:
                source = LayerNorm(c, self.layer_norm_epsilon, form, name="norm")(source)
            elif not form.deploy:
                source = BatchNorm(c, form=form, name="norm")(source, train=train)
        q = split_heads(Dense(c, c, form=form, name="q")(x), self.heads)
        k = split_heads(Dense(c, c, form=form, name="k")(source), self.heads)
        v = split_heads(Dense(c, c, form=form, name="v")(source), self.heads)
        return Dense(c, c, form=form, name="proj")(merge_heads(dot_product_attention(q, k, v)))
