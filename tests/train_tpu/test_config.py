"""The base config, its fallback and the recipes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import hvjax
from hvjax.registry import MODELS
from train_tpu.checks import CLASSIFICATION_ONLY
from train_tpu.config import base_config, flatten, resolve, shorten
from train_tpu.errors import UserError
from train_tpu.flags import load_recipe
from train_tpu.learning.schedule import peak_lr
from train_tpu.model import build_dense_model, build_model, count_parameters

# Parameters of the largest model that two CPU cores train on the embedded digits in minutes.
SMALL_MODEL = 8_000_000

# Fields of the full model that a recipe may set: the dropout of CMT-B, which is not in the registry's row.
OF_THE_FULL_MODEL = {"cmt_b": {"dropout_rate": 0.3}}


def test_fallback_applies_without_a_data_directory_and_is_gone_afterwards() -> None:
    config = resolve(base_config())
    assert config.data.image_size == 48 and config.data.shift == 3
    assert "fallback" not in config


def test_fallback_does_not_touch_a_run_on_a_data_directory() -> None:
    recipe = base_config()
    recipe.data.dir = "/data"
    config = resolve(recipe)
    assert config.data.image_size == 224 and config.data.shift == 0 and config.data.flip


def test_what_the_user_set_wins_over_the_fallback() -> None:
    recipe = base_config()
    recipe.data.batch_size = 7
    assert resolve(recipe, {"data.batch_size"}).data.batch_size == 7
    assert resolve(recipe).data.batch_size == 32


def test_every_key_of_the_fallback_mirrors_one_of_the_config() -> None:
    assert set(flatten(base_config().fallback)) <= set(flatten(base_config()))
    recipe = base_config()
    recipe.fallback.data.image_sise = 3
    with pytest.raises(UserError, match=r"fallback.data.image_sise in the recipe mirrors no key"):
        resolve(recipe)


def test_resolved_config_is_locked() -> None:
    config = resolve(base_config())
    with pytest.raises(AttributeError):
        config.data.image_sise = 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss.label_smoothing", 1.0, r"label_smoothing=1.0: must be at least 0 and less than 1"),
        ("data.batch_size", 0, r"data.batch_size=0: must be greater than 0"),
        ("ema.decay", 0.9, r"ema.decay and --config.ema.horizon are both set"),
        ("mesh.fsdp", 0, r"mesh.fsdp=0: must be greater than 0"),
        ("optimizer.accumulate", 3, r"accumulate=3 does not divide data.batch_size=16"),
        ("mix.prob", 1.5, r"mix.prob=1.5: must be between 0 and 1"),
        ("loss.name", "l2", r"loss.name='l2': accepted are 'cross_entropy', 'bce'"),
    ],
)
def test_values_that_cannot_work(tiny_config, name: str, value: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_config({name: value})


def dense(repository: Path, name: str, directory: str = "somewhere") -> Any:
    """A recipe of a dense task on a folder."""
    recipe = load_recipe(repository / "configs" / f"{name}.py")
    recipe.data.dir = directory
    return recipe


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "coco_maskrcnn_resnet50",
            {"model.head": "upernet"},
            r"'upernet': a head for segmentation; .* 'mask_rcnn'",
        ),
        ("coco_maskrcnn_resnet50", {"model.head": "mask_rnn"}, r"did you mean mask_rcnn\?"),
        ("ade20k_semfpn_resnet50", {"task": "detection"}, r"'semantic_fpn': a head for segmentation"),
        ("coco_maskrcnn_resnet50", {"schedule.epochs": 6.0}, r"drops=\(8.0, 11.0\): .* schedule.epochs=6$"),
        (
            "ade20k_semfpn_resnet50",
            {"loss.class_weights": "balanced"},
            "segmentation does not use it; leave it at ''$",
        ),
        ("ade20k_semfpn_resnet50", {"loss.label_smoothing": 0.0}, "leave it at 0.1$"),
        (
            "coco_maskrcnn_resnet50",
            {"mix.mixup": 0.8},
            "mix.mixup=0.8: detection does not use it; leave it at 0.0",
        ),
        ("coco_maskrcnn_resnet50", {"data.image_size": 512}, r"image_size=512: .* use data.canvas"),
        ("coco_maskrcnn_resnet50", {"data.crop_scale": (0.5, 1.0)}, r"crop_scale=\(0.5, 1.0\): detection"),
    ],
)
def test_dense_values_that_cannot_work(repository: Path, name: str, changes: dict, message: str) -> None:
    recipe = dense(repository, name)
    for key, value in changes.items():
        section, _, leaf = key.rpartition(".")
        (recipe[section] if section else recipe)[leaf] = value
    with pytest.raises(UserError, match=message):
        resolve(recipe, set(changes))


def test_size_of_drawn_scenes_may_be_set(repository: Path) -> None:
    recipe = dense(repository, "coco_maskrcnn_resnet50", directory="")
    recipe.data.image_size = 128
    assert resolve(recipe, {"data.image_size"}).data.image_size == 128


def test_every_key_of_classification_is_one_of_the_config() -> None:
    assert set(CLASSIFICATION_ONLY) <= set(flatten(base_config()))


DENSE = ("ade20k_", "coco_")  # what the names of recipes for dense tasks begin with


def dense_recipes() -> list[str]:
    folder = Path(__file__).parents[2] / "configs"
    return sorted(file.stem for file in folder.glob("*.py") if file.stem.startswith(DENSE))


def test_every_model_has_a_recipe(repository: Path) -> None:
    files = {file.stem for file in (repository / "configs").glob("*.py")} - {"__init__"}
    assert files - set(dense_recipes()) == set(hvjax.list_models())


@pytest.mark.parametrize("name", dense_recipes())
def test_dense_recipe(repository: Path, name: str) -> None:
    """Its file's name says what it trains; both networks are built; it adds no keys to the base config."""
    recipe = load_recipe(repository / "configs" / f"{name}.py")
    data, head, backbone = name.split("_", 2)
    assert recipe.model.name == backbone and recipe.model.head.replace("_", "") == HEADS[head]
    assert recipe.task == {"ade20k": "segmentation", "coco": "detection"}[data]
    assert set(flatten(recipe)) - {f"fallback.{key}" for key in flatten(base_config())} <= set(
        flatten(base_config())
    )
    small = resolve(recipe)
    assert small.init == "" and small.model.dtype == "float32" and small.data.image_size == 256
    assert json.loads(json.dumps(flatten(small)))
    model = build_dense_model(small.model, 9, small.data.canvas)
    assert count_parameters(model, (*small.data.canvas, 3)) < SMALL_MODEL
    recipe.data.dir = "somewhere"
    full = resolve(recipe)
    assert full.init == ("pretrained" if MODELS[backbone].pretrained else "")
    assert full.model.dtype == "bfloat16" and full.data.batch_size in (16, 32)
    build_dense_model(full.model, 150, full.data.canvas)


