"""What a fusion rule is, and the ways in which a batch normalisation disappears.

A rule sees the parameters and the batch statistics in one tree: a normalisation is the node
`{"scale", "bias", "mean", "var"}`, each of shape `(c,)`. A convolution or linear layer is `{"kernel"}` or
`{"kernel", "bias"}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from hvjax.ops import conv_math
from hvjax.ops.trees import Path, Tree

Fuse = Callable[[Tree], Tree]

NORM_LEAVES = frozenset({"scale", "bias", "mean", "var"})


@dataclass(frozen=True)
class Rule:
    """Where to fuse, and how.

    Attributes:
      path: dotted pattern of the nodes to rewrite. `*` stands for any part of one name, `{a,b}` for either
        name, a final `[x]` keeps the nodes that have a child `x`, and the empty string is the whole tree:
        `"stage*.block*.{mhca,patch_embed}"`, `"stage*.block*[norm2]"`.
      fuse: maps a node to its fused form. It must not edit the node.
      upstream: the reference implementation's own fusion does this too. For a checkpoint saved after it
        only the other rules remain, so that rules of the two kinds must not depend on each other.
      tail: it rewrites what a backbone without its head does not have (`features(tail=False)`).
    """

    path: str
    fuse: Fuse
    upstream: bool = False
    tail: bool = False

    def matches(self, path: Path, node: Tree) -> bool:
        """Say whether the rule rewrites `node`, found at `path`."""
        pattern, _, child = self.path.partition("[")
        return bool(_regex(pattern).fullmatch(".".join(path))) and (not child or child.rstrip("]") in node)

    def under(self, prefix: str) -> Rule:
        """Return the same rule for a tree that lies under the child `prefix` of a larger one."""
        return replace(self, path=f"{prefix}.{self.path}" if self.path else prefix)


def into_previous(norm: str, layer: str, *, epsilon: float) -> Fuse:
    """Fold child `norm` into child `layer`, the convolution whose output it normalises."""

    def fuse(node: Tree) -> Tree:
        target = child_of(node, layer)
        affine = affine_of(node, norm, epsilon)
        kernel, bias = conv_math.fuse_conv_affine(kernel_of(target, layer), target.get("bias"), affine)
        return _replace(_without(node, norm), layer, {"kernel": kernel, "bias": bias})

    return fuse


def into_following(norm: str, *layers: str, epsilon: float) -> Fuse:
    """Fold child `norm` into each of `layers` (dotted), the linear or 1x1 layers that read it."""

    def fuse(node: Tree) -> Tree:
        affine = affine_of(node, norm, epsilon)
        fused = _without(node, norm)
        for layer in layers:
            target = child_of(node, layer)
            kernel, bias = conv_math.fuse_affine_linear(affine, kernel_of(target, layer), target.get("bias"))
            fused = _replace(fused, layer, {"kernel": kernel, "bias": bias})
        return fused

    return fuse


def scale_into_previous(scale: str, layer: str) -> Fuse:
    """Fold child `scale`, a layer scale `{"gamma"}`, into `layer` (dotted), whose output it multiplies."""

    def fuse(node: Tree) -> Tree:
        leaves, target = child_of(node, scale), child_of(node, layer)
        if set(leaves) != {"gamma"}:
            raise ValueError(f"{scale} has {_names(leaves)}; a layer scale has gamma")
        gamma = leaves["gamma"]
        scaled = {"kernel": (kernel_of(target, layer) * gamma).astype(target["kernel"].dtype)}
        if "bias" in target:
            scaled["bias"] = (target["bias"] * gamma).astype(target["bias"].dtype)
        return _replace(_without(node, scale), layer, scaled)

    return fuse


def into_scale_of_difference(norm: str, scale: str, *, epsilon: float) -> Fuse:
    """Fold child `norm` into child `scale`, {"gamma"}, of `gamma * (mean(norm(x)) - norm(x))`.

    The mean must be over values of the same channel with weights of sum one, as of a pooling that counts real
    pixels only. The difference then loses the norm's shift, and its scale commutes with the mean.
    """

    def fuse(node: Tree) -> Tree:
        leaves, affine = child_of(node, scale), affine_of(node, norm, epsilon)
        gamma = (leaves["gamma"] * affine.scale).astype(leaves["gamma"].dtype)
        return _replace(_without(node, norm), scale, {"gamma": gamma})

    return fuse


def to_affine(norm: str, *, epsilon: float) -> Fuse:
    """Reduce child `norm` to `{"scale", "bias"}` of `scale * x + bias`: no layer can take it."""

    def fuse(node: Tree) -> Tree:
        affine = affine_of(node, norm, epsilon)
        return _replace(node, norm, {"scale": affine.scale, "bias": affine.shift})

    return fuse


def drop(child: str) -> Fuse:
    """Leave out `child`, which only training computes."""

    def fuse(node: Tree) -> Tree:
        child_of(node, child)
        return _without(node, child)

    return fuse


def _regex(pattern: str) -> re.Pattern[str]:
    """Translate a path pattern into a regular expression."""
    text = re.escape(pattern).replace(r"\*", "[^.]*").replace(r"\{", "(?:").replace(r"\}", ")")
    return re.compile(text.replace(",", "|"))


def affine_of(node: Tree, norm: str, epsilon: float) -> conv_math.Affine:
    """Return child `norm`, a batch norm with fixed statistics, as an affine map."""
    leaves = child_of(node, norm)
    if set(leaves) != NORM_LEAVES:
        raise ValueError(f"{norm} has {_names(leaves)}; a batch normalisation has {_names(NORM_LEAVES)}")
    return conv_math.norm_affine(leaves["scale"], leaves["bias"], leaves["mean"], leaves["var"], epsilon)


def child_of(node: Tree, path: str) -> Tree:
    """Return the child at the dotted `path`; ValueError if there is none."""
    for name in path.split("."):
        child = node.get(name)
        if not isinstance(child, dict):
            raise ValueError(f"there is no {path}; found {_names(node)}")
        node = child
    return node


def kernel_of(layer: Tree, name: str):
    """Return the kernel of `layer`, called `name` in the error; ValueError if it is no such layer."""
    if "kernel" not in layer or not set(layer) <= {"kernel", "bias"}:
        raise ValueError(
            f"{name} has {_names(layer)}; a convolution or linear layer has kernel and perhaps bias"
        )
    return layer["kernel"]


def _without(node: Tree, name: str) -> Tree:
    return {key: value for key, value in node.items() if key != name}


def _replace(node: Tree, path: str, value: Tree) -> Tree:
    """Return a copy of `node` with the child at the dotted path replaced."""
    name, _, rest = path.partition(".")
    return {**node, name: _replace(node[name], rest, value) if rest else value}


def _names(names) -> str:
    return ", ".join(sorted(names)) or "nothing"
