"""The numbers of a UniFormer, checked when they are put together."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate

STAGES = 4
CONVOLUTION_STAGES = 2  # the first ones; the others have attention


@dataclass(frozen=True)
class UniFormerConfig:
    """One variant of UniFormer (arXiv 2201.09450, table 2). The defaults are UniFormer-S.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
      depths: blocks of each stage.
      widths: channels of each stage.
      head_dim: channels per attention head.
      mlp_ratio: hidden channels of the MLPs over their input channels.
      conv_stem: overlapping 3x3 convolutions with batch norm in front of the stages, in place of patches
        with layer norm. Such a model keeps the last rows and columns of odd maps, where patches drop them.
      layer_scale: start value of the scales on the branches of the attention blocks; None for no scales.
      window: side of the windows of the blocks of stage 3 with local attention, for dense prediction (the
        reference has 14); 0 for global attention everywhere.
      global_every: with windows, the n-th, 2n-th, ... block of stage 3 has global attention all the same.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    depths: tuple[int, ...] = (3, 4, 8, 3)
    widths: tuple[int, ...] = (64, 128, 320, 512)
    head_dim: int = 64
    mlp_ratio: float = 4
    conv_stem: bool = False
    layer_scale: float | None = None
    window: int = 0
    global_every: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name in ("depths", "widths"):
            check_integers(name, getattr(self, name), 1, STAGES)
        for name in ("num_classes", "window"):
            check_integer(name, getattr(self, name), 0)
        for name in ("in_channels", "head_dim", "global_every"):
            check_integer(name, getattr(self, name), 1)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("mlp_ratio", self.mlp_ratio)
        if not isinstance(self.conv_stem, bool):
            raise ValueError(f"conv_stem={self.conv_stem!r}: expected True or False")
        if self.layer_scale is not None:
            check_positive("layer_scale", self.layer_scale)
        for width in self.widths[CONVOLUTION_STAGES:]:
            if width % self.head_dim:
                raise ValueError(
                    f"widths={self.widths!r}: expected multiples of head_dim={self.head_dim} "
                    "in stages 3 and 4"
                )
        if self.conv_stem and self.widths[0] % 2:
            raise ValueError(f"widths={self.widths!r}: the convolutional stem needs an even first width")

    def hidden(self, width: int) -> int:
        """Hidden channels of the MLP of a block."""
        return int(width * self.mlp_ratio)

    def window_of(self, stage: int, block: int) -> int:
        """Side of the attention windows of a block, both counted from 1; 0 for global attention."""
        return self.window if stage == 3 and block % self.global_every else 0


def check_size(config: UniFormerConfig, height: int, width: int) -> None:
    """Raise ValueError if patches would leave no position in the last stage."""
    if not config.conv_stem and min(height, width) < 32:
        raise ValueError(
            f"images are {height}x{width} pixels: patches of a UniFormer need at least 32x32 "
            f"(the nearest size is {max(height, 32)}x{max(width, 32)})"
        )
