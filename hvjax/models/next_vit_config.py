"""The numbers of a Next-ViT, checked when they are put together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

from hvjax.blocks.bottleneck import EXPANSION
from hvjax.models.numbers import NUMBERS, check_integer, check_integers, check_positive, check_rate

CONVOLUTION, TRANSFORMER = "C", "T"
CONV_BLOCKS = ("ncb", "bottleneck", "convnext", "transformer", "pool", "lsa")
NORMS, ACTIVATIONS = ("batch", "layer"), ("relu", "gelu")
STRIDES = (1, 2, 2, 2)  # of the first block of each stage, after a stem of stride 4


def make_divisible(value: float, divisor: int) -> int:
    """Round to the nearest multiple of `divisor`, at least one of it, never more than 10 % down.

    >>> make_divisible(96 * 3, 32), make_divisible(int(256 * 0.75), 32), make_divisible(40, 32)
    (288, 192, 64)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class NextViTConfig:
    """One variant of Next-ViT (arXiv 2207.05501, table 3). The defaults are Next-ViT-S.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
      blocks: one string a stage, one letter a block: C is a convolution block (NCB), T a transformer block
        (NTB).
      conv_channels: output channels of the C blocks of each stage.
      transformer_channels: output channels of the T blocks of each stage (ignored where a stage has none).
      block_channels: output channels of each block of each stage; where given, used instead of the two above.
      stem_channels: output channels of the stem units 1, 2 and 3; unit 4 has those of unit 3.
      head_dim: channels per attention head and per group of the grouped convolutions.
      reduction_ratios: s of each stage; keys and values are means of s*s tokens.
      mix_ratio: share of a T block's channels that goes through attention; the rest is convolved. With 0 the
        block has no attention, with 1 no convolution.
      conv_mlp_ratio, transformer_mlp_ratio: hidden channels of the MLPs over their input channels.
      divisor: widths inside the blocks are rounded to multiples of this.
      conv_block: what stands for a C block: "ncb", or for the study of blocks one of "bottleneck",
        "convnext", "transformer", "pool" and "lsa" (next_vit_blocks.py).
      norm, activation: "batch" or "layer", "relu" or "gelu", in all parts that are Next-ViT's own.
      window: side of the windows of "lsa" blocks.
      stage_norms: normalise the output of each stage, also where it flows on into the next one, as the recipe
        for segmentation does (bytedance/Next-ViT segmentation/, "extra norm").

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    blocks: tuple[str, ...] = ("CCC", "CCCT", "CCCCT" * 2, "CCT")
    conv_channels: tuple[int, ...] = (96, 192, 384, 768)
    transformer_channels: tuple[int, ...] = (96, 256, 512, 1024)
    block_channels: tuple[tuple[int, ...], ...] | None = None
    stem_channels: tuple[int, int, int] = (64, 32, 64)
    head_dim: int = 32
    reduction_ratios: tuple[int, ...] = (8, 4, 2, 1)
    mix_ratio: float = 0.75
    conv_mlp_ratio: float = 3
    transformer_mlp_ratio: float = 2
    divisor: int = 32
    conv_block: str = "ncb"
    norm: str = "batch"
    activation: str = "relu"
    window: int = 7
    stage_norms: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))
        self._check()

    def _check(self) -> None:
        stages = len(STRIDES)
        for name, least in (
            ("num_classes", 0),
            ("in_channels", 1),
            ("head_dim", 1),
            ("divisor", 1),
            ("window", 1),
        ):
            check_integer(name, getattr(self, name), least)
        for name in ("conv_channels", "transformer_channels", "reduction_ratios"):
            check_integers(name, getattr(self, name), 1, stages)
        check_integers("stem_channels", self.stem_channels, 1, 3)
        check_rate("drop_path_rate", self.drop_path_rate)
        for name in ("conv_mlp_ratio", "transformer_mlp_ratio"):
            check_positive(name, getattr(self, name))
        if not isinstance(self.mix_ratio, NUMBERS) or not 0 <= self.mix_ratio <= 1:
            raise ValueError(f"mix_ratio={self.mix_ratio!r}: expected a number, 0 <= mix_ratio <= 1")
        if not isinstance(self.stage_norms, bool):
            raise ValueError(f"stage_norms={self.stage_norms!r}: expected True or False")
        for name, known in (("conv_block", CONV_BLOCKS), ("norm", NORMS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")
        if not (
            isinstance(self.blocks, tuple) and len(self.blocks) == stages and all(map(_is_stage, self.blocks))
        ):
            raise ValueError(
                f"blocks={self.blocks!r}: expected {stages} strings, one a stage, of letters C and T"
            )
        if self.block_channels is not None:
            self._check_block_channels()
        for letters, stage_widths in zip(self.blocks, self.widths, strict=True):
            for letter, width in zip(letters, stage_widths, strict=True):
                self._check_width(letter, width)

    def _check_block_channels(self) -> None:
        widths = self.block_channels if isinstance(self.block_channels, tuple) else ()
        lengths = tuple(len(stage) for stage in widths if isinstance(stage, tuple))
        if lengths != tuple(map(len, self.blocks)):
            raise ValueError(
                f"block_channels={self.block_channels!r}: expected one width for each of {self.blocks!r}"
            )
        for stage, (stage_widths, letters) in enumerate(zip(widths, self.blocks, strict=True), 1):
            check_integers(f"block_channels of stage {stage}", stage_widths, 1, len(letters))

    def _check_width(self, letter: str, width: int) -> None:
        parts = (width,) if letter == CONVOLUTION else self.split(width)
        if self.mix_ratio in (0, 1):  # without the branch that gets nothing
            parts = tuple(part for part in parts if part)
        if min(parts) < 1 or any(part % self.head_dim for part in parts):
            raise ValueError(
                f"a {letter} block of {width} channels has parts of {parts} channels: expected positive "
                f"multiples of head_dim={self.head_dim} (mix_ratio={self.mix_ratio}, divisor={self.divisor})"
            )
        if letter == CONVOLUTION and self.conv_block == "bottleneck" and width % EXPANSION:
            raise ValueError(f"a bottleneck of {width} channels: expected a multiple of {EXPANSION}")

    @property
    def widths(self) -> tuple[tuple[int, ...], ...]:
        """Output channels of each block of each stage."""
        if self.block_channels is not None:
            return self.block_channels
        pairs = zip(self.conv_channels, self.transformer_channels, strict=True)
        return tuple(
            tuple(conv if letter == CONVOLUTION else transformer for letter in letters)
            for letters, (conv, transformer) in zip(self.blocks, pairs, strict=True)
        )

    def split(self, width: int) -> tuple[int, int]:
        """Channels of a transformer block that go through attention, and those that are convolved."""
        if self.mix_ratio in (0, 1):
            return (width, 0) if self.mix_ratio else (0, width)
        attention = make_divisible(int(width * self.mix_ratio), self.divisor)
        return attention, width - attention

    def hidden(self, letter: str, width: int) -> int:
        """Hidden channels of the MLP of a block."""
        ratio = self.conv_mlp_ratio if letter == CONVOLUTION else self.transformer_mlp_ratio
        return make_divisible(width * ratio, self.divisor)


def _is_stage(letters: object) -> bool:
    return isinstance(letters, str) and letters != "" and not set(letters) - {CONVOLUTION, TRANSFORMER}


def _frozen(value):
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def check_size(config: NextViTConfig, height: int, width: int) -> None:
    """Raise ValueError, naming the nearest larger size that works, if an attention would have no key."""
    if _fits(config, height, width):
        return
    extra = 0
    while True:  # ends: every size beyond 8 * max(s) fits
        candidates = [(height + extra - right, width + right) for right in range(extra + 1)]
        fitting = [size for size in candidates if _fits(config, *size)]
        if fitting:
            best = min(fitting, key=lambda size: abs(size[0] - size[1]))
            raise ValueError(
                f"images of {height}x{width} are too small for this Next-ViT (reduction_ratios="
                f"{config.reduction_ratios}); the nearest size that works is {best[0]}x{best[1]}"
            )
        extra += 1


def _fits(config: NextViTConfig, height: int, width: int) -> bool:
    if min(height, width) < 1:
        return False
    for letters, ratio, stride in zip(config.blocks, config.reduction_ratios, _total_strides(), strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        if TRANSFORMER in letters and config.mix_ratio and rows * columns < ratio**2:
            return False
        if CONVOLUTION in letters and config.conv_block == "transformer" and min(rows, columns) < ratio:
            return False  # keys and values come from a convolution of kernel and stride `ratio`
    return True


def _total_strides() -> tuple[int, ...]:
    strides = [4]
    for stride in STRIDES:
        strides.append(strides[-1] * stride)
    return tuple(strides[1:])


def block_inputs(config: NextViTConfig) -> tuple[tuple[int, ...], ...]:
    """Input channels of each block of each stage."""
    flat = [config.stem_channels[-1], *(width for stage in config.widths for width in stage)]
    inputs = iter([before for before, _ in pairwise(flat)])
    return tuple(tuple(next(inputs) for _ in stage) for stage in config.widths)
