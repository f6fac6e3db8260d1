"""The TRT-ViT study; counts are our own, checked by formula in tests/models/test_trt_vit.py."""

from families import Family

FAMILY = Family(
    # All kinds of blocks, attention to a reduced map, and parts of unequal width (R is not 1/2).
    small={
        "trt_vit_c": dict(
            depths=(1, 1, 1, 3),
            placement=("C", "T", "C", "ABM"),
            channels=(16, 16, 32, 64),
            shrink_ratio=0.25,
            reduction_ratios=(1, 2, 1, 1),
            stem_channels=8,
            head_dim=8,
            num_classes=5,
        ),
    },
    counts={
        "trt_vit_a": (18_577_192, 18_561_000, 2_774_903_808),
        "trt_vit_b": (41_172_264, 41_149_672, 4_027_156_480),
        "trt_vit_c": (68_037_928, 68_008_680, 5_650_259_968),
        "trt_vit_d": (99_098_408, 99_058_664, 7_875_866_624),
        "mixnet_v": (30_183_464, 30_165_864, 4_310_911_488),
        "refined_mixnet_v": (41_367_848, 41_352_168, 4_241_217_024),
        "mixnet_a": (57_879_080, 57_849_192, 5_012_086_272),
        "mixnet_b": (50_007_080, 49_981_032, 4_626_734_592),
        "mixnet_c": (50_007_080, 49_981_032, 4_626_734_592),
        "refined_resnet50": (36_366_120, 36_331_496, 4_525_916_160),
    },
)
