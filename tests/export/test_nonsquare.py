"""Every family at an image size that is not square: the fixed and the dynamic batch, and the profile."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from families import FAMILIES

import hvjax
from export._optional import available
from export.batch import BatchRange
from export.bridge import convert
from export.runtimes import BuildOptions, make
from hvjax.ops.conv import plain_convolutions

#: One small model a family.
MODELS = {family: next(iter(FAMILIES[family].small.items())) for family in FAMILIES}
#: Height and width: no multiples of 32, so that maps do not divide by strides and windows. CMT's tables of
#: positions take multiples of 32 only.
SIZE, CMT_SIZE = (40, 72), (32, 96)
BATCH = BatchRange(1, 2, 3)
#: The project's figure for float32 files: ONNX Runtime against JAX, of the largest logit.
LIMIT = 2e-6


def _draw(path: Any, struct: Any) -> np.ndarray:
    """Weights that keep the scale of activations, with branches smaller than the trunk."""
    rng, kind = np.random.default_rng(struct.size), path[-1].key
    if kind == "kernel":
        return (rng.standard_normal(struct.shape) / np.prod(struct.shape[:-1]) ** 0.5).astype(struct.dtype)
    centre = 1.0 if kind in ("scale", "gamma") else 0.0
    return (centre + 0.3 * rng.standard_normal(struct.shape)).astype(struct.dtype)


@pytest.mark.parametrize("family", MODELS)
def test_a_family_takes_images_that_are_not_square(family: str) -> None:
    name, overrides = MODELS[family]
    size = CMT_SIZE if family == "cmt" else SIZE
    own = {"image_size": size} if "image_size" in overrides else {}
    model = hvjax.create_model(name, deploy=True, **{**overrides, **own})
    images = np.random.default_rng(1).standard_normal((BATCH.maximum, *size, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    weights = jax.tree_util.tree_map_with_path(_draw, shapes)
    with plain_convolutions():  # as an exporter sees them
        expected = np.asarray(jax.jit(model.apply)(weights, images))

    def file(images: np.ndarray, dynamic: bool) -> bytes:
        shape = jax.ShapeDtypeStruct(images.shape, jnp.float32)
        made = convert(model.apply, shape, weights=weights, input_layout="nchw", dynamic_batch=dynamic)
        return made.SerializeToString()

    fixed = file(images[: BATCH.typical], dynamic=False)
    open_ = file(images, dynamic=True)
    for content, batches in ((fixed, (BATCH.typical,)), (open_, BATCH.gate_sizes)):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (entry,) = session.get_inputs()
        assert entry.shape[1:] == [3, *size]
        for batch in batches:
            (found,) = session.run(None, {entry.name: images[:batch].transpose(0, 3, 1, 2)})
            wanted = expected[:batch]
            assert np.abs(found - wanted).max() <= LIMIT * np.abs(wanted).max(), (family, batch)
    if available("tensorrt_rtx_bindings"):
        built = make("tensorrt_rtx").build(open_, BuildOptions(BATCH))
        assert built.engine and built.kernels
