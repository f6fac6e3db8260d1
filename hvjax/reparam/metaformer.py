"""MetaFormer for deployment: no layer scale, and RepMixer as one depthwise convolution.

Group norms take statistics of the image and stay.
"""

from __future__ import annotations

from typing import Any

from hvjax.ops.trees import Tree
from hvjax.reparam.branches import merge_rep_mixer
from hvjax.reparam.rules import Fuse, Rule, child_of, scale_into_previous

EPSILON = 1e-5  # of every batch norm in the network


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `MetaFormerConfig`."""
    return (
        REP_MIXER if config.token_mixer == "repmixer" else POOLING,
        Rule("stage*.block*", scale_into_previous("layer_scale2", "mlp.fc2")),
    )


def scale_into_norm(scale: str, norm: str) -> Fuse:
    """Fold the layer scale after a mixer of single channels, which is linear, into the norm before it.

    `gamma * mix(scale * z + bias) = mix(gamma * scale * z + gamma * bias)`, since `mix` treats all channels
    alike and one by one.
    """

    def fuse(node: Tree) -> Tree:
        gamma = child_of(node, scale)["gamma"]
        affine = child_of(node, norm)
        rest = {name: child for name, child in node.items() if name != scale}
        return {**rest, norm: {name: (leaf * gamma).astype(leaf.dtype) for name, leaf in affine.items()}}

    return fuse


POOLING = Rule("stage*.block*", scale_into_norm("layer_scale1", "norm1"))
REP_MIXER = Rule("stage*.block*.token_mixer", merge_rep_mixer(epsilon=EPSILON))
