"""Where the batch norms of the TRT-ViT study's networks go; none is left in the deploy form.

The layer norms stay: their statistics are those of each token, so no linear layer can hold them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hvjax.reparam import rules
from hvjax.reparam.rules import Rule

EPSILON = 1e-5  # of every batch norm in the network

into_previous = partial(rules.into_previous, epsilon=EPSILON)
into_following = partial(rules.into_following, epsilon=EPSILON)
to_affine = partial(rules.to_affine, epsilon=EPSILON)

_EMBEDS = {"T": ("embed",), "A": ("embed_global", "embed_local"), "B": ("embed",), "M": ("embed",)}


def fusion_rules(config: Any) -> tuple[Rule, ...]:
    """Return the table for a `TrtViTConfig`, without the lines of blocks that it does not have."""
    used = set("".join(config.blocks))
    mixed = used & set("ABM")
    first_is_bottleneck = any(stage[0] == "C" for stage in config.blocks)
    # A mixed block whose two parts differ in width projects from one to the other.
    uneven = {
        letter
        for stage, width in zip(config.blocks, config.channels, strict=True)
        for letter in mixed & set(stage)
        if config.split(letter, width)[0] != config.split(letter, width)[1]
    }
    # A Transformer block has an embedding where stride or channels change: at the start of a stage.
    starts = zip(config.blocks, (config.stem_channels, *config.channels), config.channels, strict=False)
    embeds = {
        name
        for i, (stage, before, after) in enumerate(starts)
        for position, letter in enumerate(stage)
        for name in _EMBEDS.get(letter, ())
        if letter != "T" or (position == 0 and (i > 0 or before != after))
    }
    last_norm = into_following("norm", "head") if config.num_classes else to_affine("norm")
    return (
        Rule("stem", into_previous("norm", "conv")),
        *(_bottleneck("stage*.block*[conv1]") if "C" in used else ()),
        *((Rule("stage*.block*.shortcut", into_previous("norm", "conv")),) if first_is_bottleneck else ()),
        *(_bottleneck("stage*.block*.bottleneck") if mixed else ()),
        *(
            (Rule("stage*.block*.bottleneck.shortcut", into_previous("norm", "conv")),)
            if "M" in uneven
            else ()
        ),
        *((Rule("stage*.block*.widen", into_previous("norm", "conv")),) if "B" in uneven else ()),
        *(Rule(f"stage*.block*.{name}", into_previous("norm", "conv")) for name in sorted(embeds)),
        *((Rule("", last_norm, tail=True),) if config.ends_in_residual_sum() else ()),
    )


def _bottleneck(path: str) -> tuple[Rule, ...]:
    return tuple(Rule(path, into_previous(f"norm{i}", f"conv{i}")) for i in (1, 2, 3))
