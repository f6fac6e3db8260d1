"""Our side of what tests/parity/live_recipes.py compares with timm, in the form it is recorded in.

Neither torch nor timm is needed here.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import hvjax
from hvjax.blocks.layers import DropPath
from hvjax.structure import sample_size
from train_tpu.flags import load_recipe
from train_tpu.learning import groups, schedule
from train_tpu.learning.optim import make_optimizer

ROOT = Path(__file__).resolve().parents[2]
IMAGENET = 1_281_167  # training images
FORMS = {"next_vit": ("ft384",), "fastvit": ("distill", "ft384"), "efficientformer": ("distill",)}
LAYER_DECAY = 0.5  # a power of two: scales are exact, and show the number of the layer

# What the optimizers are tried on: a kernel of 4 inputs and 3 outputs, a bias, and five gradients of each.
KERNEL = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
BIAS = np.random.default_rng(1).normal(size=3).astype(np.float32)
GRADIENTS = [
    {
        "kernel": np.random.default_rng(10 + i).normal(size=(4, 3)).astype(np.float32),
        "bias": np.random.default_rng(20 + i).normal(size=3).astype(np.float32),
    }
    for i in range(5)
]
OPTIMIZERS = {
    "adamw": {"name": "adamw", "weight_decay": 0.3},
    "lamb": {"name": "lamb", "weight_decay": 0.3, "eps": 1e-6, "clip_norm": 1.0},
    "lamb without decay": {"name": "lamb", "weight_decay": 0.0, "eps": 1e-6, "clip_norm": 1.0},
    "sgd": {"name": "sgd", "weight_decay": 0.3},
    "adamw, clipped by units": {"name": "adamw", "weight_decay": 0.3, "clip_adaptive": 0.01},
}
RATE = 0.01

# Limits of what is compared, with timm live and with the recorded numbers.
RATE_LIMIT = 2e-6  # of a learning rate, relative: float32 against timm's float64
RATE_FLOOR = 1e-12  # the same as a share of the peak, where the cosine ends at 0
DROP_PATH_LIMIT = 1e-6  # absolute: some references take float32 linspace
STEP_LIMIT = 5e-6  # absolute, of parameters of order one after five steps: float32, other orders of sums


def recipes() -> list[tuple[str, str]]:
    """(model, form) of every recipe; "" is the plain form."""
    return [(name, form) for name in hvjax.list_models() for form in ("", *_forms(name))]


def _forms(name: str) -> tuple[str, ...]:
    return next((forms for family, forms in FORMS.items() if name.startswith(family)), ())


def config_of(name: str, form: str) -> Any:
    return load_recipe(ROOT / "configs" / f"{name}.py", form)


def steps_of_epoch(config: Any) -> int:
    """Whole batches in an epoch of ImageNet; references drop the rest, so they are compared without it."""
    return IMAGENET // config.data.batch_size


def named_steps(config: Any) -> dict[str, int]:
    """Optimizer steps done before the step that is meant."""
    options, epoch = config.schedule, steps_of_epoch(config)
    return {
        "first step": 0,
        "middle of the warm-up": round(options.warmup_epochs / 2 * epoch),
        "after the warm-up": round(options.warmup_epochs * epoch),
        "a step of epoch 16": 16 * epoch + epoch // 3,
        "middle of the run": round(options.epochs / 2) * epoch,
        "last step": round((options.epochs + options.cooldown_epochs) * epoch) - 1,
    }


def learning_rates(config: Any) -> dict[str, float]:
    """Our rate at each of `named_steps`."""
    length = schedule.run_length(config, steps_of_epoch(config) * config.data.batch_size)
    rate = jax.jit(schedule.learning_rate(config, length))
    return {name: float(rate(step)) for name, step in named_steps(config).items()}


def same_rate(config: Any, ours: float, theirs: float) -> bool:
    return abs(ours - theirs) <= max(RATE_LIMIT * abs(theirs), RATE_FLOOR * schedule.peak_lr(config))


def same_drop_path(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> bool:
    """Whether the rates that are not 0 agree, block by block.

    A formula gives one rate a block; it is that of all its branches.
    """
    for block in set(ours) | set(theirs):
        mine = sorted(rate for rate in ours.get(block, []) if rate)
        other = sorted(rate for rate in theirs.get(block, []) if rate)
        if len(other) == 1:
            other *= len(mine)
        if len(mine) != len(other) or any(
            abs(a - b) > DROP_PATH_LIMIT for a, b in zip(mine, other, strict=True)
        ):
            return False
    return True


def inspect(name: str, rate: float) -> tuple[Any, dict[str, list[float]]]:
    """Abstract parameters of a model, and the rates of stochastic depth of each block, in order of calls."""
    model = hvjax.create_model(name, drop_path_rate=rate)
    rates: dict[str, list[float]] = {}

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if isinstance(module, DropPath) and context.method_name == "__call__":
            block = ".".join(part for part in module.path if re.fullmatch(r"(stage|block)\d+", part))
            rates.setdefault(block, []).append(float(module.rate))
        return call(*args, **kwargs)

    images = jax.ShapeDtypeStruct((1, *sample_size(model), model.config.in_channels), jnp.float32)
    with nn.intercept_methods(note):
        # not model.init, which is compiled and so would not call a model again whose trace JAX has
        variables = jax.eval_shape(lambda key, x: nn.Module.init(model, key, x), jax.random.key(0), images)
    return variables["params"], rates


def collapse(names: Iterable[str]) -> list[str]:
    """Names without the numbers in them, each once: what is true of stage 3 is true of all stages."""
    return sorted({re.sub(r"\d+", "*", name) for name in names})


def decayed(config: Any, params: Any) -> list[str]:
    tree = groups.decayed(config.optimizer, params)
    return sorted(names_where(tree, True))


def names_where(tree: Any, value: Any) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [groups.parameter_name(path) for path, leaf in leaves if leaf == value]


def layers(params: Any) -> dict[str, int]:
    """Parameter name -> layers between its own and the head."""
    tree = groups.learning_rate_scales(LAYER_DECAY, params)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {groups.parameter_name(path): round(-np.log2(scale)) for path, scale in leaves}


def layers_of_modules(layers: dict[str, int]) -> dict[str, int]:
    """The same by module: a part directly under the model or a stage, or half a block of MobileOne."""
    found: dict[str, int] = {}
    for name, layer in layers.items():
        depth = 2 if name.startswith("stage") else 1
        depth += name.split(".")[depth:][:1] in (["depthwise"], ["pointwise"])
        module = ".".join(name.split(".")[:depth])
        assert found.setdefault(module, layer) == layer, f"{module} is in two layers"
    return found


def after_five_steps(options: dict[str, Any]) -> dict[str, list]:
    """The parameters after five steps of an optimizer of ours."""
    config = config_of("swin_t", "").copy_and_resolve_references()
    config.optimizer.update(
        {"clip_norm": 0.0, "decay": "timm", "no_decay": "", "b1": 0.9, "b2": 0.999, "eps": 1e-8, **options}
    )
    optimizer = make_optimizer(config.optimizer, lambda step: RATE)
    params = {"kernel": jnp.asarray(KERNEL), "bias": jnp.asarray(BIAS)}
    state = optimizer.init(params)
    for gradients in GRADIENTS:
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return {name: np.asarray(value).tolist() for name, value in params.items()}
