"""The numbers that every network for dense prediction has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from hvjax.models.numbers import check_integer

OUTPUT_NORMS = ("none", "batch", "layer", "group")
STAGES = 4


@dataclass(frozen=True)
class DenseConfig:
    """What segmenters and detectors share; each adds the numbers of its head.

    Attributes:
      backbone: the backbone's own config, without classes (`num_classes=0`).
      num_classes: classes of the head, without background.
      output_norms: a norm on each stage's output for the head alone, not on what flows on to the next stage:
        "none", "batch", "layer" or "group" (of one group).

    Raises:
      ValueError: if the numbers do not fit together.
    """

    backbone: Any
    num_classes: int = 150
    output_norms: str = "none"

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        if isinstance(self.backbone, Mapping) or not is_dataclass(self.backbone):
            raise ValueError(f"backbone={self.backbone!r}: expected the config of a backbone")
        backbone: Any = self.backbone
        if backbone.num_classes != 0:
            raise ValueError(
                f"num_classes={backbone.num_classes!r} of the backbone: expected 0, the head has them"
            )
        check_integer("num_classes", self.num_classes, 1)
        check_choice("output_norms", self.output_norms, OUTPUT_NORMS)

    @property
    def in_channels(self) -> int:
        """Channels of the images, those of the backbone."""
        return self.backbone.in_channels

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images; absent, as an attribute, where the backbone takes any."""
        return self.backbone.image_size  # raises AttributeError there, so that hasattr says so


def check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of the known words."""
    if value not in known:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}")
