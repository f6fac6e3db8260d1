"""Which parameter decays, how fast it learns, whether it is frozen: decided from its name and its axes.

A parameter's name is its path, "stage1.block2.mlp.fc1.kernel". Where a config takes a regular expression of
names, it is searched for anywhere in the name; anchor it with ^ and $ where that is too much.
"""

import re
from typing import Any

import jax

from train_tpu.config import Config
from train_tpu.errors import UserError

HEAD = ("head",)  # what a linear probe trains
BACKBONE = "backbone"  # holds it, in a segmenter or detector; the rest of these is head
AFTER_BLOCKS = (*HEAD, "final_conv", "expand")  # counted with the head by layer-wise decay, as in timm

# The first number of a layer; see `_layer`.
STEM, BLOCKS, END = 0, 1, 2
LAST_NORM = (BLOCKS, 1_000_000)  # counted with the last block


def decayed(options: Config, params: Any) -> Any:
    """True where weight decay applies: a tree like `params`.

    `options.decay` is the rule: "kernels" (of convolutions and linear layers, nothing else) or "timm" (its
    `param_groups_weight_decay`: all but biases and whatever has one axis). `options.no_decay` and
    `options.decay_too` are regular expressions of names that are taken out and put in; they hold what a
    model's reference does with tables of positions, and with layer scales, which have the shape (C, 1, 1) in
    some PyTorch code and decay there.

    Args:
      options: config.optimizer. params: of any tree type, with string keys.
    Raises:
      UserError: an expression that is none.
    """
    without, too = _pattern("no_decay", options.no_decay), _pattern("decay_too", options.decay_too)

    def decays(path: Any, p: Any) -> bool:
        name = parameter_name(path)
        if too and too.search(name):
            return True
        if without and without.search(name):
            return False
        if options.decay == "kernels":
            return p.ndim > 1 and path[-1].key == "kernel"
        return p.ndim > 1 and path[-1].key != "bias"

    return jax.tree.map_with_path(decays, params)


def learning_rate_scales(layer_decay: float, params: Any) -> Any:
    """The factor of the learning rate of each parameter: layer_decay ** (layers after its own).

    As timm's `param_groups_layer_decay` (after BEiT, arXiv 2106.08254): the stem, with tables of positions,
    is layer 0, each block is a layer, what stands between two stages belongs to the first block of the
    later one, the last norm to the last block, and the head learns at the full rate. timm's tables for
    ConvNeXt and PoolFormer count the last norm with the head; MobileOne's depthwise and pointwise halves of a
    block are layers of their own, there and here.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    dense = any(path[0].key == BACKBONE for path in paths)
    layers = sorted({_layer(path, dense) for path in paths} - {LAST_NORM})
    last = len(layers) - 1
    number = {layer: i for i, layer in enumerate(layers)}
    number[LAST_NORM] = max(i for i, layer in enumerate(layers) if layer[0] != END)
    return jax.tree.map_with_path(lambda path, _: layer_decay ** (last - number[_layer(path, dense)]), params)


def frozen(freeze: str, params: Any) -> Any:
    """True where a parameter stays as it is: a tree like `params`; None if `freeze` is "".

    Args:
      freeze: config.optimizer.freeze: "backbone" (all but the head: a linear probe) or a regular expression.
    Raises:
      UserError: an expression that is none, that no name fits, or that all names fit.
    """
    if not freeze:
        return None
    if freeze == "backbone":
        parts = {path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(params)}
        still = {BACKBONE} if BACKBONE in parts else parts - set(HEAD)
        tree = jax.tree.map_with_path(lambda path, _: path[0].key in still, params)
    else:
        pattern = _pattern("freeze", freeze)
        assert pattern is not None
        tree = jax.tree.map_with_path(lambda path, _: bool(pattern.search(parameter_name(path))), params)
    found = set(jax.tree.leaves(tree))
    if found != {True, False}:
        names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        some = ", ".join((names[0], names[len(names) // 2], names[-1]))
        which = "every parameter: nothing would be trained" if found == {True} else "no parameter"
        raise UserError(f"--config.optimizer.freeze={freeze!r} fits {which} (names are {some}, ...)")
    return tree


def check_still_norms(still_norms: str, batch_stats: Any) -> None:
    """Look whether config.optimizer.still_norms, a regular expression that compiles, means anything.

    Args:
      batch_stats: running statistics, whose parents are the batch norms.
    Raises:
      UserError: the name of no batch norm fits.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(batch_stats)]
    names = list(dict.fromkeys(parameter_name(path[:-1]) for path in paths))
    if still_norms and not any(re.search(still_norms, name) for name in names):
        some = f"names are {', '.join((names[0], names[-1]))}, ..." if names else "the model has none"
        raise UserError(f"--config.optimizer.still_norms={still_norms!r} fits no batch norm ({some})")


def parameter_name(path: Any) -> str:
    """ "stage1.block2.conv1.kernel" of a path of jax.tree_util."""
    return ".".join(str(part.key) for part in path)


def _layer(path: Any, dense: bool = False) -> tuple[int, ...]:
    """The layer of a parameter; they sort as layers follow each other. dense: of a segmenter or detector."""
    top, *rest = (str(part.key) for part in path)
    if dense:
        if top != BACKBONE:
            return (END,)
        top, *rest = rest
    if top in AFTER_BLOCKS:
        return (END,)
    if top == "norm":
        return LAST_NORM
    between = re.fullmatch(r"(merge|patch_embed)(\d)", top)
    if between:
        stage = int(between[2]) + (between[1] == "merge")  # merge1 stands before stage 2
        return (BLOCKS, stage, 1, 0) if stage > 1 else (STEM,)
    stage = re.fullmatch(r"stage(\d+)", top)
    if not stage:
        return (STEM,)
    block = re.fullmatch(r"block(\d+)", rest[0])
    if not block:
        return (BLOCKS, int(stage[1]), 1, 0)
    return (BLOCKS, int(stage[1]), int(block[1]), int(rest[1] == "pointwise"))


def _pattern(key: str, expression: str) -> "re.Pattern[str] | None":
    try:
        return re.compile(expression) if expression else None
    except re.error as error:
        raise UserError(
            f"--config.optimizer.{key}={expression!r} is not a regular expression: {error}"
        ) from error
