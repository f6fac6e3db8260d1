"""Distillation: a trained teacher looks at the student's images, and the student learns its answers too.

As in DeiT (Touvron et al. 2021, arXiv 2012.12877, section 4) but with one head, as FastViT's authors do it:
the same logits answer the labels and the teacher. Nothing of the teacher is trained; it runs in its deploy
form.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import hvjax
from hvjax.adapt import adapt
from hvjax.pretrained import fetch
from hvjax.registry import MODELS, identify
from hvjax.spec import Spec
from hvjax.torch_weights import model_of
from hvjax.weights.io import is_ours
from train_tpu.config import Config
from train_tpu.errors import UserError, choose
from train_tpu.learning.start import Names, is_run, one_line, read_ours, read_run, with_notices
from train_tpu.model import DTYPES

Teach = Callable[[Any, Float[Array, "b h w c"]], Float[Array, "b classes"]]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Who teaches: both are None where nobody does.

    variables: on the devices, an argument of the step (as a constant they would be compiled into it).
    teach: (variables, images as the student gets them) -> logits. about: lines to be said.
    """

    variables: Any = None
    teach: Teach | None = None
    about: tuple[str, ...] = ()


def load_teacher(
    config: Config, class_names: tuple[str, ...], student: Spec, place: Callable[[Any], Any]
) -> Teacher:
    """The teacher of `config.distill`.

    Args:
      class_names: of the data; the teacher must know the same classes in the same order.
      student: row of the registry, whose mean and std the images are normalised with.
      place: puts a tree of arrays onto the devices.
    Raises:
      UserError: no such teacher or weights, or they are of another model, other classes or another image size
        than the teacher can take.
    """
    options = config.distill
    if not options.teacher:
        return Teacher()
    spec = choose("teacher", options.teacher, MODELS)
    size = config.data.image_size
    try:
        (model, variables, known), notices = with_notices(
            lambda: _read(options.teacher, options.weights, len(class_names), size)
        )
    except (ValueError, OSError, ImportError) as error:
        raise UserError(f"--config.distill.weights={options.weights}: {one_line(error)}") from error
    if known and known != class_names:
        strange = next((a, b) for a, b in zip(known, class_names, strict=True) if a != b)
        raise UserError(
            f"--config.distill.weights={options.weights}: the teacher's classes are not the data's, or in "
            f"another order: it has {strange[0]!r} where the data has {strange[1]!r}"
        )
    model = model.clone(dtype=DTYPES[config.model.dtype])

    def teach(variables: Any, images: Float[Array, "b h w c"]) -> Float[Array, "b classes"]:
        return model.apply(variables, renormalise(images, student, spec))

    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    try:
        jax.eval_shape(teach, variables, images)
    except ValueError as error:
        raise UserError(
            f"the teacher {options.teacher} cannot see the student's images (data.image_size={size}): "
            f"{one_line(error)}"
        ) from error
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    about = (
        f"teacher: {options.teacher}, {count / 1e6:.2f} M parameters, from {options.weights}; "
        f"{options.kind} distillation of weight {options.alpha:g}"
    )
    return Teacher(place(variables), teach, (about, *notices))


def renormalise(images: Float[Array, "b h w c"], given: Spec, wanted: Spec) -> Float[Array, "b h w c"]:
    """Images normalised by the mean and std of one row of the registry, by those of another.

    What augmentation put in (noise, mixtures) is carried over as the pixels it stands for.
    """
    if (given.mean, given.std) == (wanted.mean, wanted.std):
        return images
    std = np.asarray(wanted.std)
    scale, shift = given.std / std, np.subtract(given.mean, wanted.mean) / std
    return images * np.float32(scale) + np.float32(shift)


def _read(name: str, source: str, num_classes: int, size: int) -> tuple[Any, Any, Names]:
    """Deploy model, its variables, and its class names where they are known."""
    kind, _, tag = source.partition(":")
    path = Path(source).expanduser()
    if kind != "pretrained" and (is_run(source) or (path.is_file() and is_ours(path))):
        donor, variables, known = read_run(source) if is_run(source) else read_ours(source)
        if identify(donor)[0] != name:
            raise ValueError(f"these are weights of {identify(donor)[0]}, not of {name}")
        _check_classes(donor, num_classes)
        model = _at_size(donor, size)
        return *hvjax.reparameterize(model, adapt(variables, donor, model)), known
    if kind != "pretrained" and not path.is_file():
        raise ValueError("no such file or training directory; accepted too: pretrained or pretrained:TAG")
    file = fetch(name, tag or None) if kind == "pretrained" else path
    model = _at_size(model_of(file, hvjax.create_model(name, deploy=True)), size)
    _check_classes(model, num_classes)
    return model, hvjax.load_torch(file, model), None


def _check_classes(teacher: Any, num_classes: int) -> None:
    if teacher.config.num_classes != num_classes:
        raise ValueError(f"the teacher has {teacher.config.num_classes} classes, the data {num_classes}")


def _at_size(model: Any, size: int) -> Any:
    """The model made for images of this size, where its tables of positions need to know."""
    if "image_size" not in {field.name for field in fields(model.config)}:
        return model
    return model.clone(config=replace(model.config, image_size=size))
