"""The numbers of a TRT-ViT and of the networks on the way to it, checked when they are put together."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hvjax.blocks.bottleneck import EXPANSION
from hvjax.models.numbers import NUMBERS, check_integer, check_integers, check_positive, check_rate

BOTTLENECK, TRANSFORMER = "C", "T"
PARALLEL, LOCAL_FIRST, GLOBAL_FIRST = "A", "B", "M"  # MixBlockA, MixBlockB, MixBlockC
MIXED = (PARALLEL, LOCAL_FIRST, GLOBAL_FIRST)
LETTERS = (BOTTLENECK, TRANSFORMER, *MIXED)
STRIDES = (1, 2, 2, 2)  # of the first block of each stage, after a stem of stride 4


@dataclass(frozen=True)
class TrtViTConfig:
    """One network of the TRT-ViT study (arXiv 2205.09579). The defaults are our TRT-ViT-C.

    Which numbers are given by a source, which are inferred and how they were calibrated is written in
    docs/trt_vit.md; the paper's own table of variants is not public as text.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
      depths: blocks of each stage.
      placement: kind of the blocks of each stage, as four letters ("CCCM") or four strings, each of one
        letter for all blocks of the stage or of one letter a block (("C", "C", "C", "CMM")). C is ResNet's
        BottleNeck, T a Transformer block, A, B and M are MixBlockA (both in parallel), MixBlockB (local
        then global) and MixBlockC (global then local).
      channels: output channels of each stage.
      shrink_ratio: R, the share of a mixed block's channels that its Transformer makes; its BottleNeck
        makes the others.
      head_dim: channels per attention head.
      mlp_ratio: hidden channels of the MLP over the channels of its Transformer.
      reduction_ratios: of each stage; above 1 the attention is that of PVT (`SpatialReductionAttention`),
        for Transformers on large maps.
      outer_residual: add a mixed block's input to its output where both have the same shape.
      stem_channels: channels of the 7x7 convolution.
      norm_epsilon: of the layer norms.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.1
    depths: tuple[int, ...] = (2, 2, 7, 4)
    placement: str | tuple[str, ...] = "CCCM"
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    shrink_ratio: float = 0.5
    head_dim: int = 32
    mlp_ratio: float = 3
    reduction_ratios: tuple[int, ...] = (1, 1, 1, 1)
    outer_residual: bool = True
    stem_channels: int = 64
    norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name in ("depths", "channels", "reduction_ratios"):
            check_integers(name, getattr(self, name), 1, len(STRIDES))
        for name, least in (("num_classes", 0), ("in_channels", 1), ("head_dim", 1), ("stem_channels", 1)):
            check_integer(name, getattr(self, name), least)
        check_rate("drop_path_rate", self.drop_path_rate)
        for name in ("mlp_ratio", "norm_epsilon"):
            check_positive(name, getattr(self, name))
        if not isinstance(self.shrink_ratio, NUMBERS) or not 0 < self.shrink_ratio < 1:
            raise ValueError(f"shrink_ratio={self.shrink_ratio!r}: expected a number, 0 < shrink_ratio < 1")
        if not isinstance(self.outer_residual, bool):
            raise ValueError(f"outer_residual={self.outer_residual!r}: expected True or False")
        self._check_placement()
        for letters, width in zip(self.blocks, self.channels, strict=True):
            for letter in letters:
                self._check_width(letter, width)

    def _check_placement(self) -> None:
        kinds, stages = self.placement, len(STRIDES)
        fits = isinstance(kinds, str | tuple) and len(kinds) == stages
        if not fits or not all(isinstance(k, str) and k and not set(k) - set(LETTERS) for k in kinds):
            raise ValueError(
                f"placement={kinds!r}: expected {stages} letters, or {stages} strings of them, one a stage; "
                f"the letters are {', '.join(LETTERS)}"
            )
        for stage, (letters, depth) in enumerate(zip(kinds, self.depths, strict=True), start=1):
            if len(letters) not in (1, depth):
                raise ValueError(
                    f"placement={kinds!r} has {len(letters)} letters for stage {stage}: expected one, or one "
                    f"for each of its {depth} blocks (depths={self.depths})"
                )

    def _check_width(self, letter: str, width: int) -> None:
        attended, convolved = self.split(letter, width)
        empty = letter in MIXED and not 0 < attended < width
        if empty or attended % self.head_dim or convolved % EXPANSION:
            raise ValueError(
                f"a {letter} block of {width} channels has {attended} for its Transformer and {convolved} "
                f"for its BottleNeck (shrink_ratio={self.shrink_ratio}): expected positive multiples of "
                f"head_dim={self.head_dim} and of {EXPANSION}"
            )

    @property
    def blocks(self) -> tuple[str, ...]:
        """One string a stage, one letter a block."""
        pairs = zip(self.placement, self.depths, strict=True)
        return tuple(letters * depth if len(letters) == 1 else letters for letters, depth in pairs)

    def split(self, letter: str, width: int) -> tuple[int, int]:
        """Channels that the Transformer and the BottleNeck of a block make."""
        if letter == BOTTLENECK:
            return 0, width
        attended = width if letter == TRANSFORMER else round(width * self.shrink_ratio)
        return attended, width - attended

    def ends_in_residual_sum(self) -> bool:
        """Whether the last block gives out a sum without a norm or ReLU, which the network then norms."""
        return self.blocks[-1][-1] != BOTTLENECK
