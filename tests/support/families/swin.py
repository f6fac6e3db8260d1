"""Swin; counts were taken on the official implementation."""

from families import Family, Golden

FAMILY = Family(
    # At 32 pixels windows are shifted in stage 1, cross the border in stage 2, and are smaller in stage 4.
    small={
        "swin_t": dict(
            embed_dim=8, depths=(2, 1, 1, 1), heads=(1, 2, 2, 4), window_size=(4, 3, 2, 2), num_classes=5
        )
    },
    goldens={
        # The official code shrinks windows and tables to maps that are smaller: stage 4 is 2x2.
        "swin_a": Golden(
            "swin_t",
            lambda config: dict(
                embed_dim=config["embed_dim"],
                depths=config["depths"],
                heads=config["num_heads"],
                window_size=(config["window_size"],) * 3 + (2,),
                mlp_ratio=config["mlp_ratio"],
                num_classes=10,
                drop_path_rate=0.0,
            ),
        ),
    },
    counts={
        "swin_t": (28_288_354, 28_288_354, 4_490_566_656),
        "swin_s": (49_606_258, 49_606_258, 8_740_875_264),
        "swin_b": (87_768_224, 87_768_224, 15_430_946_816),
    },
    probes={"swin_t": "swin_tiny"},
    keys={"swin_s": (("swin_small", False),), "swin_b": (("swin_base", False),)},
    learning_rate=1e-2,
)
