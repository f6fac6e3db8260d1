"""`python -m export.studies.next_blocks`: other blocks, attention shares, norms, activations in Next-ViT-S.

Next-ViT (arXiv 2207.05501) compares its convolution block with those of others, the share r of attention in
its transformer block, and batch norm and ReLU with layer norm and GELU. Which networks those are here:
docs/next_vit_ablations.md. All are measured with the widths of Next-ViT-S, other blocks at its latency too.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from export.lab.study import main
from export.studies._next_vit import Part
from export.studies._next_vit_study import study

SOURCE = "Next-ViT, arXiv 2207.05501, ablations; how the variants are built is inferred"
PARTS = (
    Part(
        "blocks",
        {
            "BottleNeck": {"conv_block": "bottleneck"},
            "ConvNeXt": {"conv_block": "convnext", "conv_mlp_ratio": 4},
            "Transformer": {"conv_block": "transformer"},
            "Pooling": {"conv_block": "pool", "activation": "gelu"},
            "LSA": {"conv_block": "lsa"},
        },
        calibrated=True,
    ),
    Part("share of attention", {f"r = {r:g}": {"mix_ratio": r} for r in (0, 0.25, 0.5, 1)}),
    Part(
        "norm and activation",
        {"BN + GELU": {"activation": "gelu"}, "LN + GELU": {"norm": "layer", "activation": "gelu"}},
    ),
)


#: One of each, for --small.
SMALL_VARIANTS = ("BottleNeck", "r = 0", "LN + GELU")


def parts(small: bool) -> list[Part]:
    """Blocks, shares of attention, norms and activations."""
    if not small:
        return list(PARTS)
    return [
        replace(
            part, variants={name: part.variants[name] for name in SMALL_VARIANTS if name in part.variants}
        )
        for part in PARTS
    ]


STUDY = study(
    "next_blocks", "Blocks, shares of attention, norms and activations in Next-ViT-S", SOURCE, parts
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
