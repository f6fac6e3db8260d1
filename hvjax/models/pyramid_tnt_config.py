"""The numbers of a PyramidTNT, checked when they are put together."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate

STAGES = 4
SENTENCE = 8  # pixels of the image per sentence and side, before the first stage
WORDS = 4  # words per sentence and side
SMALLEST = 32  # pixels: the first stage averages 4x4 sentences


@dataclass(frozen=True)
class PyramidTNTConfig:
    """One variant of PyramidTNT (arXiv 2201.00978, table 2). The defaults are PyramidTNT-S.

    An outer token, a sentence, stands for a patch of the image; its 16 inner tokens, words, for the parts of
    that patch.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
      image_size: (height, width) of the images in pixels, multiples of 8 from 32; one number for square
        ones. The tables of positions depend on it.
      depths: blocks of each stage.
      outer_widths, inner_widths: channels of a sentence and of a word in each stage. The first inner width
        sets the channels of the stem, too.
      outer_heads, inner_heads: attention heads among sentences, and among the words of a sentence.
      reduction_ratios: in each stage, sentences attend to means of s*s of them.
      mlp_ratio: hidden channels of the MLPs over their input channels.
      qkv_bias: whether queries, keys and values have a bias.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    image_size: tuple[int, int] = (256, 256)
    depths: tuple[int, ...] = (2, 8, 4, 2)
    outer_widths: tuple[int, ...] = (128, 256, 512, 512)
    inner_widths: tuple[int, ...] = (8, 16, 32, 32)
    outer_heads: tuple[int, ...] = (4, 8, 16, 16)
    inner_heads: tuple[int, ...] = (2, 4, 8, 8)
    reduction_ratios: tuple[int, ...] = (4, 2, 1, 1)
    mlp_ratio: float = 4
    qkv_bias: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        if not isinstance(self.image_size, tuple):
            object.__setattr__(self, "image_size", (self.image_size,) * 2)
        check_integers("image_size", self.image_size, SMALLEST, 2)
        for name in (
            "depths",
            "outer_widths",
            "inner_widths",
            "outer_heads",
            "inner_heads",
            "reduction_ratios",
        ):
            check_integers(name, getattr(self, name), 1, STAGES)
        check_integer("num_classes", self.num_classes, 0)
        check_integer("in_channels", self.in_channels, 1)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("mlp_ratio", self.mlp_ratio)
        if not isinstance(self.qkv_bias, bool):
            raise ValueError(f"qkv_bias={self.qkv_bias!r}: expected True or False")
        if any(side % SENTENCE for side in self.image_size):
            raise ValueError(
                f"image_size={self.image_size!r}: expected multiples of {SENTENCE}, such as "
                f"{nearest_size(*self.image_size)}"
            )
        for kind in ("outer", "inner"):
            widths, heads = getattr(self, f"{kind}_widths"), getattr(self, f"{kind}_heads")
            if any(width % count for width, count in zip(widths, heads, strict=True)):
                raise ValueError(f"{kind}_widths={widths!r}: expected multiples of {kind}_heads={heads!r}")
        for stage, ratio in enumerate(self.reduction_ratios):
            if ratio > min(self.grid(stage)):
                raise ValueError(
                    f"reduction_ratios={self.reduction_ratios!r}: stage {stage + 1} has only "
                    f"{self.grid(stage)[0]}x{self.grid(stage)[1]} sentences at image_size={self.image_size!r}"
                )

    def grid(self, stage: int) -> tuple[int, int]:
        """Rows and columns of sentences in a stage, counted from 0."""
        side = SENTENCE * 2**stage
        return -(-self.image_size[0] // side), -(-self.image_size[1] // side)

    def keys(self, stage: int) -> tuple[int, int]:
        """Rows and columns of what the sentences of a stage attend to; the stage is counted from 0."""
        ratio, (rows, columns) = self.reduction_ratios[stage], self.grid(stage)
        return rows // ratio, columns // ratio

    def inner_blocks(self, stage: int) -> int:
        """Blocks of a stage, its first ones, that work on words too; the stage is counted from 0."""
        return 2 if self.depths[stage] > 6 else 1


def nearest_size(height: int, width: int) -> tuple[int, int]:
    """Nearest image size that a PyramidTNT can be made for."""
    rows, columns = (max(SMALLEST, (side + SENTENCE // 2) // SENTENCE * SENTENCE) for side in (height, width))
    return rows, columns
