"""The heads that look at one box each: what it holds, where it ends, and the mask inside.

He et al., Mask R-CNN, arXiv 1703.06870, section 3 and figure 4 (right), as in
mmdetection (Shared2FCBBoxHead, FCNMaskHead).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from hvjax.blocks.form import Form, wide
from hvjax.blocks.initializers import kaiming_normal_fan_out, normal, xavier_uniform
from hvjax.blocks.layers import Conv, Dense
from hvjax.dense.boxes import rows

DENSE_START = xavier_uniform()
MASK_START = kaiming_normal_fan_out()


class BoxHead(nn.Module):
    """Two dense layers with ReLU over all features of a box, then its classes and a move for each class.

    Attributes:
      channels: of the features.
      cells: per side of the features of a box.
      hidden: features of the two dense layers.
      num_classes: without background.
    """

    channels: int
    cells: int
    hidden: int
    num_classes: int
    form: Form = Form()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n s s c"]
    ) -> tuple[Float[Array, "b n classes+1"], Float[Array, "b n classes 4"]]:
        """`(logits, moves)`, float32: the last logit is the background's; moves in units of RESULT_SPREAD."""
        form, classes, hidden = self.form, self.num_classes, self.hidden
        inputs = self.cells**2 * self.channels
        x = x.reshape(*x.shape[:2], inputs)
        x = jax.nn.relu(Dense(inputs, hidden, form, DENSE_START, name="fc1")(x))
        x = jax.nn.relu(Dense(hidden, hidden, form, DENSE_START, name="fc2")(x))
        last = wide(form)  # scores and boxes are not rounded to half precision
        logits = Dense(hidden, classes + 1, last, normal(0.01), name="logits")(x)
        moves = Dense(hidden, 4 * classes, last, normal(0.001), name="moves")(x)
        moves = moves.reshape(*moves.shape[:2], classes, 4)
        return logits.astype(jnp.float32), moves.astype(jnp.float32)


class MaskHead(nn.Module):
    """3x3 convolutions with ReLU, `conv1`, `conv2`, ..., twice the size by `upsample`, and `logits`.

    Attributes:
      channels: of the features, and inside.
      convs: number of 3x3 convolutions.
      num_classes: without background; each has its own mask.
    """

    channels: int
    convs: int
    num_classes: int
    form: Form = Form()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n s s c"], labels: Int[Array, "b n"]
    ) -> Float[Array, "b n 2*s 2*s"]:
        """Logits of the mask of each box's class in `labels`, in [0, classes); float32.

        Only those are computed: the masks of the other classes are neither learned nor shown.
        """
        c, form, batch = self.channels, self.form, x.shape[:2]
        x = x.reshape(-1, *x.shape[2:])
        for i in range(self.convs):
            conv = Conv(c, c, 3, 1, 1, form=form, kernel_init=MASK_START, name=f"conv{i + 1}")
            x = jax.nn.relu(conv(x))
        x = jax.nn.relu(Upsample(c, form, name="upsample")(x))
        x = x.reshape(*batch, *x.shape[1:])
        return ClassLogits(c, self.num_classes, form, name="logits")(x, labels).astype(jnp.float32)


class Upsample(nn.Module):
    """Transposed 2x2 convolution of stride 2: each pixel becomes a square of four, none of them shared.

    So it is one matrix product and a change of order. Parameters `kernel` (2, 2, c, c) and `bias`.
    """

    features: int
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
        c, dtype = self.features, self.form.dtype
        kernel = self.param("kernel", MASK_START, (2, 2, c, c), jnp.float32).astype(dtype)
        bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32).astype(dtype)
        n, h, w, _ = x.shape
        squares = jnp.dot(x.astype(dtype), kernel.transpose(2, 0, 1, 3).reshape(c, 4 * c))
        squares = squares.reshape(n, h, w, 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
        return squares.reshape(n, 2 * h, 2 * w, c) + bias


class ClassLogits(nn.Module):
    """1x1 convolution to one logit, with the weights of the class that is asked for.

    Parameters `kernel` (c, classes) and `bias` (classes,).
    """

    in_features: int
    num_classes: int
    form: Form = Form()

    @nn.compact
    def __call__(self, x: Float[Array, "b n h w c"], labels: Int[Array, "b n"]) -> Float[Array, "b n h w"]:
        c, classes, dtype = self.in_features, self.num_classes, self.form.dtype
        kernel = self.param("kernel", MASK_START, (c, classes), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (classes,), jnp.float32)
        # b n (h w) c @ b n c 1: a column of the kernel for each box. It is chosen in float32, so that the
        # gradients of all boxes of a class are added in float32
        columns = rows(kernel.T, labels).astype(dtype)[..., None]
        b, n, h, w, _ = x.shape
        logits = jnp.matmul(x.astype(dtype).reshape(b, n, h * w, c), columns).reshape(b, n, h, w)
        return logits + rows(bias, labels).astype(dtype)[..., None, None]
