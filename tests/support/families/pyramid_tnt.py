"""PyramidTNT; counts were taken on the reference implementation."""

from families import Family, Golden

# Deploy form: of the batch norms of the stem nothing is left, its convolutions have biases anyway.
FAMILY = Family(
    small={
        "pyramid_tnt_ti": dict(
            image_size=(64, 128),
            depths=(1, 1, 1, 1),
            outer_widths=(32, 32, 32, 32),
            inner_widths=(4, 4, 4, 4),
            outer_heads=(2, 2, 2, 2),
            inner_heads=(1, 2, 2, 2),
            mlp_ratio=2,
            num_classes=5,
        ),
    },
    goldens={
        "pyramidtnt_a": Golden(
            "pyramid_tnt_s",
            lambda config: dict(
                image_size=config["img_size"],
                depths=config["depths"],
                outer_widths=config["outer_dims"],
                inner_widths=config["inner_dims"],
                outer_heads=config["outer_heads"],
                inner_heads=config["inner_heads"],
                num_classes=10,
                drop_path_rate=0.0,
            ),
        ),
    },
    counts={
        "pyramid_tnt_ti": (10_578_529, 10_578_219, 586_434_560),
        "pyramid_tnt_s": (31_953_200, 31_952_704, 3_283_341_312),
        "pyramid_tnt_m": (84_943_572, 84_942_828, 8_204_630_016),
        "pyramid_tnt_b": (156_990_072, 156_989_080, 15_966_642_176),
    },
    probes={"pyramid_tnt_s": "pyramidtnt_s"},
    keys={f"pyramid_tnt_{size}": ((f"pyramidtnt_{size}", False),) for size in ("ti", "m", "b")},
)
