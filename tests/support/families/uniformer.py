"""UniFormer; counts were taken on the reference implementation."""

from families import Family, Golden


def _overrides(config):
    return dict(
        depths=config["depth"],
        widths=config["embed_dim"],
        head_dim=config["head_dim"],
        mlp_ratio=config["mlp_ratio"],
        conv_stem=config["conv_stem"],
        num_classes=10,
        drop_path_rate=0.0,
    )


# Deploy form: of a batch norm before or after a layer with a bias nothing is left.
FAMILY = Family(
    small={
        "uniformer_s": dict(
            depths=(1, 1, 1, 1), widths=(16, 16, 32, 32), head_dim=16, mlp_ratio=2, num_classes=5
        ),
    },
    goldens={
        "uniformer_a": Golden("uniformer_s", _overrides),
        "uniformer_convstem_a": Golden("uniformer_s_plus", _overrides),
    },
    counts={
        "uniformer_s": (21_545_256, 21_541_416, 3_631_774_208),
        "uniformer_s_plus": (24_032_552, 24_026_088, 4_201_033_472),
        "uniformer_b": (49_776_552, 49_770_152, 8_249_019_904),
    },
    probes={"uniformer_s": "uniformer_small"},
    keys={"uniformer_b": (("uniformer_base", False),)},
    drops_borders=("uniformer_s", "uniformer_b"),
)
