"""How an exported model wants its images and what its classes are called, from the files it came with.

A bundle says it in preprocess.json and labels.json; a lone ONNX file in its metadata; an export of an
earlier version in report.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.gate_images import to_channels
from hvjax import preprocessing

PREPROCESS, LABELS, REPORT = "preprocess.json", "labels.json", "report.json"


#: Larger sides and smaller crops are no wish but a damaged number, and would fill the memory.
LARGEST_SIDE, LEAST_CROP = 1 << 14, 0.01
_DAMAGED = (KeyError, TypeError, ValueError, OverflowError)


class RecipeError(ValueError):
    """What is missing or damaged, in one line with the file's name."""


@dataclass(frozen=True)
class Recipe:
    """`size` is (height, width) of the file's input, `layout` "nchw" or "nhwc"; `mean` and `std` have one
    entry a channel, for pixels in 0..1; `classes` may be empty; `batch` is None where nothing says it;
    `resizes`: the file resizes and crops what it takes."""

    size: tuple[int, int]
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    classes: tuple[str, ...] = ()
    batch: int | None = None
    resizes: bool = False

    def pixels(self, image: Path) -> np.ndarray:
        """What the model sees of an image file, uint8 (height, width, channels).

        Raises ValueError or OSError for a file that is no image, or a broken one.
        """
        rgb = preprocessing.resize_and_crop(image, self.size, self.crop_pct, self.interpolation)
        return to_channels(rgb, len(self.mean))

    def notice(self, image: Path) -> str | None:
        """What is done to an image of another size before a file that resizes sees it. Raises as `pixels`."""
        if not self.resizes:
            return None
        found = preprocessing.read_image(image)
        if (found.height, found.width) == self.size:
            return None
        return (
            f"{image.name} has {found.height}x{found.width} pixels, and the file takes "
            f"{self.size[0]}x{self.size[1]}: it is resized twice, and what does not fit is cut off"
        )

    def inputs(self, pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """uint8 (images, height, width, channels) as the graph takes them: normalised unless it takes uint8,
        in its layout."""
        values = pixels
        if dtype != np.uint8:
            values = preprocessing.normalise(pixels, self.mean, self.std).astype(dtype)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.layout == "nchw" else values)

    def label(self, index: int) -> str:
        return self.classes[index] if index < len(self.classes) else f"class {index}"


def find_recipe(folder: Path, metadata: Mapping[str, str], size: tuple[int, int] | None) -> Recipe:
    """The recipe of the model in `folder`, whose ONNX file (if any) says `metadata` and takes images of
    `size`.

    Raises:
      RecipeError: a file is damaged, or nothing says how images are prepared.
    """
    for place in (folder, folder.parent):  # an engine built from a bundle lies in a folder of the bundle
        if (place / PREPROCESS).is_file():
            return replace(_from_bundle(place), batch=_batch(place))
    if "mean" in metadata:
        return _from_metadata(metadata, size)
    if (folder / REPORT).is_file():
        return _from_report(folder / REPORT)
    raise RecipeError(
        f"{folder} does not say how images are prepared: there is no {PREPROCESS}, no {REPORT}, and no "
        "metadata in the model; keep model.onnx in the folder that the export wrote"
    )


def _from_bundle(folder: Path) -> Recipe:
    path = folder / PREPROCESS
    said, names = _read(path), _read(folder / LABELS) if (folder / LABELS).is_file() else None
    try:
        resizes = "resize" in said.get("in_graph", ())
        return _recipe(
            size=said["source_size"] if resizes else said["crop"]["size"],
            layout=said["input"]["layout"],
            mean=said["mean"],
            std=said["std"],
            crop_pct=said["crop"]["crop_pct"],
            resizes=resizes,
            interpolation=said["resize"]["interpolation"],
            classes=names or (),
        )
    except _DAMAGED as error:
        raise RecipeError(f"{path} is incomplete or damaged ({error!r})") from error


def _from_metadata(metadata: Mapping[str, str], size: tuple[int, int] | None) -> Recipe:
    if size is None:
        raise RecipeError(
            "the model takes images of any size, and nothing beside it says which: keep its folder"
        )
    try:
        crop_pct, interpolation = metadata.get("crop_pct"), metadata.get("interpolation")
        if crop_pct is None or interpolation is None:
            crop_pct, interpolation = _of_registry(metadata["model"])
        return _recipe(
            size=size,
            layout=metadata["input_layout"],
            mean=json.loads(metadata["mean"]),
            std=json.loads(metadata["std"]),
            crop_pct=crop_pct,
            resizes=metadata.get("preprocess") == "full",
            interpolation=interpolation,
            classes=json.loads(metadata.get("class_names", "[]")),
        )
    except _DAMAGED as error:
        raise RecipeError(f"the metadata of the model is incomplete or damaged ({error!r})") from error


def _from_report(path: Path) -> Recipe:
    said = _read(path)
    try:
        model = said["model"]
        crop_pct, interpolation = _of_registry(model["name"])
        resizes = model.get("preprocess") == "full"
        return _recipe(
            size=model["source_size"] if resizes else model["image_size"],
            resizes=resizes,
            layout=model["input_layout"],
            mean=model["mean"],
            std=model["std"],
            crop_pct=crop_pct,
            interpolation=interpolation,
            classes=model["class_names"],
            batch=int(model["batch"]["typical"]),
        )
    except _DAMAGED as error:
        raise RecipeError(f"{path} is incomplete or damaged ({error!r})") from error


def _batch(folder: Path) -> int | None:
    try:
        return int(_read(folder / REPORT)["model"]["batch"]["typical"])
    except _DAMAGED:
        return None  # a bundle may be copied without its report


def _of_registry(name: str) -> tuple[float, str]:
    """Crop and interpolation of a model's row, for files that do not say. Raises KeyError or ValueError."""
    from hvjax.registry import get_spec

    spec = get_spec(name)
    return spec.crop_pct, spec.interpolation


def _recipe(
    *,
    size: Any,
    layout: Any,
    mean: Any,
    std: Any,
    crop_pct: Any,
    interpolation: Any,
    classes: Any,
    batch: int | None = None,
    resizes: bool = False,
) -> Recipe:
    """`size` is that of the file's input; a file that `resizes` crops too, and takes the whole picture."""
    height, width = size
    if not all(1 <= side <= LARGEST_SIDE for side in (height, width)):
        raise ValueError(f"an image size of {height}x{width}")
    if not isinstance(classes, list | tuple):
        raise TypeError(f"names of classes that are a {type(classes).__name__}, not a list")
    made = Recipe(
        size=(int(height), int(width)),
        layout=str(layout),
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
        crop_pct=1.0 if resizes else float(crop_pct),
        interpolation=str(interpolation),
        classes=tuple(str(name) for name in classes),
        batch=batch,
        resizes=resizes,
    )
    if made.layout not in ("nchw", "nhwc") or len(made.mean) != len(made.std) or not made.mean:
        raise ValueError(f"layout {made.layout}, {len(made.mean)} means, {len(made.std)} deviations")
    if not LEAST_CROP <= made.crop_pct <= 1:
        raise ValueError(f"crop_pct={made.crop_pct}")
    if not np.isfinite([*made.mean, *made.std]).all() or 0 in made.std:
        raise ValueError(f"mean {made.mean}, std {made.std}")
    return made


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
