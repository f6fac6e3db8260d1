"""RegNetY; counts were taken on timm's implementation."""

from families import Family, Golden
from hvjax.models.regnet import linear_design

FAMILY = Family(
    small={
        "regnety_160": dict(
            depths=(1, 2, 1, 1), widths=(8, 16, 16, 24), group_width=8, stem_channels=8, num_classes=5
        )
    },
    goldens={
        "regnety_a": Golden(
            "regnety_160",
            lambda config: dict(
                linear_design(
                    config["w0"], config["wa"], config["wm"], config["depth"], config["group_size"]
                ),
                group_width=config["group_size"],
                squeeze_ratio=config["se_ratio"],
                stem_channels=config["stem_width"],
                num_classes=10,
            ),
        ),
    },
    # Deploy form: of each norm only the bias is left.
    counts={"regnety_160": (83_590_140, 83_528_732, 15_911_510_272)},
    keys={"regnety_160": (("regnety_160", False),)},
    learning_rate=1e-2,
)
