"""Names of EfficientFormer checkpoints: those of the official code (snap-research) and those of timm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hvjax.weights.positions import Grid, Grids, Resize, resize_maps
from hvjax.weights.rules import (
    CONV_BIAS,
    LAYER_NORM,
    LINEAR,
    NORM,
    SKIPPED,
    Leaf,
    Numbering,
    Numbers,
    Rule,
    Table,
    vector,
)

POOLS, ATTENDS = "pool_block", "attention_block"  # kinds of blocks, as their numbers are called below


def tables(config: Any) -> tuple[Table, ...]:
    """Both namings, for an `EfficientFormerConfig`."""
    skipped = (SKIPPED, "attention_bias_idxs")
    official = (
        *_stem("patch_embed.0", "patch_embed.1", "patch_embed.3", "patch_embed.4"),
        Rule("network.{embedding}.proj", "stage{stage}.downsample.conv", CONV_BIAS),
        Rule("network.{embedding}.norm", "stage{stage}.downsample.norm", NORM),
        *_blocks("network.{layer}", config),
        *_layer_scales(lambda kind, i: f"network.{{layer}}.{{{kind}}}", lambda i: f"layer_scale_{i}"),
        *_top("dist_head"),
    )
    timm = (
        *_stem("stem.conv1", "stem.norm1", "stem.conv2", "stem.norm2"),
        Rule("stages.{embedding}.downsample.conv", "stage{stage}.downsample.conv", CONV_BIAS),
        Rule("stages.{embedding}.downsample.norm", "stage{stage}.downsample.norm", NORM),
        *_blocks("stages.{layer}.blocks", config),
        *_layer_scales(lambda kind, i: f"stages.{{layer}}.blocks.{{{kind}}}.ls{i}", lambda i: "gamma"),
        *_top("head_dist"),
    )
    return (
        # The official list has a stage at each even number and a downsampling at each odd one.
        Table("official EfficientFormer", official, _numbering(config, 2), skipped),
        Table("timm EfficientFormer", timm, _numbering(config, 1), skipped),
    )


def distance_table(grid: Grid) -> Resize:
    """Hook for one value a distance, `(..., n)` with n = height * width of the map: interpolated to `grid`.

    The values are mirrored to those of all offsets from -(side - 1) to side - 1, resized as pictures are, and
    cut again, so that distance zero stays distance zero. No reference code resizes these tables.
    """

    return _DistanceTable((grid,))


@dataclass(frozen=True)
class _DistanceTable:
    grids: Grids

    def __call__(self, tensor: np.ndarray, shape: tuple[int, ...], old: Grids | None = None) -> np.ndarray:
        side = math.isqrt(tensor.shape[-1])
        rows, columns = old[0] if old else (side, side)
        if rows * columns != tensor.shape[-1] or tensor.shape[:-1] != shape[:-1]:
            raise ValueError("not a table over the distances of a square map, or one of other heads")
        down, right = abs(np.arange(1 - rows, rows)), abs(np.arange(1 - columns, columns))
        offsets = tensor.reshape(*shape[:-1], rows, columns)[..., down[:, None], right]
        height, width = self.grids[0]
        resized = resize_maps(offsets, (2 * height - 1, 2 * width - 1))[..., height - 1 :, width - 1 :]
        return resized.reshape(shape)


def _stem(conv1: str, norm1: str, conv2: str, norm2: str) -> tuple[Rule, ...]:
    return (
        Rule(conv1, "stem.unit1.conv", CONV_BIAS),
        Rule(norm1, "stem.unit1.norm", NORM),
        Rule(conv2, "stem.unit2.conv", CONV_BIAS),
        Rule(norm2, "stem.unit2.norm", NORM),
    )


def _blocks(stage: str, config: Any) -> tuple[Rule, ...]:
    """Rules of both kinds of blocks. They share names, so that the number says which kind a block is."""
    pool, ours = f"{stage}.{{{POOLS}}}", _ours(POOLS)
    tokens, our_tokens = f"{stage}.{{{ATTENDS}}}", _ours(ATTENDS)
    resize = distance_table(config.attention_map)
    biases = Leaf("attention_biases", "params", "bias_table", (0, 1), resize=resize)
    return (
        Rule(f"{pool}.mlp.fc1", f"{ours}.mlp.fc1", CONV_BIAS),
        Rule(f"{pool}.mlp.norm1", f"{ours}.mlp.norm1", NORM),
        Rule(f"{pool}.mlp.fc2", f"{ours}.mlp.fc2", CONV_BIAS),
        Rule(f"{pool}.mlp.norm2", f"{ours}.mlp.norm2", NORM),
        Rule(f"{tokens}.norm1", f"{our_tokens}.norm1", LAYER_NORM),
        Rule(f"{tokens}.token_mixer", f"{our_tokens}.attention", (biases,)),
        Rule(f"{tokens}.token_mixer.qkv", f"{our_tokens}.attention.qkv", LINEAR),
        Rule(f"{tokens}.token_mixer.proj", f"{our_tokens}.attention.proj", LINEAR),
        Rule(f"{tokens}.norm2", f"{our_tokens}.norm2", LAYER_NORM),
        Rule(f"{tokens}.mlp.fc1", f"{our_tokens}.mlp.fc1", LINEAR),
        Rule(f"{tokens}.mlp.fc2", f"{our_tokens}.mlp.fc2", LINEAR),
    )


def _layer_scales(module: Callable[[str, int], str], tensor: Callable[[int], str]) -> tuple[Rule, ...]:
    return tuple(
        Rule(module(kind, i), f"{_ours(kind)}.layer_scale{i}", (vector(tensor(i), "gamma"),))
        for kind in (POOLS, ATTENDS)
        for i in (1, 2)
    )


def _top(distillation: str) -> tuple[Rule, ...]:
    return (
        Rule("norm", "norm", LAYER_NORM),
        Rule("head", "head.label", LINEAR),
        Rule(distillation, "head.distillation", LINEAR),
    )


def _ours(kind: str) -> str:
    return f"stage{{stage}}.block{{{kind}}}"


def _numbering(config: Any, step: int) -> Numbering:
    """Stages and blocks count from 0 there, and the list of stages has `step` entries a stage.

    The list of blocks of stage 4 has one entry without weights, the flattening, before the first block with
    attention.
    """
    first = config.depths[-1] - config.attention_blocks  # with attention; also the place of the flattening

    def to_target(numbers: Numbers) -> Numbers:
        if "embedding" in numbers:
            return {"stage": (numbers["embedding"] + step - 1) // step + 1}
        if "layer" not in numbers:
            return {}
        stage, tail = numbers["layer"] // step, numbers["layer"] // step == len(config.depths) - 1
        kind = ATTENDS if ATTENDS in numbers else POOLS
        number = numbers[kind]
        if (tail and number >= first) != (kind == ATTENDS) or (tail and number == first and kind == ATTENDS):
            raise KeyError(number)
        return {"stage": stage + 1, kind: number if kind == ATTENDS else number + 1}

    def to_source(numbers: Numbers) -> Numbers:
        if "stage" not in numbers:
            return {}
        kinds = [kind for kind in (POOLS, ATTENDS) if kind in numbers]
        if not kinds:
            return {"embedding": (numbers["stage"] - 1) * step - (step - 1)}
        kind, number = kinds[0], numbers[kinds[0]]
        flattened = numbers["stage"] == len(config.depths) and number > first
        return {"layer": (numbers["stage"] - 1) * step, kind: number if flattened else number - 1}

    return Numbering(to_target, to_source)
