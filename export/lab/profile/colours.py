"""How kinds of operations are drawn, everywhere the same: Okabe and Ito's colours, told apart by all eyes."""

from __future__ import annotations

from export.lab.profile.kinds import (
    CONVOLUTION,
    ELEMENTWISE,
    MATMUL,
    MOVEMENT,
    NORM,
    OTHER,
    REDUCTION,
    SOFTMAX,
)

COLOUR_OF_KIND = {
    CONVOLUTION: "#0072B2",
    MATMUL: "#56B4E9",
    SOFTMAX: "#D55E00",
    NORM: "#E69F00",
    ELEMENTWISE: "#009E73",
    REDUCTION: "#CC79A7",
    MOVEMENT: "#F0E442",
    OTHER: "#9aa3ad",
}
#: Where colours are lost in print, the moving of data still stands out.
HATCH_OF_KIND = {MOVEMENT: "///", OTHER: "..."}
