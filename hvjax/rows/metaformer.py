"""PoolFormer (Yu et al., arXiv 2111.11418), and its frame with FastViT's RepMixer as token mixer."""

from __future__ import annotations

from dataclasses import replace

from hvjax.models.metaformer import REP_MIXER, MetaFormer, MetaFormerConfig
from hvjax.reparam import metaformer as fusion
from hvjax.spec import Pretrained, Result, Spec
from hvjax.weights import metaformer as weights

TIMM = "huggingface/pytorch-image-models results/results-imagenet.csv, poolformer_s12.sail_in1k"
LICENSE = "apache-2.0"
NOTE = (
    "The frame of FastViT's latency study (arXiv 2303.14189, section 3.1), which has neither code nor an "
    "accuracy: PoolFormer with the token mixing of each block done by FastViT's RepMixer."
)


def _pooling(size: str, config: MetaFormerConfig, published: Result, crop_pct: float) -> Spec:
    twin = f"poolformer_{size}"
    return Spec(
        model=MetaFormer,
        config=config,
        fusion_rules=fusion.fusion_rules,
        weight_tables=weights.tables,
        paper="2111.11418",
        published=(published,),
        channels=(config.widths[0], *config.widths),
        crop_pct=crop_pct,
        timm=twin,
        pretrained=(Pretrained("sail_in1k", f"timm/{twin}.sail_in1k", LICENSE),),
    )


def _rep_mixer(row: Spec) -> Spec:
    return replace(
        row,
        config=replace(row.config, token_mixer=REP_MIXER),
        published=(),
        timm=None,
        pretrained=(),
        note=NOTE,
    )


_S12 = _pooling("s12", MetaFormerConfig(), Result(77.238, 224, TIMM), 0.9)
_M36 = _pooling(
    "m36",
    MetaFormerConfig(depths=(6, 6, 18, 6), widths=(96, 192, 384, 768), layer_scale=1e-6, drop_path_rate=0.3),
    Result(82.1, 224, "sail-sg/poolformer README.md"),
    0.95,
)

ROWS: dict[str, Spec] = {
    "poolformer_s12": _S12,
    "poolformer_m36": _M36,
    "metaformer_s12_repmixer": _rep_mixer(_S12),
    "metaformer_m36_repmixer": _rep_mixer(_M36),
}
