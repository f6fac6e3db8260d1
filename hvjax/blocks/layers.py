"""Convolution, dense layer and stochastic depth as Linen modules."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.initializers import Initializer
from hvjax.ops.conv import conv2d
from hvjax.ops.drop_path import drop_path


class Conv(nn.Module):
    """Convolution with explicit symmetric padding; parameters `kernel` (HWIO) and, if asked, `bias`.

    `kernel_init` is that of the form unless given here.
    """

    in_features: int
    features: int
    kernel_size: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    use_bias: bool = True
    form: Form = Form()
    kernel_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b h w cin"]) -> Float[Array, "b ho wo cout"]:
        k, dtype = self.kernel_size, self.form.dtype
        shape = (k, k, self.in_features // self.groups, self.features)
        init = self.kernel_init or self.form.kernel_init
        kernel = self.param("kernel", init, shape, jnp.float32).astype(dtype)
        y = conv2d(x.astype(dtype), kernel, stride=self.stride, padding=self.padding, groups=self.groups)
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(dtype)
        return y


class ConvNorm(nn.Module):
    """Convolution, without bias unless asked, then `BatchNorm`; in deploy form one convolution with bias."""

    in_features: int
    features: int
    kernel_size: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    form: Form = Form()
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w cin"], *, train: bool = False) -> Float[Array, "b ho wo cout"]:
        x = Conv(
            self.in_features,
            self.features,
            self.kernel_size,
            self.stride,
            self.padding,
            self.groups,
            use_bias=self.form.deploy or self.use_bias,
            form=self.form,
            name="conv",
        )(x)
        return (
            x if self.form.deploy else BatchNorm(self.features, form=self.form, name="norm")(x, train=train)
        )


class Dense(nn.Module):
    """`x @ kernel + bias` over the last axis; float32 parameters `kernel` (in, out) and, if asked, `bias`."""

    in_features: int
    features: int
    form: Form = Form()
    kernel_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*batch cin"]) -> Float[Array, "*batch cout"]:
        dtype = self.form.dtype
        init = self.kernel_init or self.form.kernel_init
        kernel = self.param("kernel", init, (self.in_features, self.features), jnp.float32)
        y = jnp.dot(x.astype(dtype), kernel.astype(dtype))
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,), jnp.float32).astype(dtype)
        return y


class LayerScale(nn.Module):
    """`gamma * x` per channel, gamma from `start` (arXiv 2103.17239, section 3).

    In deploy form it is inside the layer before.
    """

    features: int
    start: float
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        gamma = self.param("gamma", nn.initializers.constant(self.start), (self.features,), jnp.float32)
        return x * gamma.astype(self.form.dtype)


class DropPath(nn.Module):
    """Stochastic depth with its own draw from the "dropout" stream; the identity unless training."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], *, train: bool = False) -> Float[Array, "b ..."]:
        if not train or self.rate == 0.0:
            return x
        return drop_path(x, self.rate, self.make_rng("dropout"))
