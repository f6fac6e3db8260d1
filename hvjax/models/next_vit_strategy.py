"""Hybrid strategies of Next-ViT (arXiv 2207.05501, section 3.4), written as the config's `blocks`.

A stage of kind C has convolution blocks only, one of kind T transformer blocks only, and one of kind H(N)
groups of N convolution blocks and one transformer block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hvjax.models.next_vit_config import CONVOLUTION, STRIDES, TRANSFORMER

HYBRID = "H"
DEPTHS = (3, 4, 10, 3)  # blocks of each stage of Next-ViT-S


def stage_blocks(stage: str) -> str:
    """Blocks of one stage: `"C3"`, `"T4"`, `"H4"` (four C and one T), `"H4x2"` (two such groups).

    >>> stage_blocks("C3"), stage_blocks("T2"), stage_blocks("H4x2")
    ('CCC', 'TT', 'CCCCTCCCCT')

    Raises:
      ValueError: if the text is none of these, or a number is zero.
    """
    found = re.fullmatch(r"([CTH])([1-9]\d*)(?:x([1-9]\d*))?", str(stage))
    if not found or (found[1] != HYBRID and found[3]):
        raise ValueError(f"stage {stage!r}: expected C, T or H with a number, such as C3, T4, H2 or H4x2")
    letter, number, groups = found[1], int(found[2]), int(found[3] or 1)
    return (CONVOLUTION * number + TRANSFORMER) * groups if letter == HYBRID else letter * number


def blocks(*stages: str) -> tuple[str, ...]:
    """The config's `blocks` from one text a stage, as of `stage_blocks`.

    >>> blocks("C3", "H3", "H4x2", "H2")
    ('CCC', 'CCCT', 'CCCCTCCCCT', 'CCT')
    """
    if len(stages) != len(STRIDES):
        raise ValueError(f"stages={stages!r}: expected {len(STRIDES)}, such as C3, H3, H4x2, H2")
    return tuple(map(stage_blocks, stages))


def hybrid_strategy(letters: str, depths: Sequence[int] = DEPTHS, convolutions: int = 4) -> tuple[str, ...]:
    """The config's `blocks` from one letter a stage, at given depths: the paper's comparison of strategies.

    A stage H whose depth is a multiple of `convolutions + 1` is that many groups H(`convolutions`); any other
    depth gives one group, whose last block is the transformer.

    >>> hybrid_strategy("CHHH")
    ('CCC', 'CCCT', 'CCCCTCCCCT', 'CCT')
    >>> hybrid_strategy("CCCT", depths=(2, 2, 3, 2))
    ('CC', 'CC', 'CCC', 'TT')

    Raises:
      ValueError: for other letters or numbers, or a stage H of one block.
    """
    if len(letters) != len(STRIDES) or len(depths) != len(STRIDES) or set(letters) - set("CTH"):
        raise ValueError(
            f"letters={letters!r}, depths={tuple(depths)!r}: expected {len(STRIDES)} letters of C, T and H, "
            "and as many depths"
        )
    return blocks(*map(_stage, letters, depths, [convolutions] * len(STRIDES)))


def _stage(letter: str, depth: int, convolutions: int) -> str:
    if letter != HYBRID:
        return f"{letter}{depth}"
    if depth < 2 or convolutions < 1:
        raise ValueError(f"a stage H of {depth} blocks: expected at least a C and a T block")
    groups, rest = divmod(depth, convolutions + 1)
    return f"{HYBRID}{depth - 1}" if rest else f"{HYBRID}{convolutions}x{groups}"
