"""PoolFormer; parameters and multiply-adds of S12 were counted on timm's implementation.

The counts with RepMixer follow from those with pooling, see tests/models/test_metaformer.py.
"""

from families import Family, Golden

_SMALL = dict(depths=(1, 1, 1, 1), widths=(8, 8, 16, 32), num_classes=5)

FAMILY = Family(
    small={"poolformer_s12": _SMALL, "metaformer_s12_repmixer": _SMALL},
    goldens={
        "poolformer_a": Golden(
            "poolformer_s12",
            lambda config: dict(
                depths=config["depths"], widths=config["dims"], num_classes=10, drop_path_rate=0.0
            ),
        ),
    },
    counts={
        "poolformer_s12": (11_915_176, 11_908_520, 1_812_267_008),
        "poolformer_m36": (56_172_520, 56_146_024, 8_758_788_096),
        "metaformer_s12_repmixer": (11_968_424, 11_935_144, 1_821_524_480),
        "metaformer_m36_repmixer": (56_384_488, 56_252_008, 8_797_398_528),
    },
    keys={"poolformer_s12": (("poolformer_s12", False),)},
    # What the mean over the window takes away again; the reference's state dict has it, too.
    without_gradient=r".*\['norm1'\]\['bias'\]",
    drops_borders=("poolformer_s12", "metaformer_s12_repmixer"),
)
