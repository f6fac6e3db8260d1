"""Which parameters decay, learn more slowly or not at all, in models of the registry."""

from typing import Any

import jax
import pytest

import hvjax
from hvjax.structure import abstract_variables
from train_tpu.errors import UserError
from train_tpu.learning.groups import check_still_norms, decayed, frozen, learning_rate_scales, parameter_name
from train_tpu.recipes import dense


def params_of(name: str, **overrides: Any) -> Any:
    return abstract_variables(hvjax.create_model(name, **overrides))["params"]


def names_where(tree: Any, value: Any) -> list[str]:
    return [parameter_name(p) for p, leaf in jax.tree_util.tree_leaves_with_path(tree) if leaf == value]


SWIN = {"embed_dim": 8, "depths": (1, 1, 1, 1), "heads": (1, 1, 1, 1)}


def test_only_kernels_decay_by_default(tiny_config) -> None:
    attention = decayed(tiny_config().optimizer, params_of("swin_t", **SWIN))["stage1"]["block1"]["attn"]
    assert attention == {
        "qkv": {"kernel": True, "bias": False},
        "proj": {"kernel": True, "bias": False},
        "relative_position_bias": False,
    }


@pytest.mark.parametrize(
    ("changes", "table", "gamma"),
    [
        ({}, True, False),
        ({"no_decay": "relative_position"}, False, False),
        ({"no_decay": "relative_position", "decay_too": r"norm1\.scale$"}, False, True),
    ],
)
def test_timm_decays_what_has_two_axes(tiny_config, changes: dict, table: bool, gamma: bool) -> None:
    options = tiny_config({"optimizer.decay": "timm"} | {f"optimizer.{k}": v for k, v in changes.items()})
    block = decayed(options.optimizer, params_of("swin_t", **SWIN))["stage1"]["block1"]
    assert block["attn"]["relative_position_bias"] is table
    assert block["norm1"] == {"scale": gamma, "bias": False}
    assert block["attn"]["qkv"] == {"kernel": True, "bias": False}


def test_layers_of_a_small_swin() -> None:
    """Stem, four blocks, head: what merges patches counts with the block that follows."""
    scales = learning_rate_scales(0.5, params_of("swin_t", **SWIN))
    layers = {top: set(jax.tree.leaves(scales[top])) for top in scales}
    assert layers == {
        "stem": {0.5**5},
        "stage1": {0.5**4},
        "merge1": {0.5**3},
        "stage2": {0.5**3},
        "merge2": {0.5**2},
        "stage3": {0.5**2},
        "merge3": {0.5},
        "stage4": {0.5},
        "norm": {0.5},
        "head": {1.0},
    }


@pytest.mark.parametrize("name", hvjax.list_models())
def test_layers_of_every_model(name: str) -> None:
    """The head learns at the full rate, the first layers slowest, and there is a layer for each block."""
    params = params_of(name)
    scales = learning_rate_scales(0.5, params)
    assert set(jax.tree.leaves(scales["head"])) == {1.0}
    found = sorted(set(jax.tree.leaves(scales)))
    assert found == [0.5**i for i in range(len(found))][::-1]
    blocks = sum(1 for top in params if top.startswith("stage") for b in params[top] if b.startswith("block"))
    halves = 2 if name.startswith("mobileone") else 1
    assert len(found) == 1 + blocks * halves + 1


@pytest.mark.parametrize("name", hvjax.list_models())
def test_linear_probe_trains_the_head_only(name: str) -> None:
    trained = names_where(frozen("backbone", params_of(name)), False)
    heads = ["head.distillation", "head.label"] if name.startswith("efficientformer") else ["head"]
    assert sorted(trained) == [f"{head}.{part}" for head in heads for part in ("bias", "kernel")]


def test_freezing_by_name() -> None:
    tree = frozen(r"^(stem|stage1)\.", params_of("resnet50"))
    assert {name.split(".")[0] for name in names_where(tree, True)} == {"stem", "stage1"}
    assert "stem" not in {name.split(".")[0] for name in names_where(tree, False)}
    assert frozen("", params_of("resnet50")) is None


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("stages1", r"freeze='stages1' fits no parameter \(names are "),
        (".", r"freeze='.' fits every parameter: nothing would be trained"),
        ("(stem", r"freeze='\(stem' is not a regular expression"),
    ],
)
def test_freezing_that_cannot_work(freeze: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        frozen(freeze, params_of("resnet50"))


def test_still_norms_that_fit_nothing_are_refused() -> None:
    stats = abstract_variables(hvjax.create_model("resnet50", num_classes=3))["batch_stats"]
    check_still_norms("", stats)
    check_still_norms(r"^stage1\.", stats)
    with pytest.raises(
        UserError, match=r"still_norms='\^backbone' fits no batch norm \(names are stage1\.block1\."
    ):
        check_still_norms("^backbone", stats)
    with pytest.raises(UserError, match=r"fits no batch norm \(the model has none\)"):
        check_still_norms("norm", {})


def test_probe_without_a_head_is_refused() -> None:
    with pytest.raises(UserError, match="every parameter"):
        frozen("backbone", params_of("resnet50", num_classes=0))


def segmenter_params() -> Any:
    return params_of("swin_t+upernet", num_classes=3, channels=8, auxiliary_channels=8, backbone=SWIN)


def test_layers_of_a_segmenter_are_those_of_its_backbone_and_the_head() -> None:
    """The head learns at the full rate; each layer of the backbone as in the classifier."""
    scales = learning_rate_scales(0.5, segmenter_params())
    assert set(jax.tree.leaves({top: scales[top] for top in scales if top != "backbone"})) == {1.0}
    classifier = learning_rate_scales(0.5, params_of("swin_t", **SWIN))
    backbone = scales["backbone"]
    for top in ("stem", "stage1", "merge1", "stage4"):
        assert set(jax.tree.leaves(backbone[top])) == set(jax.tree.leaves(classifier[top]))


def test_frozen_backbone_of_a_segmenter() -> None:
    tree = frozen("backbone", segmenter_params())
    assert set(jax.tree.leaves(tree["backbone"])) == {True}
    assert set(jax.tree.leaves({top: tree[top] for top in tree if top != "backbone"})) == {False}


def test_decay_as_in_swins_paramwise_cfg(tiny_config) -> None:
    """All but the backbone's norms, those of its outputs, and tables of positions; biases decay too."""
    config = tiny_config()
    with config.unlocked():
        dense.no_decay_of_norms(config)
    tree = decayed(config.optimizer, segmenter_params())
    still = names_where(tree, False)
    assert still and all(
        name.startswith("output_norms.") or ".norm" in name or "relative_position" in name for name in still
    )
    assert all(name.startswith(("output_norms.", "backbone.")) for name in still)
    block = tree["backbone"]["stage1"]["block1"]
    assert block["attn"]["qkv"] == {"kernel": True, "bias": True}
    assert block["norm1"] == {"scale": False, "bias": False}
    assert set(jax.tree.leaves(tree["head"])) == {True}


def test_everything_decays_where_a_recipe_says_so(tiny_config) -> None:
    options = tiny_config({"optimizer.decay_too": dense.EVERYTHING}).optimizer
    assert set(jax.tree.leaves(decayed(options, segmenter_params()))) == {True}