HEADS = {"semfpn": "semanticfpn", "upernet": "upernet", "maskrcnn": "maskrcnn"}


@pytest.mark.parametrize("name", hvjax.list_models())
def test_recipe(repository: Path, name: str) -> None:
    """Each names its model, resolves for both kinds of data, and adds no keys to the base config."""
    recipe = load_recipe(repository / "configs" / f"{name}.py")
    assert recipe.model.name == name
    assert set(flatten(recipe)) == set(flatten(base_config()))
    small = resolve(recipe)
    side = small.data.image_size
    assert side in (48, 64) and small.model.dtype == "float32" and not small.distill.teacher
    assert count_parameters(build_model(small.model, 10, side), (side, side, 3)) < SMALL_MODEL
    recipe.data.dir = "/data"
    full = resolve(recipe)
    assert full.data.image_size == MODELS[name].image_size and full.model.dtype == "bfloat16"
    assert full.model.overrides.to_dict() == OF_THE_FULL_MODEL.get(name, {})


@pytest.mark.parametrize(
    ("name", "arg", "accepted"),
    [
        ("next_vit_s", "ft383", "did you mean ft384?; accepted: 'ft384', 'finetune', 'probe', 'smoke'"),
        ("fastvit_t8", "destill", "did you mean distill?; accepted: 'distill', 'ft384', 'finetune',"),
        ("swin_t", "ft384", "accepted: 'finetune', 'probe', 'smoke'"),
    ],
)
def test_unknown_form_of_a_recipe(repository: Path, name: str, arg: str, accepted: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"argument {arg!r} is unknown; {accepted}")):
        load_recipe(repository / "configs" / f"{name}.py", arg)


