"""ConvNeXt; counts were taken on timm's implementation."""

from families import Family, Golden

FAMILY = Family(
    small={"convnext_t": dict(depths=(1, 1, 2, 1), widths=(8, 16, 16, 24), kernel_size=3, num_classes=5)},
    goldens={
        "convnext_a": Golden(
            "convnext_t",
            lambda config: dict(
                depths=config["depths"], widths=config["dims"], num_classes=10, drop_path_rate=0.0
            ),
        ),
    },
    # Deploy form: the layer scales are gone.
    counts={
        "convnext_t": (28_589_128, 28_582_504, 4_455_531_264),
        "convnext_b": (88_591_464, 88_573_416, 15_354_729_472),
    },
    keys={"convnext_t": (("convnext_tiny", False),)},
    drops_borders=("convnext_t", "convnext_b"),
    learning_rate=1e-2,
)
