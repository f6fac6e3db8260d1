"""Every config trains 20 steps on made-up photographs: its recipe as it is, its model made small."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from families import merged
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from PIL import Image

import hvjax
from hvjax.registry import MODELS
from train_tpu.config import resolve
from train_tpu.data import pipeline
from train_tpu.data.quarantine import CorruptImages
from train_tpu.data.sources import open_dataset
from train_tpu.flags import load_recipe
from train_tpu.learning import groups, schedule
from train_tpu.learning.objective import make_objective
from train_tpu.learning.optim import make_optimizer
from train_tpu.model import build_model
from train_tpu.state import create_state, ema_decay
from train_tpu.step import train_step

STEPS, BATCH = 20, 6
# The family's smallest model, found by its class.
SMALL: dict[type, dict[str, Any]] = {MODELS[name].model: kw for name, kw in merged("small").items()}
# The networks of TRT-ViT's study differ by the blocks of their last stage, which stay as they are here.
SMALL[MODELS["trt_vit_c"].model] = {"depths": (1, 1, 1, 1), "channels": (16, 16, 32, 64), "stem_channels": 8}
# Pixels a side: 32, unless tables of positions or windows want more.
SIDES = {"pyramid_tnt": 64, "efficientformer": 64, "pvt": 64, "refined_pvt": 64}
# Parameters whose gradient is exactly 0 in so small a model, as a share of all.
WITHOUT_GRADIENT = 0.1


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of six JPEGs of different sizes and colours, twice: train and val."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for split in ("train", "val"):
        for number, name in enumerate(("ant", "bee", "cow")):
            (folder / split / name).mkdir(parents=True)
            for i in range(6):
                coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
                picture = Image.fromarray(coarse).resize(
                    (60 + 7 * i, 50 + 9 * number), Image.Resampling.BICUBIC
                )
                picture.save(folder / split / name / f"{i}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled steps in a folder: sizes of one family are often the same program when made small."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 1.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def small_recipe(repository: Path, name: str, data: Path) -> Any:
    """The recipe with a small model at a small size, in float32, its schedule squeezed into STEPS."""
    recipe = load_recipe(repository / "configs" / f"{name}.py")
    overrides = {k: v for k, v in SMALL[MODELS[name].model].items() if k not in ("num_classes", "image_size")}
    recipe.model.overrides = ConfigDict(overrides)
    recipe.model.dtype = "float32"
    recipe.data.dir = str(data)
    recipe.data.image_size = next((side for key, side in SIDES.items() if name.startswith(key)), 32)
    recipe.data.batch_size = BATCH
    recipe.data.threads = 0
    recipe.schedule.steps = STEPS
    return resolve(recipe)


@functools.lru_cache(maxsize=2)
def start_of(model: Any, side: int) -> Any:
    return model.init(jax.random.key(0), np.zeros((1, side, side, 3), np.float32))


@pytest.mark.parametrize("name", hvjax.list_models())
def test_twenty_steps(repository: Path, photographs: Path, name: str) -> None:
    config = small_recipe(repository, name, photographs)
    dataset, spec, side = open_dataset(config.data), MODELS[name], config.data.image_size
    model = build_model(config.model, len(dataset.class_names), side)
    length = schedule.run_length(config, len(dataset.train))
    assert length.total == STEPS
    optimizer = make_optimizer(config.optimizer, schedule.learning_rate(config, length))
    objective = make_objective(config, len(dataset.class_names), dataset.class_counts, spec.mean, spec.std)
    decay = ema_decay(config, length.total)
    start = start_of(model, side)
    state = create_state(model, optimizer, (side, side, 3), config.seed, decay > 0, start)
    batches = pipeline.train_batches(
        dataset.train,
        config.data,
        seed=config.seed,
        batch_size=BATCH,
        corrupt=CorruptImages(len(dataset.train), config.data.max_corrupt),
        mean=spec.mean,
    )
    step = jax.jit(
        functools.partial(
            train_step,
            model=model,
            optimizer=optimizer,
            objective=objective,
            ema_decay=decay,
            ema_warmup=config.ema.warmup,
        )
    )
    for _ in range(STEPS):
        state, metrics = step(state, next(batches))
        assert np.isfinite(float(metrics["loss"])) and np.isfinite(float(metrics["weight_norm"]))
    assert int(state.step) == STEPS
    still = unchanged(start["params"], state.params)
    assert not [n for n in still if n.startswith("head")]
    assert len(still) <= WITHOUT_GRADIENT * len(jax.tree.leaves(start["params"])), still
    if decay:
        average = state.ema["params"]
        assert len(unchanged(start["params"], average)) < len(jax.tree.leaves(average))
        assert len(unchanged(state.params, average)) <= len(still)
    else:
        assert not state.ema


def unchanged(before: Any, after: Any) -> list[str]:
    """Names of the parameters that are the same bits."""
    same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), before, after)
    leaves = jax.tree_util.tree_leaves_with_path(same)
    return [groups.parameter_name(path) for path, is_same in leaves if is_same]
