"""A trained model with all that it needs to see an image, out of a run or out of a weights file."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

import hvjax
from hvjax import preprocessing
from hvjax.dense.taps import DenseModel
from hvjax.registry import MODELS, identify
from hvjax.weights.io import SUFFIX, read_info
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.checkpointing.workdir import MODEL
from train_tpu.errors import UserError
from train_tpu.learning.objective import normalise


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model in deploy form. image_size: (height, width); mean, std: of pixels between 0 and 1;
    class_names: may be empty; described: for messages."""

    model: Any
    variables: Any
    described: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str

    @property
    def num_classes(self) -> int:
        return self.model.config.num_classes

    def pixels(self, image: Path) -> UInt8[np.ndarray, "h w 3"]:
        """What the model sees of an image file, resized and cropped as in evaluation.

        Raises:
          ValueError, OSError: it cannot be read.
        """
        return preprocessing.resize_and_crop(image, self.image_size, self.crop_pct, self.interpolation)

    def label(self, index: int) -> str:
        """The name of a class, 'class 7' where names are unknown."""
        return self.class_names[index] if self.class_names else f"class {index}"

    def compiled(self) -> Callable[[UInt8[np.ndarray, "b h w 3"]], Float[jax.Array, "b classes"]]:
        """The function from pixels to the probabilities of the classes, float32."""

        @jax.jit
        def probabilities(variables, pixels):
            logits = self.model.apply(variables, normalise(pixels, self.mean, self.std))
            return jax.nn.softmax(logits.astype(jnp.float32))

        return lambda pixels: probabilities(self.variables, pixels)


def open_trained(path: str | Path, which: str = "best") -> Trained:
    """Read a run, one of its checkpoints or a weights file.

    What a weights file does not say (size and preprocessing of images) is taken from the model.json beside
    it, if that speaks of the same model, else from the model's row of the registry.

    Args:
      which: "best" or "last" checkpoint of a run.
    Raises:
      UserError: nothing there, damaged, no classifier, or not of RGB images.
    """
    path = Path(path).expanduser()
    if path.is_file():
        if path.suffix != SUFFIX:
            raise UserError(f"--ckpt {path}: expected a training directory or a {SUFFIX} file")
        model, variables, info = _from_weights(path)
        described = str(path)
    else:
        loaded = load_inference(path, which)
        model, variables, info = loaded.model, loaded.variables, loaded.info
        described = f"{path}, step {info['step']}, {'averaged' if info['ema'] else 'raw'} weights"
    name, _ = identify(model)
    if isinstance(model, DenseModel):
        raise UserError(
            f"--ckpt {path}: {name} names no class of a whole image; what it finds is drawn where --ckpt "
            "is its training directory"
        )
    if not model.config.num_classes:
        raise UserError(f"--ckpt {path}: {name} without a classifier cannot name a class")
    if model.config.in_channels != 3:
        raise UserError(f"--ckpt {path}: {name} of {model.config.in_channels} channels; expected RGB (3)")
    spec = MODELS[name]
    own = getattr(model.config, "image_size", None)  # tables of positions are of one size
    size = own or info.get("image_size", spec.image_size)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    try:
        height, width = (size, size) if isinstance(size, int) else size
        return Trained(
            model=deploy_model,
            variables=jax.tree.map(jnp.asarray, deploy_variables),
            described=f"{name} of {described}",
            class_names=_checked_names(info.get("class_names") or (), model.config.num_classes),
            image_size=(int(height), int(width)),
            mean=_per_channel(info.get("mean", spec.mean)),
            std=_per_channel(info.get("std", spec.std)),
            crop_pct=_checked_crop(info.get("crop_pct", spec.crop_pct)),
            interpolation=_checked_interpolation(info.get("interpolation", spec.interpolation)),
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"--ckpt {path}: its {MODEL} is damaged: {error}") from error


def _from_weights(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    try:
        model, variables = hvjax.load_weights(path)
        names = read_info(path).class_names
    except ValueError as error:
        raise UserError(f"--ckpt {' '.join(str(error).split())}") from error
    beside = _model_json(path.parent / MODEL)
    same = (beside.get("model"), beside.get("num_classes")) == (identify(model)[0], model.config.num_classes)
    info = beside if same else {}
    return model, variables, {**info, "class_names": names or info.get("class_names")}


def _checked_names(names: Any, count: int) -> tuple[str, ...]:
    if names and len(names) != count:
        raise ValueError(f"{len(names)} class names for {count} classes")
    return tuple(str(name) for name in names)


def _checked_crop(value: Any) -> float:
    if not 0 < float(value) <= 1:
        raise ValueError(f"crop_pct={value!r}")
    return float(value)


def _checked_interpolation(name: Any) -> str:
    if name not in preprocessing.INTERPOLATIONS:
        raise ValueError(f"interpolation={name!r}")
    return name


def _per_channel(values: Any) -> tuple[float, ...]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _model_json(path: Path) -> dict[str, Any]:
    """What lies beside a weights file may be anything: {} if it is no model.json."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
