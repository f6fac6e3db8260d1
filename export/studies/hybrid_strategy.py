"""`python -m export.studies.hybrid_strategy`: where Next-ViT has its transformer blocks, at equal latency.

Section 3.4 of Next-ViT (arXiv 2207.05501) compares stages of convolution blocks (C), transformer blocks (T)
and of groups of both (H), and how many convolution blocks N and groups L stage 3 has. Which networks those
are here: docs/next_vit_ablations.md. Each is measured with the widths of Next-ViT-S, then widened or narrowed
until it takes as long as that, to see what the same latency buys.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from export.lab.study import main
from export.studies._next_vit import Part
from export.studies._next_vit_study import study
from hvjax.models.next_vit_strategy import DEPTHS, blocks, hybrid_strategy

SOURCE = "Next-ViT, arXiv 2207.05501, section 3.4; depths and widths of the variants are inferred"
#: Letters of the four stages; Next-ViT itself is C H H H.
STRATEGIES = ("CCCC", "CCCT", "CCTT", "CTTT", "TTTT", "CCCH", "CCHH", "HHHH")
#: N and L of stage 3; Next-ViT-S has N = 4, L = 2.
STAGE3 = ((1, 5), (2, 3), (9, 1))
#: Stage 1 of Next-ViT-S has no transformer block, hence no width for one.
STAGE1_WIDTH = 128
SMALL_STRATEGIES, SMALL_STAGE3, SMALL_DEPTHS = ("CCCC",), ((1, 1),), (2, 2, 3, 2)


def parts(small: bool) -> list[Part]:
    """The strategies, and N and L of stage 3."""
    if small:
        strategies = {_spaced(letters): _strategy(letters, SMALL_DEPTHS, 2) for letters in SMALL_STRATEGIES}
        stage3 = {_pair(n, groups): _stage3("C2", "H1", n, groups, "H1") for n, groups in SMALL_STAGE3}
    else:
        strategies = {_spaced(letters): _strategy(letters, DEPTHS, 4) for letters in STRATEGIES}
        stage3 = {_pair(n, groups): _stage3("C3", "H3", n, groups, "H2") for n, groups in STAGE3}
    return [
        Part("strategies", strategies, calibrated=True),
        Part("stage 3", stage3, calibrated=True),
    ]


def _strategy(letters: str, depths: Sequence[int], convolutions: int) -> dict[str, Any]:
    made: dict[str, Any] = {"blocks": hybrid_strategy(letters, depths, convolutions)}
    if letters[0] != "C" and depths == DEPTHS:
        made["transformer_channels"] = (STAGE1_WIDTH, 256, 512, 1024)
    return made


def _stage3(first: str, second: str, n: int, groups: int, last: str) -> Mapping[str, Any]:
    return {"blocks": blocks(first, second, f"H{n}x{groups}", last)}


def _spaced(letters: str) -> str:
    return " ".join(letters)


def _pair(n: int, groups: int) -> str:
    return f"N={n}, L={groups}"


STUDY = study(
    "hybrid_strategy", "Hybrid strategies of Next-ViT at equal widths and at equal latency", SOURCE, parts
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
