"""The ablations of Next-ViT, small."""

# Both kinds of blocks, with attention over pooled tokens in stage 2; 33x40 pixels leave partial windows and
# give stage 1 more tokens than one window.
SMALL = dict(
    blocks=("C", "T", "C", "T"),
    conv_channels=(16, 16, 32, 32),
    transformer_channels=(16, 32, 64, 64),
    stem_channels=(8, 8, 16),
    reduction_ratios=(2, 2, 1, 1),
    head_dim=8,
    divisor=8,
    window=4,
    num_classes=5,
)
ABLATIONS = {
    "bottleneck": dict(conv_block="bottleneck"),
    "convnext": dict(conv_block="convnext"),
    "transformer": dict(conv_block="transformer"),
    "pool": dict(conv_block="pool"),
    "lsa": dict(conv_block="lsa"),
    "LN and GELU": dict(norm="layer", activation="gelu"),
    "BN and GELU": dict(activation="gelu"),
    "pool with LN": dict(conv_block="pool", norm="layer", activation="gelu"),
    "no attention": dict(mix_ratio=0.0),
    "attention alone": dict(mix_ratio=1.0),
}
