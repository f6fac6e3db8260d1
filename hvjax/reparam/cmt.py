"""Where the batch norms of CMT go.

Those after a convolution go into it, and the one between GELU and a 1x1 convolution goes into the latter. The
norms between GELU and a 3x3 convolution stay, as affine maps: the zeros around the map come after the norm,
and a shift that is folded into the convolution would move them at the borders. The residuals of depthwise
convolutions become part of their kernels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hvjax.reparam import rules
from hvjax.reparam.branches import add_identity
from hvjax.reparam.rules import Rule

EPSILON = 1e-5  # of every batch norm in the network

into_previous = partial(rules.into_previous, epsilon=EPSILON)
into_following = partial(rules.into_following, epsilon=EPSILON)
to_affine = partial(rules.to_affine, epsilon=EPSILON)


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `CMTConfig`, without the line of reductions if it has none."""
    reduced = any(ratio > 1 for ratio in config.reduction_ratios)
    return (
        *(Rule("stem", to_affine(f"norm{number}")) for number in (1, 2, 3)),
        Rule("stage*.block*", add_identity("lpu")),
        *((REDUCTION,) if reduced else ()),
        Rule("stage*.block*.mlp", to_affine("norm1")),
        Rule("stage*.block*.mlp", add_identity("conv")),
        Rule("stage*.block*.mlp", into_previous("norm3", "fc2")),
        Rule("stage*.block*.mlp", into_following("norm2", "fc2")),
        Rule("", into_previous("norm", "expand"), tail=True),
    )


REDUCTION = Rule("stage*.block*.attn[sr]", into_previous("norm", "sr"))
