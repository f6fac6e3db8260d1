"""What the tests know about each family of models, one file a family; tests go through all of `FAMILIES`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Golden:
    """How a recorded small model is built: our name, and its config overrides from the recorded config."""

    name: str
    overrides: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Family:
    """Attributes:
    small: registry name -> overrides that make it small enough to compile fast, with every kind of block.
    goldens: name of a recorded small model (tests/goldens/NAME.json) -> how to build it.
    counts: registry name -> parameters in training form, in deploy form, multiply-adds at the native size.
    probes: registry name -> variant in tests/goldens/probe_VARIANT.json and keys_VARIANT.txt.gz.
    keys: registry name -> further variants of keys_VARIANT.txt.gz that must fit it, with deploy or not.
    without_gradient: regular expression of the paths of parameters that cannot move the logits, although
      the network holds them (a key bias, which the softmax cancels).
    drops_borders: registry names of models that leave out rows and columns which do not fill a patch, so
      that strides round down.
    learning_rate: of Adam, with which ten steps halve the loss of `small`; narrow networks need larger ones.
    image_size, gradient_size: pixels at which `small` is tested; the larger for gradients of attention.
    """

    small: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    goldens: Mapping[str, Golden] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, tuple[tuple[str, bool], ...]] = field(default_factory=dict)
    without_gradient: str = "(?!)"  # matches nothing
    drops_borders: tuple[str, ...] = ()
    learning_rate: float = 3e-3
    image_size: int = 32
    gradient_size: int = 64


# Small models for what depends on JAX and on shared code more than on a family: between them they have every
# kind of layer, training form and position table.
CORE = ("next_vit_s", "fastvit_sa12", "resnet50", "swin_t")

FAMILIES: dict[str, Family] = {
    module.name: importlib.import_module(f"families.{module.name}").FAMILY
    for module in pkgutil.iter_modules(__path__)
}


def merged(attribute: str) -> dict[str, Any]:
    """One mapping of all families, e.g. `merged("counts")`: registry name -> counts."""
    return {name: value for family in FAMILIES.values() for name, value in getattr(family, attribute).items()}


def family_of(small_or_golden: str) -> Family:
    """Family that has a small model or a golden of this name."""
    return next(f for f in FAMILIES.values() if small_or_golden in f.small or small_or_golden in f.goldens)


def pixels(model: Any, size: tuple[int, int]) -> tuple[int, int]:
    """`size` as (height, width), or the model's own where its tables of positions fix it."""
    return tuple(getattr(model.config, "image_size", size))
