"""Weights drawn at random that behave like trained ones: for trying an export without a checkpoint.

A fresh initialisation will not do. Its biases are zero, its norms are identities and its head is so
small that every image gets the same answer, so a gate would pass files that are wrong. Here every tensor
is drawn, and the statistics of every batch norm are those that real images cause at this very depth.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from export.kind import kind_of
from export.reference import CHUNK, compiled_features
from hvjax.blocks.batch_norm import BatchNorm
from hvjax.ops.conv import plain_convolutions

#: Images the statistics are taken from; more would change them by less than they differ between channels.
CALIBRATION_IMAGES = CHUNK
#: How far the logit of an image's own class stands out, in units of the other logits.
CONFIDENCE = 10.0
#: How much larger the last layer of a detector's classes is than one that keeps the variance.
BOX_CONFIDENCE = 6.0
#: The layers that end a residual branch, and how much smaller than the trunk a branch is. In trained networks
#: each block changes its input a little. Branches as large as the trunk enlarge rounding errors block by
#: block: float16 then costs 5e-3 of the largest logit instead of the 1e-3 that trained networks show.
#: Where blocks have layer scales, these are small, and not the layers before them.
BRANCH_ENDS = frozenset({"norm3", "projection", "fc2", "proj", "lpu", "pos_embed", "position"})
BRANCH = 0.1
LAYER_SCALE = "layer_scale"
LAYER_SCALES = 0.03
#: Branches that are summed after a norm each (`conv1`, `conv2`, ..., `scale`, `skip`): one is the trunk, and
#: the others are as small as branches are. Sums of equal ones would cancel in some channels, and the next
#: norm would enlarge what is left, and its rounding errors. The trunk is the norm of the input where the
#: block has it, else the first convolution.
SKIP, FIRST = "skip", "conv1"
#: Bias of a norm that hands a rectified map on, in units of the map's deviation: the mean of a rectified
#: Gaussian is 0.68 of them. Without it each block would rectify away more of the trunk, and enlarge the
#: rounding errors of the rest.
SKIP_BIAS = 0.7
#: Squeeze and excitation: its last layer goes through a sigmoid, and ends no branch.
GATE = "se"
#: Learned tables: positions, biases of attention, tokens.
TABLE_DEVIATION = 0.5
#: Smallest variance of a channel, as a share of the mean over the channels of its norm: the norm enlarges one
#: that hardly varies, and its rounding errors with it. Its scale is made smaller by as much.
LEAST_VARIANCE = 0.2
#: How much the taps of a spatial kernel differ from their common part.
TAP_VARIATION = 0.3


def random_variables(model: Any, images: Float[np.ndarray, "images h w c"], seed: int = 0) -> dict[str, Any]:
    """Variables of a training-form `model`, every tensor drawn from `seed`, BN statistics from `images`.

    The same seed, model and images give the same weights.
    """
    still = model.clone(config=_still(model.config))
    batch = jnp.asarray(images[:CALIBRATION_IMAGES])
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    variables: dict[str, Any] = {"params": _draw(shapes["params"], seed)}
    if "batch_stats" in shapes:
        variables = _normalised(still, variables["params"], shapes["batch_stats"], batch)
    match kind_of(model).name:
        case "classes" if model.config.num_classes:
            return _confident(model, variables, batch)
        case "detections":
            return _sure_of_boxes(variables)
    return variables


def _still(config: Any) -> Any:
    """The same without stochastic depth."""
    if hasattr(config, "backbone"):
        backbone = _still(config.backbone)
        return dataclasses.replace(config, backbone=backbone)
    return dataclasses.replace(config, drop_path_rate=0.0)


def draw(shapes: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Weights of which nothing is asked but to be ordinary numbers, as for timing: no image is needed.

    Args:
      shapes: {"params": ..., "batch_stats": ...}, of `jax.ShapeDtypeStruct`; statistics get mean 0,
        variance 1.
    """
    drawn: dict[str, Any] = {"params": _draw(shapes["params"], seed)}
    if "batch_stats" in shapes:
        drawn["batch_stats"] = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "var"), leaf.dtype),
            shapes["batch_stats"],
        )
    return drawn


def _normalised(model: Any, params: Any, shapes: Any, batch: Any) -> dict[str, Any]:
    """Variables with the means and variances that `batch` causes in each batch norm."""
    # From statistics of zero, one update leaves (1 - momentum) times the batch's own.
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    # The heads of a detector, which learn from targets, have no batch norm.
    run = partial(model.apply, method="taps") if kind_of(model).name == "detections" else model.apply

    @jax.jit
    def statistics(params: Any, batch: Any) -> Any:
        _, updated = run(
            {"params": params, "batch_stats": empty},
            batch,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},  # some heads drop features, after the last batch norm
        )
        return updated["batch_stats"]

    with plain_convolutions():  # the forms that are fast on a CPU take minutes to compile for many branches
        updated = statistics(params, batch)
        params = _tamed(params, updated)
        updated = statistics(params, batch)
    found = jax.tree.map(lambda x: x / (1 - BatchNorm.momentum), updated)
    return {"params": params, "batch_stats": found}


