"""What the user names with --ckpt -> a model, its variables, and what is known about its images."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

import hvjax
from export._optional import require
from export.recipe import LARGEST_SIDE, LEAST_CROP
from hvjax.preprocessing import INTERPOLATIONS
from hvjax.registry import MODELS, get_spec, identify
from hvjax.weights.io import read_info


@dataclass(frozen=True)
class Source:
    """A classifier, segmenter or detector in training (or, from a deploy file, already deploy) form, float32.

    `variables` is None for a bare model name: weights are then drawn once images are known. `mean` and
    `std` are for pixels in 0..1, one per channel. `gate_file` is a training run's gate.npz, if any; `notice`
    is what a user of the export should know about these weights. `eval_resize`: pixels that the (shorter,
    longer) side of an image has at most on the canvas of a segmenter or detector, where its run says so.
    """

    model: Any
    variables: Mapping[str, Any] | None
    name: str
    described: str
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    class_names: tuple[str, ...] = ()
    eval_resize: tuple[int, int] | None = None
    gate_file: Path | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    notice: str | None = None

    @property
    def random(self) -> bool:
        return self.variables is None


def load_source(given: str, *, which: str = "best") -> Source:
    """Reads a training run or checkpoint folder, a .safetensors file, or takes a name, BACKBONE+HEAD too.

    Raises:
      ValueError: nothing of that name, a damaged or foreign file, an unfinished checkpoint.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        return _from_training(path, which)
    if path.is_file():
        return _from_weights(path)
    if given in MODELS or _is_dense(given):
        try:
            model = hvjax.create_model(given)
        except ValueError as error:
            raise ValueError(f"--ckpt {given}: {error}") from error
        return _source(model, None, described=f"{given} with random weights")
    raise ValueError(_nothing_there(given, path))


def _from_training(path: Path, which: str) -> Source:
    try:
        require("orbax.checkpoint")
        from train_tpu.checkpointing.checkpoint import load_inference
    except ImportError as error:
        raise ValueError(f"--ckpt {path}: reading a training checkpoint: {error}") from error
    found = load_inference(path, which=which)
    step, ema = found.info.get("step"), found.info.get("ema")
    described = f"{path}, step {step}" + (" (EMA weights)" if ema else "")
    return _source(found.model, found.variables, described=described, info=found.info, run=_run_of(path))


def _from_weights(path: Path) -> Source:
    if path.suffix != ".safetensors":
        raise ValueError(f"--ckpt {path}: expected a .safetensors file, a training folder or a model name")
    model, variables = hvjax.load_weights(path)
    run = path.parent
    found = _run_info(run, model)
    names = {"class_names": read_info(path).class_names}
    info = {**(found or {}), **names}
    return _source(model, variables, described=str(path), info=info, run=run if found else None)


def _source(
    model: Any,
    variables: Mapping[str, Any] | None,
    *,
    described: str,
    info: Mapping[str, Any] | None = None,
    run: Path | None = None,
) -> Source:
    name, _ = identify(model)
    spec, info = get_spec(name), dict(info or {})
    channels = model.config.in_channels
    # tables of positions are of one size, whatever a file beside them says
    own = getattr(model.config, "image_size", None)
    height, width = _pair(own or info.get("image_size", spec.image_size))
    gate = run / "gate.npz" if run else None
    try:
        _check_images(info)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"--ckpt {run}: model.json is damaged: {error}") from error
    _check_finite(variables or {}, described)
    return Source(
        model=model,
        variables=variables,
        name=name,
        described=described,
        image_size=(height, width),
        mean=_per_channel(info.get("mean", spec.mean), channels),
        std=_per_channel(info.get("std", spec.std), channels),
        crop_pct=float(info.get("crop_pct", spec.crop_pct)),
        interpolation=str(info.get("interpolation", spec.interpolation)),
        class_names=tuple(info.get("class_names") or ()),
        eval_resize=_pair(info["eval_resize"]) if "eval_resize" in info else None,
        gate_file=gate if gate and gate.is_file() else None,
        training={key: info[key] for key in ("step", "ema") if key in info},
    )


def _check_finite(variables: Mapping[str, Any], described: str) -> None:
    """Raises ValueError for weights that are no numbers: such a detector finds nothing, in JAX and in its
    exports alike, so that no comparison would tell."""
    broken = [
        "/".join(path)
        for path, values in flatten_dict(variables).items()
        if not np.isfinite(np.asarray(values, np.float32)).all()
    ]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ValueError(f"--ckpt {described}: NaN or infinity in {broken[0]}{more}: the weights are damaged")


def _is_dense(given: str) -> bool:
    """Whether this is BACKBONE+HEAD, right or misspelt, and no path."""
    return "+" in given and not Path(given).suffix and len(Path(given).parts) == 1


def _run_of(path: Path) -> Path | None:
    """The training run a checkpoint folder is in: itself, its parent or its grandparent."""
    return next((p for p in (path, *path.resolve().parents[:2]) if (p / "model.json").is_file()), None)


def _run_info(run: Path, model: Any) -> dict[str, Any] | None:
    """model.json beside a weights file, if it speaks of the same model: its images are then ours too."""
    try:
        info = json.loads((run / "model.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(info, dict):
        return None
    same = info.get("model") == identify(model)[0] and info.get("num_classes") == model.config.num_classes
    return info if same else None


def _check_images(info: Mapping[str, Any]) -> None:
    """Raises ValueError or TypeError for what model.json cannot say of images and classes."""
    for key in ("mean", "std"):
        values = [float(value) for value in info.get(key, (1,))]
        if not values or not all(math.isfinite(value) for value in values) or (key == "std" and 0 in values):
            raise ValueError(f"{key}={info[key]!r}")
    if not LEAST_CROP <= float(info.get("crop_pct", 1)) <= 1:
        raise ValueError(f"crop_pct={info['crop_pct']!r}: expected {LEAST_CROP} to 1")
    if info.get("interpolation", INTERPOLATIONS[0]) not in INTERPOLATIONS:
        raise ValueError(f"interpolation={info['interpolation']!r}: expected {', '.join(INTERPOLATIONS)}")
    names = info.get("class_names") or ()
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names={names!r}: expected a list of names")
    for key in ("image_size", "eval_resize"):
        if not all(1 <= side <= LARGEST_SIDE for side in _pair(info.get(key, 1))):
            raise ValueError(f"{key}={info[key]!r}")


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Mean or std for each channel; for another number of channels than given, their average."""
    values = tuple(float(value) for value in values)
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def _nothing_there(given: str, path: Path) -> str:
    looks_like_path = path.suffix or len(path.parts) > 1 or given.startswith(("~", "."))
    if looks_like_path:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = _did_you_mean([str(path.parent / n) for n in difflib.get_close_matches(path.name, beside)])
        return f"--ckpt {given}: no such file or folder{hint}"
    hint = _did_you_mean(difflib.get_close_matches(given, MODELS, cutoff=0.4))
    return f"--ckpt {given}: neither a file, nor a folder, nor a model{hint or ' (see hvjax.list_models())'}"


def _did_you_mean(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""
