"""Recipes of segmentation and detection against the numbers of their authors' configs."""

from pathlib import Path
from typing import Any

import jax
import pytest

import hvjax
from hvjax.structure import abstract_variables
from train_tpu.flags import load_recipe
from train_tpu.learning.groups import decayed, parameter_name
from train_tpu.recipes.uniformer import SMALL as SMALL_UNIFORMER

SEVERAL = tuple(range(480, 801, 32))


def recipe(repository: Path, name: str, form: str = "") -> Any:
    return load_recipe(repository / "configs" / f"{name}.py", form)


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("ade20k_semfpn_next_vit_s", "", 0.2),
        ("ade20k_semfpn_uniformer_s", "", 0.1),
        ("ade20k_semfpn_uniformer_b", "", 0.2),
        ("ade20k_upernet_uniformer_s", "", 0.25),
        ("ade20k_upernet_uniformer_b", "", 0.4),
        ("ade20k_upernet_swin_t", "", 0.3),
        ("coco_maskrcnn_uniformer_s", "", 0.2),
        ("coco_maskrcnn_uniformer_s", "3x", 0.1),
        ("coco_maskrcnn_uniformer_b", "", 0.3),
        ("coco_maskrcnn_uniformer_b", "3x", 0.3),
        ("coco_maskrcnn_swin_t", "", 0.1),
        ("coco_maskrcnn_swin_t", "3x", 0.2),
        ("coco_maskrcnn_swin_s", "3x", 0.2),
    ],
)
def test_stochastic_depth(repository: Path, name: str, form: str, expected: float) -> None:
    assert recipe(repository, name, form).model.drop_path_rate == expected


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("coco_maskrcnn_swin_t", 1e-3),
        ("coco_maskrcnn_uniformer_s", 1e-3),
        ("coco_maskrcnn_resnet50", 1e-3),
        ("coco_maskrcnn_next_vit_s", 1e-6),
        ("ade20k_upernet_swin_t", 1e-6),
    ],
)
def test_warm_up_begins_at_a_share_of_the_peak(repository: Path, name: str, share: float) -> None:
    schedule = recipe(repository, name).schedule
    assert schedule.warmup_lr == pytest.approx(share * schedule.base_lr)


@pytest.mark.parametrize(
    ("name", "form", "shorter"),
    [
        ("coco_maskrcnn_swin_t", "", SEVERAL),
        ("coco_maskrcnn_swin_t", "3x", SEVERAL),
        ("coco_maskrcnn_uniformer_s", "", (800,)),
        ("coco_maskrcnn_uniformer_s", "3x", SEVERAL),
        ("coco_maskrcnn_next_vit_s", "", (800,)),
    ],
)
def test_scales(repository: Path, name: str, form: str, shorter: tuple[int, ...]) -> None:
    config = recipe(repository, name, form)
    assert tuple(config.view.shorter) == shorter
    assert config.view.crop_first == (len(shorter) > 1)
    assert config.schedule.epochs == (36 if form == "3x" else 12)


def undecayed(config: Any, name: str, **fields: Any) -> set[str]:
    """Names of what does not decay; fields: of a smaller network."""
    params = abstract_variables(hvjax.create_model(name, num_classes=3, **fields))["params"]
    tree = decayed(config.optimizer, params)
    return {parameter_name(p) for p, leaf in jax.tree_util.tree_leaves_with_path(tree) if not leaf}


def test_position_encoding_of_uniformer_decays(repository: Path) -> None:
    """It is a convolution; the reference takes out norms and what is called absolute_pos_embed."""
    config = recipe(repository, "ade20k_upernet_uniformer_s")
    still = undecayed(
        config, "uniformer_s+upernet", channels=8, auxiliary_channels=8, backbone=SMALL_UNIFORMER
    )
    assert "backbone.stage1.block1.norm1.scale" in still
    assert not [name for name in still if "pos_embed" in name]


def test_table_of_positions_of_pvt_does_not_decay(repository: Path) -> None:
    config = recipe(repository, "ade20k_upernet_swin_t")
    still = undecayed(config, "pvt_small+upernet", channels=8, auxiliary_channels=8)
    assert "backbone.stage1.pos_embed" in still


@pytest.mark.parametrize(("backbone", "decays"), [("swin_t", True), ("next_vit_s", False)])
def test_norms_of_the_heads(repository: Path, backbone: str, decays: bool) -> None:
    """Next-ViT's configs take `bn` out as well, which mmsegmentation's heads call their norms."""
    config = recipe(repository, f"ade20k_upernet_{backbone}")
    still = undecayed(config, f"{backbone}+upernet", channels=8, auxiliary_channels=8)
    of_heads = {name for name in still if name.startswith(("head.", "auxiliary."))}
    assert ("head.bottleneck.norm.scale" in of_heads) != decays
    assert all(".norm." in name for name in of_heads)
    assert bool(of_heads) != decays
