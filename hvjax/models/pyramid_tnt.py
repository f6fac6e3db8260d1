"""PyramidTNT, pyramid transformer in transformer (Han et al., arXiv 2201.00978).

Matched against the official code, huawei-noah/Efficient-AI-Backbones tnt_pytorch/pyramid_tnt.py at
f90e129b645c. Its strides are 8, 16, 32 and 64.

Letters in annotations: `n` sentences, `w` the 16 words of one, `d` channels of a word, `c` of a sentence.
"""

from __future__ import annotations

from itertools import accumulate

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.form import Form
from hvjax.blocks.initializers import kaiming_normal_fan_out, normal
from hvjax.blocks.layer_norm import LayerNorm
from hvjax.blocks.layers import Conv, ConvNorm, Dense, DropPath
from hvjax.blocks.mlp import Mlp
from hvjax.models.features import Backbone, Features, check_images, drop_path_rates
from hvjax.models.pyramid_tnt_config import WORDS, PyramidTNTConfig, nearest_size
from hvjax.ops.attention import dot_product_attention, merge_heads, split_heads
from hvjax.ops.pooling import avg_pool2d

FeatureMap = Float[Array, "b h w c"]
Words = Float[Array, "b*n w d"]
Sentences = Float[Array, "b n c"]

EPSILON = 1e-5  # of every layer norm
# The reference cuts the normal of linear layers and positions off at +-2, that is 100 deviations: not at all.
CONV_INIT, LINEAR_INIT = kaiming_normal_fan_out(), normal(0.02)


