"""FastViT. Parameters in training form and multiply-adds in deploy form were counted on the reference
implementation; parameters in deploy form follow from its own deploy keys (tests/weights/test_fused.py)."""

from families import Family, Golden


def _overrides(config):
    return dict(
        depths=config["layers"],
        widths=config["embed_dims"],
        mlp_ratios=config["mlp_ratios"],
        token_mixers=config["token_mixers"],
        position_kernels=[0 if kernel is None else kernel[0] for kernel in config["pos_embs"]],
        num_classes=10,
        drop_path_rate=0.0,
    )


FAMILY = Family(
    small={
        "fastvit_sa12": dict(
            depths=(1, 1, 1, 1),
            widths=(8, 8, 16, 32),
            head_dim=16,
            # XLA's time to compile grows with the taps; 7x7 kernels are those of the recorded models.
            ffn_kernels=(0, 3, 3, 3),
            patch_kernels=(3, 5, 5),
            position_kernels=(0, 0, 0, 3),
            num_classes=5,
        ),
    },
    learning_rate=1e-2,
    goldens={
        "fastvit_a": Golden("fastvit_t8", _overrides),
        "fastvit_sa_a": Golden("fastvit_sa12", _overrides),
    },
    counts={
        "fastvit_t8": (4_026_232, 3_992_392, 685_160_448),
        "fastvit_t12": (7_553_704, 7_502_952, 1_390_944_256),
        "fastvit_s12": (9_473_576, 9_422_824, 1_793_597_440),
        "fastvit_sa12": (11_580_968, 11_539_432, 1_937_219_584),
        "fastvit_sa24": (21_554_216, 21_489_512, 3_762_069_504),
        "fastvit_sa36": (31_527_464, 31_439_592, 5_586_919_424),
        "fastvit_ma36": (44_068_004, 43_963_656, 7_814_930_432),
    },
    keys={f"fastvit_{size}": ((f"fastvit_{size}", False),) for size in ("t12", "s12", "sa24", "sa36")},
    probes={"fastvit_t8": "fastvit_t8", "fastvit_sa12": "fastvit_sa12", "fastvit_ma36": "fastvit_ma36"},
)
