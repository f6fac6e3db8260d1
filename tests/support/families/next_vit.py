"""Next-ViT; counts were taken on the reference implementation."""

from families import Family, Golden

FAMILY = Family(
    small={
        "next_vit_s": dict(
            blocks=("C", "C", "CT", "T"),
            conv_channels=(16, 16, 32, 32),
            transformer_channels=(16, 64, 64, 64),
            stem_channels=(8, 8, 16),
            head_dim=16,
            divisor=16,
            num_classes=5,
        ),
    },
    goldens={
        "nextvit_a": Golden(
            "next_vit_s",
            lambda config: dict(
                blocks=("CC", "CT", "CCCCT", "CT"),
                block_channels=config["stage_out_channels"],
                stem_channels=config["stem_chs"],
                head_dim=config["head_dim"],
                reduction_ratios=config["sr_ratios"],
                mix_ratio=config["mix_block_ratio"],
                num_classes=10,
                drop_path_rate=0.0,
            ),
        ),
    },
    # Deploy form: of a norm before a layer nothing is left, of one after a layer its bias.
    counts={
        "next_vit_s": (31_763_368, 31_731_720, 5_794_420_224),
        "next_vit_b": (44_818_856, 44_771_592, 8_273_817_088),
        "next_vit_l": (57_874_344, 57_811_464, 10_753_213_952),
    },
    probes={"next_vit_s": "nextvit_small", "next_vit_b": "nextvit_base"},
    # A key bias adds the same to all scores of a query, which the softmax cancels: only rounding is left.
    without_gradient=r".*\['k'\]\['bias'\]",
)
