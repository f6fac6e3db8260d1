"""Ladders: every different network that a knob gives, in order of size."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from export.lab.calibrate_knobs import ladder, stretch
from hvjax import registry
from hvjax.models.next_vit_strategy import hybrid_strategy


def _config(model: str, **changes: Any) -> Any:
    return replace(registry.get_spec(model).config, **changes)


def _made(model: str, knob: str) -> list[Any]:
    config = _config(model)
    return [replace(config, **rung.overrides) for rung in ladder(config, knob).rungs]


@pytest.mark.parametrize("knob", ["width", "depth", "mlp"])
@pytest.mark.parametrize(
    "model", ["next_vit_s", "fastvit_sa12", "swin_t", "pvt_small", "trt_vit_a", "cmt_ti"]
)
def test_every_rung_is_another_network_and_the_start_is_the_model(model: str, knob: str) -> None:
    config = _config(model)
    found = ladder(config, knob)
    made = [replace(config, **rung.overrides) for rung in found.rungs]
    assert len(set(made)) == len(made) > 10
    assert made[found.start] == config
    assert found.rungs[found.start].factor == 1
    factors = [rung.factor for rung in found.rungs]
    assert factors == sorted(factors)


def test_a_rung_of_next_vit_widens_by_single_heads() -> None:
    for before, after in pairwise(_made("next_vit_s", "width")):
        for name in ("conv_channels", "transformer_channels"):
            steps = [b - a for a, b in zip(getattr(before, name), getattr(after, name), strict=True)]
            assert set(steps) <= {0, 32}


def test_widths_of_blocks_that_a_stage_lacks_stay() -> None:
    config = _config("next_vit_s", blocks=hybrid_strategy("CCCT"))
    for rung in ladder(config, "width").rungs:
        if rung.overrides:
            assert rung.overrides["transformer_channels"][:3] == config.transformer_channels[:3]
            assert rung.overrides["conv_channels"][3] == config.conv_channels[3]


def test_heads_follow_the_width() -> None:
    assert {c.embed_dim // c.heads[0] for c in _made("swin_t", "width")} == {32}
    assert {c.embed_dim * 8 // c.heads[3] for c in _made("swin_t", "width")} == {32}
    for config in _made("pvt_small", "width"):
        assert [w // h for w, h in zip(config.widths, config.heads, strict=True)] == [64] * 4


def test_groups_stay_whole() -> None:
    assert all(width % 112 == 0 for config in _made("regnety_160", "width") for width in config.widths)


def test_depth_keeps_transformer_blocks_at_the_ends_of_groups() -> None:
    for config in _made("next_vit_s", "depth"):
        assert set(config.blocks[0]) == {"C"}
        assert all(stage.endswith("T") for stage in config.blocks[1:])


@pytest.mark.parametrize(
    ("letters", "count", "expected"),
    [
        ("CCCCTCCCCT", 10, "CCCCTCCCCT"),
        ("CCCCTCCCCT", 15, "CCCCTCCCCTCCCCT"),
        ("CCCT", 2, "CT"),
        ("CCT", 1, "T"),
        ("CCC", 4, "CCCC"),
        ("TT", 3, "TTT"),
    ],
)
def test_stretch(letters: str, count: int, expected: str) -> None:
    assert stretch(letters, count) == expected


def test_any_number_of_the_config_is_a_knob() -> None:
    found = ladder(_config("next_vit_s"), "stem_channels", 0.5, 2)
    assert found.rungs[0].overrides == {"stem_channels": (32, 16, 32)}
    assert found.rungs[-1].overrides == {"stem_channels": (128, 64, 128)}


def test_the_factors_are_limits() -> None:
    found = ladder(_config("resnet50"), "width", 0.9, 1.1)
    assert 0.9 <= found.rungs[0].factor < 1 < found.rungs[-1].factor <= 1.1


@pytest.mark.parametrize(
    ("model", "knob", "message"),
    [
        ("resnet50", "mlp", "knob 'mlp': ResNetConfig has no such number; .* one of depths, stem_channels"),
        ("resnet50", "colour", "knob 'colour'"),
        ("next_vit_s", "conv_block", "knob 'conv_block'"),  # a word, not a number
        ("next_vit_s", "num_classes", "knob 'num_classes'"),
        ("pyramid_tnt_ti", "width", "knob 'width'"),
    ],
)
def test_a_knob_that_is_not_there(model: str, knob: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ladder(_config(model), knob)


def test_blocks_with_widths_of_their_own_are_not_scaled() -> None:
    base = _config("next_vit_s")
    with pytest.raises(ValueError, match="block_channels"):
        ladder(replace(base, block_channels=base.widths), "width")


@pytest.mark.parametrize(("low", "high"), [(1.1, 2), (0.5, 0.9), (0, 1), (-1, 1)])
def test_factors_must_hold_the_network_as_it_is(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="0 < lowest <= 1 <= highest"):
        ladder(_config("resnet50"), "width", low, high)
