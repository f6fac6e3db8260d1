"""The numbers of a FastViT, checked when they are put together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from hvjax.models.numbers import check_integer, check_integers, check_positive, check_rate

REP_MIXER, ATTENTION = "repmixer", "attention"
MIXERS = (REP_MIXER, ATTENTION)
STAGES = 4
SMALL_KERNEL = 3  # of the branch beside a large-kernel patch embedding


@dataclass(frozen=True)
class FastViTConfig:
    """One variant of FastViT (arXiv 2303.14189, table 2). The defaults are FastViT-T8.

    Attributes:
      num_classes: size of the head; 0 for no head.
      in_channels: channels of the images.
      drop_path_rate: stochastic depth of the last block, rising linearly from 0; RepMixer itself has none.
      depths, widths: blocks and channels of each stage.
      mlp_ratios: hidden channels of the feed-forward networks over their channels, for each stage.
      token_mixers: "repmixer" or "attention" for each stage.
      position_kernels: for each stage the kernel of the conditional position encoding before its first block,
        0 for none.
      ffn_kernels: for each stage the depthwise kernel of its feed-forward networks, 0 for none.
      patch_kernels: depthwise kernels of the patch embeddings before stages 2, 3 and 4.
      mixer_kernel: of RepMixer.
      head_dim: channels per attention head.
      expansion: channels after the last convolution over those of stage 4, a whole number.
      se_ratio: hidden channels of its squeeze-and-excitation over its channels.
      layer_scale: start value of all layer scales.
      official_taps: the feature "stage4" is what the official code hands to dense prediction where stage 4
        has a position encoding: the encoding's output, before the stage's blocks.

    Raises:
      ValueError: if the numbers do not fit together.
    """

    num_classes: int = 1000
    in_channels: int = 3
    drop_path_rate: float = 0.0
    depths: tuple[int, ...] = (2, 2, 4, 2)
    widths: tuple[int, ...] = (48, 96, 192, 384)
    mlp_ratios: tuple[float, ...] = (3, 3, 3, 3)
    token_mixers: tuple[str, ...] = (REP_MIXER,) * STAGES
    position_kernels: tuple[int, ...] = (0, 0, 0, 0)
    ffn_kernels: tuple[int, ...] = (7, 7, 7, 7)
    patch_kernels: tuple[int, ...] = (7, 7, 7)
    mixer_kernel: int = 3
    head_dim: int = 32
    expansion: int = 2
    se_ratio: float = 1 / 16
    layer_scale: float = 1e-5
    official_taps: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, as JSON and config files give them, are fine too
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, tuple(value) if isinstance(value, list) else value)
        for name, least in (("num_classes", 0), ("in_channels", 1), ("head_dim", 1), ("expansion", 1)):
            check_integer(name, getattr(self, name), least)
        for name in ("depths", "widths"):
            check_integers(name, getattr(self, name), 1, STAGES)
        check_rate("drop_path_rate", self.drop_path_rate)
        check_positive("layer_scale", self.layer_scale)
        check_positive("se_ratio", self.se_ratio)
        self._check_kernels()
        self._check_stages()

    def _check_kernels(self) -> None:
        check_integer("mixer_kernel", self.mixer_kernel, 1)
        check_integers("position_kernels", self.position_kernels, 0, STAGES)
        check_integers("ffn_kernels", self.ffn_kernels, 0, STAGES)
        check_integers("patch_kernels", self.patch_kernels, SMALL_KERNEL, STAGES - 1)
        kernels = {name: getattr(self, name) for name in ("position_kernels", "ffn_kernels", "patch_kernels")}
        for name, values in {**kernels, "mixer_kernel": (self.mixer_kernel,)}.items():
            if any(value and value % 2 == 0 for value in values):
                shown = values if name in kernels else values[0]
                raise ValueError(f"{name}={shown!r}: expected odd numbers (a kernel has a centre)")

    def _check_stages(self) -> None:
        if not _is_tuple_of(self.token_mixers, lambda mixer: mixer in MIXERS):
            raise ValueError(
                f"token_mixers={self.token_mixers!r}: expected {STAGES} of {' and '.join(map(repr, MIXERS))}"
            )
        if not _is_tuple_of(self.mlp_ratios, lambda ratio: isinstance(ratio, int | float) and ratio > 0):
            raise ValueError(f"mlp_ratios={self.mlp_ratios!r}: expected {STAGES} numbers > 0")
        for before, after in pairwise(self.widths):
            if after % before:
                raise ValueError(
                    f"widths={self.widths!r}: expected each to be a multiple of the one before it, as patch "
                    "embeddings begin with a convolution of each channel alone; "
                    f"{after} is none of {before}"
                )
        for mixer, width in zip(self.token_mixers, self.widths, strict=True):
            if mixer == ATTENTION and width % self.head_dim:
                raise ValueError(
                    f"attention on {width} channels: expected a multiple of head_dim={self.head_dim}"
                )


def _is_tuple_of(values: Any, fits: Any) -> bool:
    return isinstance(values, tuple) and len(values) == STAGES and all(map(fits, values))


_NO_LARGE_KERNELS: dict[str, Any] = dict(ffn_kernels=(0, 0, 0, 0), patch_kernels=(3, 3, 3))
_ATTENTION_IN_4: dict[str, Any] = dict(
    token_mixers=(REP_MIXER, REP_MIXER, REP_MIXER, ATTENTION), position_kernels=(0, 0, 0, 7)
)
_ATTENTION_IN_3_AND_4: dict[str, Any] = dict(
    token_mixers=(REP_MIXER, REP_MIXER, ATTENTION, ATTENTION), position_kernels=(0, 0, 7, 7)
)

# The paper's comparison of large kernels with self-attention (section 3.3, variants V1 to V5), as changes to
# "fastvit_s12". Its table is not public as text; this reading reproduces what the text says of it: V2 is 20 %
# larger than V4 (here 20.2 %), and between V3 and V5 lie 11.2 % of the parameters (here 11.8 %) and a factor
# of 2.3 in latency, which is the attention in stage 3. V4 is FastViT-S12 and V5 FastViT-SA12. Inferred:
# without large kernels a feed-forward network has no depthwise convolution and a patch embedding a 3x3 one;
# each attention stage has a position encoding, as stage 4 of the published variants has.
ABLATION: dict[str, dict[str, Any]] = {
    "V1": _NO_LARGE_KERNELS,
    "V2": _NO_LARGE_KERNELS | _ATTENTION_IN_4,
    "V3": _NO_LARGE_KERNELS | _ATTENTION_IN_3_AND_4,
    "V4": {},
    "V5": _ATTENTION_IN_4,
}
