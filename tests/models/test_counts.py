"""Exact sizes of the published models; a wrong width, bias or ratio anywhere changes them."""

import pytest

import hvjax
from hvjax.facts import describe

# Parameters in training and deploy form, multiply-adds at 224x224 (counted on the reference implementations;
# deploy: all norms folded, which leaves of each norm before a layer nothing and of each after one its bias).
COUNTS = {
    "next_vit_s": (31_763_368, 31_731_720, 5_794_420_224),
    "next_vit_b": (44_818_856, 44_771_592, 8_273_817_088),
    "next_vit_l": (57_874_344, 57_811_464, 10_753_213_952),
    "resnet50": (25_557_032, 25_530_472, 4_089_184_256),
    "resnet101": (44_549_160, 44_496_488, 7_801_405_440),
}


@pytest.mark.parametrize("name", hvjax.list_models())
def test_counts(name):
    facts = describe(name)
    assert (facts.params, facts.params_deploy, facts.macs) == COUNTS[name]


def test_macs_grow_with_the_image():
    assert describe("next_vit_s", image_size=384).macs == 17_215_627_264
    assert (
        describe("next_vit_s", image_size=(224, 448)).macs > 2 * COUNTS["next_vit_s"][2]
    )  # attention is quadratic
