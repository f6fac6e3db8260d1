"""PVT; parameters agree with the published 24.5 M and 44.2 M, and names with tests/models/test_pvt.py."""

from families import Family

FAMILY = Family(
    small={
        "pvt_small": dict(
            image_size=(64, 96),
            depths=(1, 1, 1, 1),
            widths=(8, 16, 16, 64),
            heads=(1, 2, 2, 4),
            mlp_ratios=(2, 2, 2, 2),
            reduction_ratios=(4, 2, 1, 1),
            num_classes=5,
        ),
    },
    counts={
        "pvt_small": (24_485_864, 24_485_864, 3_815_701_504),
        "pvt_medium": (44_208_104, 44_208_104, 6_659_175_424),
        "refined_pvt_small": (33_139_944, 33_139_944, 4_089_683_968),
        "refined_pvt_medium": (52_862_184, 52_862_184, 6_933_157_888),
    },
)
