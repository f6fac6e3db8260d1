"""Exact sizes of the published models; a wrong width, bias or ratio anywhere changes them."""

import pytest
from families import merged

import hvjax
from hvjax.facts import describe

COUNTS = merged("counts")


@pytest.mark.parametrize("name", hvjax.list_models())
def test_counts(name):
    facts = describe(name)
    assert (facts.params, facts.params_deploy, facts.macs) == COUNTS[name]


def test_macs_grow_with_the_image():
    assert describe("next_vit_s", image_size=384).macs == 17_215_627_264
    assert (
        describe("next_vit_s", image_size=(224, 448)).macs > 2 * COUNTS["next_vit_s"][2]
    )  # attention is quadratic