class Stem(nn.Module):
    """The words and the sentences of an image: 3x3 convolutions with norm and ReLU.

    One branch at half the resolution, `inner`, is cut into patches of 4x4 words; the other one, `outer1` to
    `outer3`, goes on to a map of sentences. Both start from `common`.
    """

    config: PyramidTNTConfig
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> tuple[Words, FeatureMap]:
        d = self.config.inner_widths[0]
        x = self._unit(x, 2 * d, 2, "common", train)
        inner = self._unit(x, d, 1, "inner", train)
        b, h, w, _ = inner.shape
        words = inner.reshape(b, h // WORDS, WORDS, w // WORDS, WORDS, d).transpose(0, 1, 3, 2, 4, 5)
        x = self._unit(x, 4 * d, 2, "outer1", train)
        x = self._unit(x, 8 * d, 2, "outer2", train)
        x = self._unit(x, self.config.outer_widths[0], 1, "outer3", train)
        return words.reshape(-1, WORDS * WORDS, d), x

    def _unit(self, x: FeatureMap, features: int, stride: int, name: str, train: bool) -> FeatureMap:
        unit = ConvNorm(x.shape[-1], features, 3, stride, 1, form=self.form, use_bias=True, name=name)
        return jax.nn.relu(unit(x, train=train))


class Attention(nn.Module):
    """Multi-head attention with children `q`, `kv` (ordered keys, values) and `proj`.

    With `reduction` s > 1 keys and values are of means over s x s tokens of the map of `grid`, which pass
    `linear` and `norm`.
    """

    features: int
    heads: int
    grid: tuple[int, int]
    reduction: int
    qkv_bias: bool
    form: Form

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], bias_hqk: Float[Array, "heads n k"] | None = None
    ) -> Float[Array, "b n c"]:
        c, form, source = self.features, self.form, x
        if self.reduction > 1:
            pooled = avg_pool2d(x.reshape(x.shape[0], *self.grid, c), self.reduction, self.reduction)
            source = self._dense(pooled.reshape(x.shape[0], -1, c), c, "linear")
            source = LayerNorm(c, EPSILON, form, name="norm")(source)
        q = split_heads(self._dense(x, c, "q", self.qkv_bias), self.heads)
        kv = self._dense(source, 2 * c, "kv", self.qkv_bias)
        kv = kv.reshape(*source.shape[:2], 2, self.heads, c // self.heads)
        y = dot_product_attention(q, kv[:, :, 0], kv[:, :, 1], bias_hqk)
        return self._dense(merge_heads(y), c, "proj")

    def _dense(self, x: Array, features: int, name: str, use_bias: bool = True) -> Array:
        dense = Dense(self.features, features, self.form, LINEAR_INIT, use_bias=use_bias, name=name)
        return dense(x)


class Block(nn.Module):
    """Words among themselves, words into their sentence, then sentences among themselves (figure 1).

    Children: `inner_norm1`, `inner_attention`, `inner_norm2`, `inner_mlp`, `proj_norm1`, `proj`,
    `proj_norm2`, unless `inner` is false, and `outer_norm1`, `outer_attention`, `outer_norm2`, `outer_mlp`.
    Norms of words run over all 16 of a sentence at once.
    """

    config: PyramidTNTConfig
    stage: int
    inner: bool
    drop_path: float
    form: Form

    @nn.compact
    def __call__(
        self, words: Words, x: Sentences, positions: Float[Array, "heads n k"], *, train: bool = False
    ) -> tuple[Words, Sentences]:
        config, form = self.config, self.form
        if self.inner:
            words = self._words(words, x.shape[0], train)
            x = x + self._project(words, x)
        c, heads = config.outer_widths[self.stage], config.outer_heads[self.stage]
        grid, ratio = config.grid(self.stage), config.reduction_ratios[self.stage]
        attention = Attention(c, heads, grid, ratio, config.qkv_bias, form, name="outer_attention")
        branch = attention(LayerNorm(c, EPSILON, form, name="outer_norm1")(x), positions)
        x = x + DropPath(self.drop_path, name="drop_outer_attention")(branch, train=train)
        branch = LayerNorm(c, EPSILON, form, name="outer_norm2")(x)
        branch = Mlp(c, int(c * config.mlp_ratio), form, LINEAR_INIT, name="outer_mlp")(branch)
        return words, x + DropPath(self.drop_path, name="drop_outer_mlp")(branch, train=train)

    def _words(self, words: Words, batch: int, train: bool) -> Words:
        config, form = self.config, self.form
        d, heads = config.inner_widths[self.stage], config.inner_heads[self.stage]
        attention = Attention(d, heads, (WORDS, WORDS), 1, config.qkv_bias, form, name="inner_attention")
        branch = attention(self._norm(words, batch, "inner_norm1").reshape(words.shape))
        words = words + DropPath(self.drop_path, name="drop_inner_attention")(branch, train=train)
        branch = self._norm(words, batch, "inner_norm2").reshape(words.shape)
        branch = Mlp(d, int(d * config.mlp_ratio), form, LINEAR_INIT, name="inner_mlp")(branch)
        return words + DropPath(self.drop_path, name="drop_inner_mlp")(branch, train=train)

    def _project(self, words: Words, x: Sentences) -> Sentences:
        c, form = x.shape[-1], self.form
        y = self._norm(words, x.shape[0], "proj_norm1")
        y = Dense(y.shape[-1], c, form, LINEAR_INIT, use_bias=False, name="proj")(y)
        return LayerNorm(c, EPSILON, form, name="proj_norm2")(y)

    def _norm(self, words: Words, batch: int, name: str) -> Float[Array, "b n w*d"]:
        d = words.shape[-1] * words.shape[-2]
        return LayerNorm(d, EPSILON, self.form, name=name)(words.reshape(batch, -1, d))


class SentenceMerge(nn.Module):
    """Layer norm, `norm`, and a 3x3 convolution of stride 2, `conv`: a quarter of the sentences."""

    in_features: int
    features: int
    form: Form

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        x = LayerNorm(self.in_features, EPSILON, self.form, name="norm")(x)
        return Conv(self.in_features, self.features, 3, 2, 1, form=self.form, name="conv")(x)


class WordMerge(nn.Module):
    """The words of 2x2 sentences, laid side by side as 8x8 of them, become the 4x4 words of one.

    Layer norm, `norm`, and a 3x3 convolution of stride 2, `conv`, on each 8x8. Where the number of rows or
    columns of sentences is odd, a row or column of zeros completes it after the norm.
    """

    in_features: int
    features: int
    grid: tuple[int, int]
    form: Form

    @nn.compact
    def __call__(self, words: Words) -> Words:
        (rows, columns), d = self.grid, self.in_features
        x = LayerNorm(d, EPSILON, self.form, name="norm")(words)
        x = x.reshape(-1, rows, columns, WORDS, WORDS, d)
        if rows % 2 or columns % 2:
            x = jnp.pad(x, ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0), (0, 0), (0, 0)))
        rows, columns = -(-rows // 2), -(-columns // 2)
        x = x.reshape(-1, rows, 2, columns, 2, WORDS, WORDS, d).transpose(0, 1, 3, 2, 5, 4, 6, 7)
        x = x.reshape(-1, 2 * WORDS, 2 * WORDS, d)
        x = Conv(d, self.features, 3, 2, 1, form=self.form, name="conv")(x)
        return x.reshape(-1, WORDS * WORDS, self.features)


class Stage(nn.Module):
    """The blocks of one resolution, `block1`, `block2`, ..., which share the table `relative_pos`.

    In all stages but the first, `word_merge` and `sentence_merge` stand before them. `index` counts from 0.
    """

    config: PyramidTNTConfig
    index: int
    drop_path: tuple[float, ...]
    form: Form

    @nn.compact
    def __call__(self, words: Words, x: FeatureMap, *, train: bool = False) -> tuple[Words, FeatureMap]:
        config, i, form = self.config, self.index, self.form
        if i > 0:
            before, after = config.inner_widths[i - 1], config.inner_widths[i]
            words = WordMerge(before, after, config.grid(i - 1), form, name="word_merge")(words)
            before, after = config.outer_widths[i - 1], config.outer_widths[i]
            x = SentenceMerge(before, after, form, name="sentence_merge")(x)
        (rows, columns), keys = config.grid(i), config.keys(i)
        shape = (config.outer_heads[i], rows * columns, keys[0] * keys[1])
        positions = self.param("relative_pos", normal(1.0), shape, jnp.float32)
        sentences = x.reshape(x.shape[0], rows * columns, config.outer_widths[i])
        for number, rate in enumerate(self.drop_path):
            inner = number < config.inner_blocks(i)
            block = Block(config, i, inner, rate, form, name=f"block{number + 1}")
            words, sentences = block(words, sentences, positions, train=train)
        return words, sentences.reshape(x.shape)


class PyramidTNT(Backbone):
    """PyramidTNT image classifier; `config` is a `PyramidTNTConfig`.

    Takes images of `config.image_size` only, because positions are learned. The features are the maps of
    sentences; "stem" is before the positions are added.
    """

    config: PyramidTNTConfig = PyramidTNTConfig()

    @nn.compact
    def features(self, images: FeatureMap, *, train: bool = False, tail: bool = True) -> Features:
        config = self.config
        check_images(images, config.in_channels)
        _check_size(self, images.shape[1], images.shape[2])
        form = Form(self.dtype, self.deploy, self.axis_name, CONV_INIT)
        out: Features = {}
        words, x = Stem(config, form, name="stem")(images.astype(self.dtype), train=train)
        out["stem"] = x
        words = words + self._positions("inner_pos", (WORDS * WORDS, config.inner_widths[0]))
        rows, columns = config.grid(0)
        c = config.outer_widths[0]
        x = x + self._positions("outer_pos", (rows * columns, c)).reshape(rows, columns, c)
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        for i, end in enumerate(accumulate(config.depths)):
            stage = Stage(config, i, rates[end - config.depths[i] : end], form, name=f"stage{i + 1}")
            words, x = stage(words, x, train=train)
            out[f"stage{i + 1}"] = x
        if not tail:
            return out
        c = config.outer_widths[-1]
        x = LayerNorm(c, EPSILON, form, name="norm")(x.reshape(x.shape[0], -1, c))
        out["pre_logits"] = jnp.mean(x, axis=1, dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)
        if config.num_classes:
            head = Dense(c, config.num_classes, form, LINEAR_INIT, name="head")
            out["logits"] = head(out["pre_logits"])
        return out

    def _positions(self, name: str, shape: tuple[int, int]) -> Float[Array, "n c"]:
        return self.param(name, normal(0.02), shape, jnp.float32).astype(self.dtype)


def _check_size(model: PyramidTNT, height: int, width: int) -> None:
    """Raise ValueError unless the tables of positions are for images of this size."""
    if (height, width) == model.config.image_size:
        return
    own, near = model.config.image_size, nearest_size(height, width)
    what = "for them" if near == (height, width) else "for the nearest possible size"
    raise ValueError(
        f"images are {height}x{width} pixels, the positions of this model are of {own[0]}x{own[1]}: a model "
        f"{what} is hvjax.create_model({model.variant or 'NAME'!r}, image_size={near})"
    )