@pytest.mark.parametrize("name", hvjax.list_models())
@pytest.mark.parametrize("arg", ["finetune", "probe"])
def test_every_recipe_can_be_fine_tuned(repository: Path, name: str, arg: str) -> None:
    """From published weights on images of the user's own; without data it is the small model from scratch."""
    recipe = load_recipe(repository / "configs" / f"{name}.py", arg)
    small = resolve(recipe)
    assert (small.init, small.optimizer.freeze, small.optimizer.layer_decay) == ("", "", 1.0)
    recipe.data.dir = "/data"
    config = resolve(recipe)
    assert config.init == "pretrained" and config.optimizer.name == "adamw" and not config.mix.cutmix
    assert peak_lr(config) == pytest.approx(2e-4 if arg == "finetune" else 1e-3)
    assert config.optimizer.freeze == ("backbone" if arg == "probe" else "")


def test_forms_of_a_recipe_join(repository: Path) -> None:
    """Fine-tuning at 384 px of a distilled FastViT, for a few steps."""
    recipe = load_recipe(repository / "configs" / "fastvit_sa36.py", "distill,ft384,smoke")
    recipe.data.dir = "/data"
    config = resolve(recipe)
    assert config.data.image_size == 384 and config.schedule.steps == 12 and config.schedule.base_lr == 5e-5
    assert config.distill.teacher == "regnety_160" and config.model.drop_path_rate == 0.1


def test_next_vit_recipe_is_that_of_the_paper(repository: Path) -> None:
    recipe = load_recipe(repository / "configs" / "next_vit_b.py")
    assert peak_lr(recipe) == pytest.approx(2e-3)
    assert recipe.schedule.epochs == 300 and recipe.schedule.warmup_epochs == 20
    assert recipe.optimizer.weight_decay == 0.1 and recipe.optimizer.clip_norm == 5.0
    assert recipe.model.drop_path_rate == 0.2 and recipe.ema.decay == 0 and recipe.ema.horizon == 0


@pytest.mark.parametrize("name", hvjax.list_models("next_vit_*"))
def test_small_next_vit_keeps_the_design(repository: Path, name: str) -> None:
    """Four stages, (NCB x N + NTB) x L in stages 2-4, the reduction ratios 8/4/2/1 of the full model."""
    overrides = resolve(load_recipe(repository / "configs" / f"{name}.py")).model.overrides
    first, *others = overrides.blocks
    assert set(first) == {"C"} and len(others) == 3
    assert all(stage.endswith("T") and "TT" not in stage and stage[0] == "C" for stage in others)
    allowed = {"blocks", "stem_channels", "conv_channels", "transformer_channels"}
    assert set(overrides) <= allowed, "only widths and depths may shrink"
    assert MODELS[name].config.reduction_ratios == (8, 4, 2, 1)


def test_smoke_form_is_a_few_steps() -> None:
    assert resolve(shorten(base_config(), "smoke")).schedule.steps == 12
    with pytest.raises(UserError, match="config argument 'smok' is unknown"):
        shorten(base_config(), "smok")


def test_documentation_lists_every_key(repository: Path) -> None:
    page = (repository / "docs" / "training.md").read_text()
    keys = [key for key in flatten(base_config()) if not key.startswith("fallback.")]
    assert len(keys) > 30
    assert not [key for key in keys if f"| `{key}` |" not in page]
