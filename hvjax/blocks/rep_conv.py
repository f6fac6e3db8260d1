"""Over-parameterised convolution and the token mixer made of it; each deploys as one convolution."""

from __future__ import annotations

from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array, Float

from hvjax.blocks.batch_norm import BatchNorm
from hvjax.blocks.form import Form
from hvjax.blocks.layers import Conv, ConvNorm, DropPath, LayerScale
from hvjax.blocks.squeeze_excite import SqueezeExcite

FeatureMap = Float[Array, "b h w c"]


class RepConv(nn.Module):
    """MobileOne block: `activation(se(sum of branches))` (arXiv 2206.04040, section 3.2).

    Branches, each with its own batch norm: `conv1` to `convN` of the full kernel, `scale` of a 1x1 kernel
    where the full one is larger, and `skip`, a norm alone, where input and output have one shape. The deploy
    form has one convolution, `conv`, instead. `se` is the same in both.

    Attributes:
      in_features, features: channels before and after.
      kernel_size: odd; the map is padded by half of it.
      stride, groups: of all branches.
      branches: number of full convolutions, N.
      se_hidden: hidden channels of squeeze-and-excitation, 0 for none.
      activation: applied last; None for a linear block.
      drop_path: stochastic depth of all branches but `skip`; without effect where that is absent.
    """

    in_features: int
    features: int
    kernel_size: int
    stride: int = 1
    groups: int = 1
    branches: int = 1
    se_hidden: int = 0
    activation: Callable[[Array], Array] | None = None
    drop_path: float = 0.0
    form: Form = Form()

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        y = self._conv(x) if self.form.deploy else self._branches(x, train)
        if self.se_hidden:
            y = SqueezeExcite(self.features, self.se_hidden, self.form, uniform_bias=True, name="se")(y)
        return y if self.activation is None else self.activation(y)

    def _conv(self, x: FeatureMap) -> FeatureMap:
        cin, cout, k, form = self.in_features, self.features, self.kernel_size, self.form
        return Conv(cin, cout, k, self.stride, k // 2, self.groups, form=form, name="conv")(x)

    def _branches(self, x: FeatureMap, train: bool) -> FeatureMap:
        cin, cout, form = self.in_features, self.features, self.form
        kernels = {f"conv{i + 1}": self.kernel_size for i in range(self.branches)}
        if self.kernel_size > 1:
            kernels["scale"] = 1
        total = None
        for name, k in kernels.items():
            branch = ConvNorm(cin, cout, k, self.stride, k // 2, self.groups, form=form, name=name)
            y = branch(x, train=train)
            total = y if total is None else total + y
        assert total is not None  # there is at least one convolution
        if cin == cout and self.stride == 1:
            total = DropPath(self.drop_path, name="drop")(total, train=train)
            total = total + BatchNorm(cout, form=form, name="skip")(x, train=train)
        return total


class RepMixer(nn.Module):
    """Token mixer of FastViT: `x + layer_scale * (mixer(x) - norm(x))` (arXiv 2303.14189, section 3.1).

    `mixer` is a depthwise MobileOne block without activation, `norm` a batch norm. The deploy form is one
    depthwise convolution, `conv`, which holds the residual too.

    Attributes:
      features: channels.
      kernel_size: of the mixer, odd.
      layer_scale: start value of the layer scale.
    """

    features: int
    kernel_size: int = 3
    layer_scale: float = 1e-5
    form: Form = Form()

    @nn.compact
    def __call__(self, x: FeatureMap, *, train: bool = False) -> FeatureMap:
        c, k, form = self.features, self.kernel_size, self.form
        if form.deploy:
            return Conv(c, c, k, 1, k // 2, c, form=form, name="conv")(x)
        y = RepConv(c, c, k, groups=c, form=form, name="mixer")(x, train=train)
        y = y - BatchNorm(c, form=form, name="norm")(x, train=train)
        return x + LayerScale(c, self.layer_scale, form, name="layer_scale")(y)
