"""ResNet; counts were taken on timm's implementation."""

from families import Family, Golden

FAMILY = Family(
    small={"resnet50": dict(depths=(1, 2, 1, 1), widths=(8, 8, 16, 16), stem_channels=8, num_classes=5)},
    goldens={
        "resnet_a": Golden(
            "resnet50",
            lambda config: dict(depths=config["layers"], widths=config["channels"], num_classes=10),
        ),
    },
    counts={
        "resnet50": (25_557_032, 25_530_472, 4_089_184_256),
        "resnet101": (44_549_160, 44_496_488, 7_801_405_440),
    },
    probes={"resnet50": "resnet50"},
)
