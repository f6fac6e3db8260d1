"""EfficientFormer; counts were taken on timm's implementation."""

from families import Family, Golden

SMALL = dict(
    depths=(1, 1, 1, 2),
    widths=(16, 16, 32, 64),
    attention_blocks=1,
    heads=2,
    key_dim=4,
    value_ratio=2,
    image_size=(33, 70),  # 2x3 positions in stage 4
    layer_scale_init=0.5,
    num_classes=5,
)

FAMILY = Family(
    small={"efficientformer_l7": SMALL},
    goldens={
        "efficientformer_a": Golden(
            "efficientformer_l7",
            lambda config: dict(
                depths=config["depths"],
                widths=config["embed_dims"],
                attention_blocks=config["num_vit"],
                mlp_ratio=config["mlp_ratios"],
                heads=config["num_heads"],
                key_dim=config["key_dim"],
                value_ratio=config["attn_ratio"],
                image_size=(40, 70),
                num_classes=10,
            ),
        ),
    },
    # MACs are those of the deploy form; timm runs the second head too (classes * width more).
    # Deploy form: of a batch norm nothing is left, of two heads one, of the layer scales those of poolings.
    counts={
        "efficientformer_l1": (12_289_928, 11_805_088, 1_290_836_736),
        "efficientformer_l3": (31_406_000, 30_824_840, 3_906_061_312),
        "efficientformer_l7": (82_229_328, 81_350_024, 10_118_557_696),
    },
)
