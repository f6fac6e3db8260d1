"""The box and mask heads: sizes, shapes, and what the mask head computes in another way."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hvjax.blocks.form import Form
from hvjax.dense.roi_heads import BoxHead, ClassLogits, MaskHead, Upsample

ROUNDING = 1e-5  # the same float32 sums in another order


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes(module, *inputs):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))


def test_parameters_of_the_published_heads():
    """mmdetection's Shared2FCBBoxHead and FCNMaskHead for 80 classes, counted layer by layer."""
    box = shapes(BoxHead(256, 7, 1024, 80), jnp.zeros((1, 2, 7, 7, 256)))["params"]
    assert {name: count(part) for name, part in box.items()} == {
        "fc1": 256 * 49 * 1024 + 1024,
        "fc2": 1024 * 1024 + 1024,
        "logits": 1024 * 81 + 81,
        "moves": 1024 * 320 + 320,
    }
    mask = shapes(MaskHead(256, 4, 80), jnp.zeros((1, 2, 14, 14, 256)), jnp.zeros((1, 2), jnp.int32))[
        "params"
    ]
    convs = {f"conv{i}": 256 * 256 * 9 + 256 for i in (1, 2, 3, 4)}
    assert {name: count(part) for name, part in mask.items()} == {
        **convs,
        "upsample": 256 * 256 * 4 + 256,
        "logits": 256 * 80 + 80,
    }


def test_upsampling_is_a_transposed_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, 8))
    module = Upsample(8)
    variables = module.init(jax.random.key(1), x)
    kernel = variables["params"]["kernel"]
    variables["params"]["bias"] = bias = jnp.arange(8.0)
    y = module.apply(variables, x)
    # the kernel's rows and columns turned: a transposed convolution turns them once more
    plain = lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((1, 1), (1, 1)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    np.testing.assert_allclose(y, plain + bias, atol=ROUNDING)


def test_only_the_mask_of_the_asked_class_is_computed():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 8))
    labels = jnp.array([[0, 4, 2], [1, 1, 3]])
    module = ClassLogits(8, 5)
    variables = module.init(jax.random.key(1), x, labels)
    variables["params"]["bias"] = jnp.arange(5.0)
    every = jnp.einsum("bnhwc,ck->bnhwk", x, variables["params"]["kernel"]) + jnp.arange(5.0)
    plain = jnp.take_along_axis(every, labels[:, :, None, None, None], axis=-1)[..., 0]
    np.testing.assert_allclose(module.apply(variables, x, labels), plain, atol=ROUNDING)


def test_results_are_float32_whatever_the_type():
    form = Form(dtype=jnp.bfloat16)
    box, mask = BoxHead(8, 3, 16, 5, form), MaskHead(8, 1, 5, form)
    x, labels = jnp.ones((2, 3, 3, 3, 8), jnp.bfloat16), jnp.zeros((2, 3), jnp.int32)
    logits, moves = box.apply(box.init(jax.random.key(0), x), x)
    masks = mask.apply(mask.init(jax.random.key(0), x, labels), x, labels)
    assert (logits.shape, moves.shape, masks.shape) == ((2, 3, 6), (2, 3, 5, 4), (2, 3, 6, 6))
    assert {logits.dtype, moves.dtype, masks.dtype} == {jnp.dtype(jnp.float32)}


def test_gradients_of_many_boxes_of_one_class_are_summed_in_float32():
    """Ones that are added in bfloat16 stop at 256."""
    boxes, labels = 1000, jnp.ones((1, 1000), jnp.int32)
    x = jnp.ones((1, boxes, 1, 1, 8))

    def gradients(dtype):
        module = ClassLogits(8, 3, Form(dtype=dtype))
        variables = module.init(jax.random.key(0), x, labels)
        return jax.grad(lambda v: module.apply(v, x, labels).astype(jnp.float32).sum())(variables)["params"]

    for name, gradient in gradients(jnp.bfloat16).items():
        np.testing.assert_array_equal(gradient, gradients(jnp.float32)[name])
        assert gradient.max() == boxes


def test_scores_and_boxes_are_not_rounded_to_half_precision():
    """The last layers see rounded features, and add their own weights in float32."""
    module = BoxHead(8, 3, 16, 5, Form(dtype=jnp.bfloat16))
    x = jax.random.normal(jax.random.key(1), (2, 3, 3, 3, 8), jnp.bfloat16)
    for result in module.apply(module.init(jax.random.key(0), x), x):
        assert (result != result.astype(jnp.bfloat16)).mean() > 0.9
