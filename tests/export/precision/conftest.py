"""A small Flax network with blocks like those of the models, in any precision, with planted scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from export.answers import DEPLOY_FORM, Reference
from export.batch import BatchRange
from export.bridge import convert
from export.precision.settle import Task, initializers

BATCH, SIZE, CLASSES = 4, 6, 5


class Mlp(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(12, (1, 1), dtype=self.dtype, name="fc1")(x))
        return nn.Conv(6, (1, 1), dtype=self.dtype, name="fc2")(x)


class Block(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + nn.Conv(6, (3, 3), dtype=self.dtype, name="conv")(x)
        return x + Mlp(self.dtype, name="mlp")(x)


#: What a network answers -> its outputs.
OUTPUTS = {"classes": ("logits",), "map": ("logits",), "stages": ("stage1", "stage2")}


class Net(nn.Module):
    """stem, block1, block2, head; float32 answers: logits of classes, or what block2 or both blocks make."""

    dtype: Any = jnp.float32
    form: str = "classes"

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        x = nn.Conv(6, (3, 3), dtype=self.dtype, name="stem")(x)
        maps = []
        for index in (1, 2):
            x = Block(self.dtype, name=f"block{index}")(x)
            maps.append(x.astype(jnp.float32))
        if self.form != "classes":
            return tuple(maps) if self.form == "stages" else maps[-1]
        x = x.astype(jnp.float32).mean((1, 2))
        logits: Any = nn.Dense(CLASSES, dtype=self.dtype, name="head")(x)
        return logits.astype(jnp.float32)


@dataclass(frozen=True)
class Sample:
    """`typed`: the graph all in half precision; `float32`: the float32 export; `task`: for the gate."""

    typed: onnx.ModelProto
    float32: onnx.ModelProto
    task: Task

    @property
    def images(self) -> np.ndarray:
        return self.task.images

    @property
    def logits(self) -> np.ndarray:
        return self.task.reference.outputs[DEPLOY_FORM]

    def weights(self) -> dict[str, np.ndarray]:
        return initializers(self.float32.SerializeToString())


def _drawn() -> Any:
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(Net().init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))["params"]

    def draw(leaf: Any) -> np.ndarray:
        fan = max(1, int(np.prod(leaf.shape[:-1])))
        return rng.normal(0, 1 / np.sqrt(fan), leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)


Pairs = tuple[tuple[str, float], ...]


def _planted(scales: Pairs, shifts: Pairs, cancels: Pairs) -> Any:
    params = _drawn()
    for path, shift in cancels:
        first, second = _at(params, f"{path}/fc1"), _at(params, f"{path}/fc2")
        first["bias"] = first["bias"] + np.float32(shift)
        second["bias"] = second["bias"] - np.float32(shift) * second["kernel"].sum((0, 1, 2))
    for path, factor in scales:
        module = _at(params, path)
        module["kernel"] = module["kernel"] * np.float32(factor)
        if factor > 1:  # the bias goes with what the kernel makes; a later kernel undoes both
            module["bias"] = module["bias"] * np.float32(factor)
    for path, shift in shifts:
        _at(params, path)["bias"] = _at(params, path)["bias"] + np.float32(shift)
    return {"params": params}


def _at(params: Any, path: str) -> Any:
    for key in path.split("/"):
        params = params[key]
    return params


@lru_cache(maxsize=8)
def _sample(precision: str, scales: Pairs, shifts: Pairs, cancels: Pairs, form: str) -> Sample:
    variables = _planted(scales, shifts, cancels)
    images = np.random.default_rng(5).normal(size=(2 * BATCH, SIZE, SIZE, 3)).astype(np.float32)
    dtypes = {"fp32": jnp.float32, "fp16": jnp.float16, "bf16": jnp.bfloat16}

    def made(name: str) -> onnx.ModelProto:
        return convert(
            lambda weights, x: Net(dtypes[name], form).apply(weights, x),
            jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, 3), jnp.float32),
            weights=variables,
            input_names=["images"],
            output_names=OUTPUTS[form],
            input_layout="nchw",
            output_layout="nchw",
        )

    found: Any = jax.jit(Net(form=form).apply)(variables, images)
    maps = dict(zip(OUTPUTS[form], found if form == "stages" else [found], strict=True))
    features = {name: np.asarray(value)[:BATCH] for name, value in maps.items()}
    named = {name: _channels_first(np.asarray(value)) for name, value in maps.items()}
    output = OUTPUTS[form][-1]
    others = {DEPLOY_FORM: named} if len(named) > 1 else {}
    reference = Reference({DEPLOY_FORM: named[output]}, features, {}, others)
    nchw = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    batch = BatchRange(BATCH, BATCH, BATCH)
    task = Task(precision if precision != "fp32" else "fp16", False, batch, nchw, reference, output)
    return Sample(made(precision), made("fp32"), task)


def _channels_first(value: np.ndarray) -> np.ndarray:
    return value.transpose(0, 3, 1, 2) if value.ndim == 4 else value


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    """`sample(precision, scales, shifts, cancels)`, each by module path: factors of kernels, summands of
    biases, and summands inside an mlp that its second convolution takes away again. `form`: of OUTPUTS."""

    def make(
        precision: str = "fp16",
        scales: Mapping[str, float] | None = None,
        shifts: Mapping[str, float] | None = None,
        cancels: Mapping[str, float] | None = None,
        form: str = "classes",
    ) -> Sample:
        planted = (tuple((given or {}).items()) for given in (scales, shifts, cancels))
        return _sample(precision, *planted, form)

    return make
