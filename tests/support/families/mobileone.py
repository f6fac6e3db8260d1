"""MobileOne; counts were taken on timm's implementation, multiply-adds in deploy form."""

from families import Family, Golden


def _overrides(config):
    return dict(
        depths=config["depths"],
        widths=config["dims"],
        stem_channels=config["dims"][0],
        se_blocks=config["se_blocks"],
        branches=config["num_conv_branches"],
        se_divisor=8,
        num_classes=10,
    )


FAMILY = Family(
    small={
        "mobileone_s4": dict(
            se_blocks=(0, 0, 0, 1),
            depths=(1, 1, 1, 1),
            widths=(8, 16, 16, 32),
            stem_channels=8,
            branches=2,
            se_ratio=0.5,  # with fewer hidden channels the ReLU may shut all of them
            num_classes=5,
        ),
    },
    goldens={
        "mobileone_a": Golden("mobileone_s0", _overrides),
        "mobileone_se_a": Golden("mobileone_s4", _overrides),
    },
    counts={
        "mobileone_s0": (5_293_272, 2_078_504, 275_110_400),
        "mobileone_s1": (4_825_192, 4_764_840, 825_057_024),
        "mobileone_s2": (7_884_648, 7_808_168, 1_298_426_496),
        "mobileone_s3": (10_170_600, 10_078_312, 1_895_790_592),
        "mobileone_s4": (14_951_248, 14_838_352, 2_979_269_760),
    },
    keys={f"mobileone_s{size}": ((f"mobileone_s{size}", False),) for size in range(5)},
)
