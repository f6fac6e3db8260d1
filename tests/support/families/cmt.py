"""CMT; counts were taken on the official implementation."""

from families import Family, Golden

FAMILY = Family(
    small={
        "cmt_s": dict(
            image_size=(32, 64),
            depths=(1, 1, 1, 1),
            widths=(8, 8, 16, 16),
            heads=(1, 2, 2, 4),
            mlp_ratio=2.0,
            stem_channels=8,
            head_channels=24,
            dropout_rate=0.0,
            num_classes=5,
        )
    },
    goldens={
        "cmt_a": Golden(
            "cmt_s",
            lambda config: dict(
                image_size=config["img_size"],
                depths=config["depths"],
                widths=config["embed_dims"],
                heads=config["num_heads"],
                reduction_ratios=config["sr_ratios"],
                mlp_ratio=config["mlp_ratios"][0],
                stem_channels=config["stem_channel"],
                head_channels=config["fc_dim"],
                dropout_rate=0.0,
                drop_path_rate=0.0,
                num_classes=10,
            ),
        ),
    },
    # Deploy form: norms inside convolutions are gone, those before a padded convolution are affine maps.
    counts={
        "cmt_ti": (9_492_426, 9_459_410, 638_904_600),
        "cmt_xs": (15_247_208, 15_198_544, 1_546_873_472),
        "cmt_s": (26_256_160, 26_182_176, 4_031_742_464),
        "cmt_b": (45_715_076, 45_604_292, 9_317_124_096),
    },
    keys={
        "cmt_ti": (("cmt_ti", False),),
        "cmt_xs": (("cmt_xs", False),),
        "cmt_s": (("cmt_s", False),),
        "cmt_b": (("cmt_b", False),),
    },
    # A key bias adds the same to all scores of a query, which the softmax cancels: only rounding is left.
    without_gradient=r".*\['k'\]\['bias'\]",
    learning_rate=1e-2,
)
