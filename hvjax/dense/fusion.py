"""What becomes of a network for dense prediction when it is deployed.

The backbone is fused by its family's own rules, without those of its tail, and each norm of the heads goes
into the convolution before it. Norms on the outputs of stages stay as affine maps: what reads them may pad.
"""

from __future__ import annotations

from functools import partial

from hvjax.blocks.batch_norm import EPSILON
from hvjax.dense.config import DenseConfig
from hvjax.dense.taps import backbone_row
from hvjax.dense.upernet import UPerNetConfig
from hvjax.reparam import rules
from hvjax.reparam.rules import Rule

into_previous = partial(rules.into_previous, epsilon=EPSILON)
to_affine = partial(rules.to_affine, epsilon=EPSILON)


def backbone_rules(config: DenseConfig) -> tuple[Rule, ...]:
    """Rules of the backbone and of the norms on its outputs, all there are of a head without batch norm."""
    own = backbone_row(config.backbone).fusion_rules(config.backbone)
    return (
        *(rule.under("backbone") for rule in own if not rule.tail),
        *(OUTPUT_NORMS if config.output_norms == "batch" else ()),
    )


def semantic_fpn_rules(config: DenseConfig) -> tuple[Rule, ...]:
    """Rules of a `SemanticFPN`."""
    return (*backbone_rules(config), Rule("head.scale*.conv*", into_previous("norm", "conv")))


def upernet_rules(config: UPerNetConfig) -> tuple[Rule, ...]:
    """Rules of a `UPerNet`; its auxiliary head is left out."""
    units = "head.{pool*,lateral*,smooth*,bottleneck,fuse}"
    return (
        *backbone_rules(config),
        Rule(units, into_previous("norm", "conv")),
        *((Rule("", rules.drop("auxiliary")),) if config.auxiliary_channels else ()),
    )


OUTPUT_NORMS = tuple(Rule("output_norms", to_affine(f"norm{i}")) for i in (1, 2, 3, 4))