def _tamed(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """Smaller scales for channels that hardly vary: see LEAST_VARIANCE."""
    tamed = dict(params)
    for name, node in stats.items():
        if "var" in node:
            least = LEAST_VARIANCE * node["var"].mean()
            share = jnp.sqrt(node["var"] / jnp.maximum(node["var"], least))
            tamed[name] = {**params[name], "scale": params[name]["scale"] * share}
        else:
            tamed[name] = _tamed(params[name], node)
    return tamed


def _confident(model: Any, variables: dict[str, Any], batch: Any) -> dict[str, Any]:
    """Makes the first classes those of the images: column k of the head points at what image k alone has.

    A random head answers noise, and its largest logit is hardly above the others. A trained one is sure:
    the logit of the right class stands out, and errors are small beside it. So it is here.
    """

    found = compiled_features(model)(variables, batch)
    features = np.asarray(found["pre_logits"], np.float64)
    own = features - features.mean(0)
    usual = np.linalg.norm(features, axis=1) / np.sqrt(features.shape[1])  # a logit of a random column
    columns = CONFIDENCE * usual[:, None] * own / np.maximum((own**2).sum(1, keepdims=True), 1e-12)

    def pointed(layer: Mapping[str, Any]) -> dict[str, Any]:
        if "kernel" not in layer:  # several heads, whose mean is taken
            return {name: pointed(child) for name, child in layer.items()}
        kernel = np.array(layer["kernel"])
        count = min(len(columns), kernel.shape[1])
        kernel[:, :count] = columns[:count].T
        return {**layer, "kernel": jnp.asarray(kernel)}

    head = pointed(variables["params"]["head"])
    return {**variables, "params": {**variables["params"], "head": head}}


def _sure_of_boxes(variables: dict[str, Any]) -> dict[str, Any]:
    """Classes of boxes that stand out. Those of a random head are all as unlikely as each other, and below
    the score from which a detection counts: a detector that finds nothing proves nothing."""

    def scaled(node: Any) -> Any:
        if not isinstance(node, Mapping):
            return node
        found = {name: scaled(child) for name, child in node.items()}
        if {"fc1", "fc2", "logits"} <= node.keys():
            logits = node["logits"]
            found["logits"] = {**logits, "kernel": BOX_CONFIDENCE * logits["kernel"]}
        return found

    return {**variables, "params": scaled(variables["params"])}


def _draw(
    shapes: Mapping[str, Any],
    seed: int,
    path: tuple[str, ...] = (),
    scaled: bool = False,
    beside: bool = False,
) -> dict[str, Any]:
    """`scaled`: the block has layer scales; `beside`: this is a branch beside a trunk, see SKIP."""
    scaled = scaled or any(name.startswith(LAYER_SCALE) for name in shapes)
    trunk = SKIP if SKIP in shapes else FIRST
    drawn: dict[str, Any] = {}
    for name, entry in shapes.items():
        here = (*path, name)
        if isinstance(entry, Mapping):
            summed = "norm" in entry and "norm" in shapes.get(FIRST, {})
            drawn[name] = _draw(entry, seed, here, scaled, beside or (summed and name != trunk))
            continue
        rng = np.random.default_rng([seed, zlib.crc32("/".join(here).encode())])
        values = _values(rng, name, entry.shape)
        if not scaled and (_ends_branch(path) or (beside and path[-1:] == ("norm",))):
            values = values * BRANCH
        if not scaled and path[-1:] == (SKIP,) and name == "bias":
            values = values + SKIP_BIAS
        drawn[name] = jnp.asarray(values, entry.dtype)
    return drawn


def _ends_branch(path: tuple[str, ...]) -> bool:
    """True for the last layer of a branch, and for the convolution inside one that has a name of its own."""
    last = path[-1:] if path[-1:] != ("conv",) or path[-2:-1] != ("position",) else path[-2:-1]
    return GATE not in path and bool(BRANCH_ENDS.intersection(last))


def _common(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """What all taps have in common. A depthwise kernel has one number for it, which must not vanish: a batch
    norm would enlarge the little that is left, and its rounding errors."""
    if shape[2] > 1:
        return rng.normal(0, 1, shape)
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def _values(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Kernels keep the variance of what they read; nothing is zero, one, or equal to its neighbour.

    The taps of a kernel resemble each other, so that maps are smooth, as images and trained features are.
    Maps without any smoothness lose their signal in each average pooling, and keep their rounding errors.
    The weights of a dense layer's inputs sum to zero: inputs that are mostly positive have a common mean far
    above what differs between images, and every logit would follow it. Those of a convolution do not: a
    batch norm takes the mean away, and without what the channels have in common less of the signal would be
    left for it, beside rounding errors as large as before.
    """
    if kind == "kernel":
        taps = rng.normal(0, 1, shape)
        if len(shape) == 4 and shape[0] * shape[1] > 1:
            taps = _common(rng, (1, 1, *shape[2:])) + TAP_VARIATION * taps
        if len(shape) == 2:
            taps = taps - taps.mean(-2, keepdims=True)
        return taps / np.sqrt(np.prod(shape[:-1]))
    if kind == "gamma":
        return rng.uniform(0.8, 1.2, shape) * LAYER_SCALES
    if kind == "scale":
        return rng.uniform(0.8, 1.2, shape)
    return rng.normal(0, 0.1 if kind == "bias" else TABLE_DEVIATION, shape)
