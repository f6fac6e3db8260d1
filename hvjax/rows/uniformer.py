"""UniFormer (Li et al., arXiv 2201.09450); published results of Sense-X/UniFormer image_classification."""

from __future__ import annotations

from dataclasses import replace

from hvjax.models.uniformer import UniFormer
from hvjax.models.uniformer_config import UniFormerConfig
from hvjax.reparam import uniformer as fusion
from hvjax.spec import Result, Spec
from hvjax.weights import uniformer as weights

SOURCE = "Sense-X/UniFormer image_classification/README.md"

SMALL = UniFormerConfig()
PLUS = replace(SMALL, depths=(3, 5, 9, 3), head_dim=32, conv_stem=True)
BASE = replace(SMALL, depths=(5, 8, 20, 7), drop_path_rate=0.3)


def _row(
    config: UniFormerConfig, top1: float, token_labelling: float, top1_384: float, note: str = ""
) -> Spec:
    """Row of one size; the weights were trained as DeiT's, with and without token labelling."""
    return Spec(
        model=UniFormer,
        config=config,
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2201.09450",
        published=(
            Result(top1, 224, SOURCE),
            Result(token_labelling, 224, f"{SOURCE}, trained with token labelling"),
            Result(top1_384, 384, f"{SOURCE}, trained with token labelling"),
        ),
        channels=(64, 64, 128, 320, 512),
        note=note,
    )


ROWS: dict[str, Spec] = {
    "uniformer_s": _row(SMALL, 82.9, 83.4, 84.6),
    "uniformer_s_plus": _row(
        PLUS, 83.4, 83.9, 84.9, note="the reference also has weights of this size with head_dim=64"
    ),
    "uniformer_b": _row(
        BASE, 83.8, 85.1, 86.0, note="with layer_scale=1e-6 the published top-1 at 224 is 83.9"
    ),
}
