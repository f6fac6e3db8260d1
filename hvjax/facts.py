"""Facts about a model, counted on the model itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from hvjax.models.features import STAGES
from hvjax.models.numbers import check_integer
from hvjax.ops.conv import plain_convolutions
from hvjax.registry import create_model, get_spec
from hvjax.spec import Result
from hvjax.structure import abstract_variables

INTERPOLATION = "_resize"  # what `jax.image.resize` calls its jitted function


@dataclass(frozen=True)
class Description:
    """What `describe` gives; `print` shows it as text.

    Attributes:
      name: registry name.
      overrides: config fields that differ from the registry row.
      image_size: (height, width) that the MACs are counted at.
      params, params_deploy: number of parameters (running statistics not counted), training and deploy form.
      macs: multiply-adds of convolutions and matrix products for one image.
      features: (channels, stride in pixels) of "stem" and "stage1" to "stage4".
      shapes: their (height, width, channels) at `image_size`.
      published: accuracies of the unchanged model, with their sources.
      paper: arXiv number.
      mean, std, crop_pct, interpolation: preprocessing of the published weights.
    """

    name: str
    overrides: dict[str, Any]
    image_size: tuple[int, int]
    params: int
    params_deploy: int
    macs: int
    features: dict[str, tuple[int, int]]
    shapes: dict[str, tuple[int, ...]]
    published: tuple[Result, ...]
    paper: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str

    def __str__(self) -> str:
        height, width = self.image_size
        changed = "".join(f", {key}={value!r}" for key, value in self.overrides.items())
        lines = [
            f"{self.name}{changed} (arXiv {self.paper})",
            f"  parameters  {self.params:,} in training, {self.params_deploy:,} deployed",
            f"  MACs        {self.macs / 1e9:.3f} G at {height}x{width}",
            "  features    " + ", ".join(f"{k} {c} at 1/{s}" for k, (c, s) in self.features.items()),
            f"  input       NHWC, scaled to [0, 1], mean {self.mean}, std {self.std}; crop {self.crop_pct}, "
            f"{self.interpolation}",
        ]
        lines += [f"  published   {r.top1} % top-1 at {r.image_size} ({r.source})" for r in self.published]
        return "\n".join(lines)


def describe(
    name: str, *, image_size: int | tuple[int, int] | None = None, **config_overrides: Any
) -> Description:
    """Count parameters and MACs of a model and list what is known about it. Traces it; computes nothing.

    Args:
      name: one of `list_models()`.
      image_size: where to count MACs, one number or (height, width); the model's own size by default.
      **config_overrides: as for `create_model`.

    Raises:
      ValueError: as `create_model`, and for an image size that the model cannot take.
    """
    spec = get_spec(name)
    size = spec.image_size if image_size is None else image_size
    height, width = size if isinstance(size, tuple | list) and len(size) == 2 else (size, size)
    check_integer("image height", height, 1)
    check_integer("image width", width, 1)
    # Where tables of positions depend on the size of the images, it is part of the model.
    tied = {"image_size": (height, width)} if hasattr(spec.config, "image_size") else {}
    model = create_model(name, **{**tied, **config_overrides})
    deploy = model.clone(deploy=True)
    images = jax.ShapeDtypeStruct((1, height, width, model.config.in_channels), jnp.float32)
    maps = jax.eval_shape(
        lambda v, x: model.apply(v, x, method="features"), abstract_variables(model), images
    )
    return Description(
        name=name,
        overrides=dict(config_overrides),
        image_size=(height, width),
        params=count_parameters(abstract_variables(model)),
        params_deploy=count_parameters(abstract_variables(deploy)),
        macs=count_macs(deploy.apply, abstract_variables(deploy), images),
        features={k: (maps[k].shape[-1], s) for k, s in zip(STAGES, spec.strides, strict=True)},
        shapes={k: tuple(maps[k].shape[1:]) for k in STAGES},
        published=() if config_overrides else spec.published,
        paper=spec.paper,
        mean=spec.mean,
        std=spec.std,
        crop_pct=spec.crop_pct,
        interpolation=spec.interpolation,
    )


def count_parameters(variables: Any) -> int:
    """Number of trainable numbers: the size of the collection "params"."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def count_macs(function: Any, *args: Any) -> int:
    """Multiply-adds of all convolutions and matrix products in `function(*args)`; args may be abstract.

    Interpolation of images is not counted, though JAX writes it as products with matrices of few non-zeros.
    """
    with plain_convolutions():
        program = jax.make_jaxpr(function)(*args)
    return sum(_macs(equation) for equation in _equations(program.jaxpr))


def _equations(program: Any) -> Iterator[Any]:
    """All equations, those of nested functions too, but for interpolation."""
    for equation in program.eqns:
        if equation.params.get("name") == INTERPOLATION:
            continue
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def _macs(equation: Any) -> int:
    name = equation.primitive.name
    if name == "conv_general_dilated":
        kernel, dims = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
        per_output = math.prod(kernel) // kernel[dims.rhs_spec[0]]
    elif name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        per_output = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    else:
        return 0
    return per_output * math.prod(equation.outvars[0].aval.shape)
