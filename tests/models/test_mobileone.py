"""What is particular to MobileOne."""

import re

import jax
import numpy as np
import pytest
from families.mobileone import FAMILY

import hvjax

# timm's names -> those of apple/ml-mobileone.
TO_OFFICIAL = {
    r"^stem\.": "stage0.",
    r"^stages\.0\.": "stage1.",
    r"^stages\.1\.": "stage2.",
    r"^stages\.2\.": "stage3.",
    r"^stages\.3\.": "stage4.",
    r"\.conv_kxk\.": ".rbr_conv.",
    r"\.conv_scale\.": ".rbr_scale.",
    r"\.identity\.": ".rbr_skip.",
    r"\.attn\.fc1\.": ".se.reduce.",
    r"\.attn\.fc2\.": ".se.expand.",
    r"^head\.fc\.": "linear.",
}


@pytest.mark.parametrize("deploy", [False, True])
@pytest.mark.parametrize("name", FAMILY.goldens)
def test_official_names_mean_the_same(name, deploy, golden):
    fixture, recorded = golden(name), FAMILY.goldens[name]
    model = hvjax.create_model(recorded.name, **recorded.overrides(fixture.about["config"]), deploy=deploy)
    state_dict = fixture.deploy_params if deploy else fixture.params
    renamed = {}
    for key, tensor in state_dict.items():
        for pattern, replacement in TO_OFFICIAL.items():
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    jax.tree.map(
        np.testing.assert_array_equal, hvjax.load_torch(renamed, model), hvjax.load_torch(state_dict, model)
    )


def test_squeeze_and_excitation_at_the_end_of_stages():
    """MobileOne-S4 has it in the last five pairs of stage 3 and in stage 4, a sixteenth as wide."""
    model = hvjax.create_model("mobileone_s4")
    params = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32))
    params = params["params"]
    with_se = [
        (stage, block)
        for stage in ("stage1", "stage2", "stage3", "stage4")
        for block, node in params[stage].items()
        if "se" in node["depthwise"] and "se" in node["pointwise"]
    ]
    assert sorted(with_se) == [*(("stage3", f"block{i}") for i in (10, 6, 7, 8, 9)), ("stage4", "block1")]
    assert params["stage4"]["block1"]["pointwise"]["se"]["fc1"]["kernel"].shape == (1, 1, 2048, 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branches": 0}, "branches=0"),
        ({"se_blocks": (0, 0, 11, 0)}, r"se_blocks=\(0, 0, 11, 0\): expected at most depths=\(2, 8, 10, 1\)"),
        ({"widths": (48, 128, 256)}, "widths"),
        ({"se_divisor": 0}, "se_divisor=0"),
        ({"drop_path_rate": -0.1}, "drop_path_rate=-0.1"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        hvjax.create_model("mobileone_s0", **changes)
