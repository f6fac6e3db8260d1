"""How families look, in the page and in the picture: a colour and a shape that no two have in common.

The colours are those of Okabe and Ito, told apart by most colour-blind readers, darkened to 3:1 on white; for
dark backgrounds lightened. No palette keeps thirteen families apart: so they differ in shape too.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Name -> (on white, on dark).
_COLOURS = {
    "vermilion": ("#c94f00", "#ff8a4c"),
    "blue": ("#0a63a8", "#5aa9ea"),
    "green": ("#00805c", "#35c79b"),
    "purple": ("#b04a86", "#e79ac8"),
    "orange": ("#b07400", "#f0b53c"),
    "sky": ("#2c8cc4", "#8ad0f7"),
    "grey": ("#5b6470", "#b1bac6"),
}


@dataclass(frozen=True)
class Style:
    """light, dark: colours; shape: one of `SHAPES`."""

    light: str
    dark: str
    shape: str


#: Shape -> matplotlib's marker.
SHAPES = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "down": "v",
    "plus": "P",
    "cross": "X",
    "star": "*",
}

_FAMILIES = {
    "Next-ViT": ("vermilion", "circle"),
    "FastViT": ("blue", "square"),
    "ResNet": ("grey", "triangle"),
    "Swin": ("purple", "diamond"),
    "PyramidTNT": ("green", "down"),
    "UniFormer": ("orange", "plus"),
    "MobileOne": ("sky", "circle"),
    "PoolFormer": ("green", "square"),
    "ConvNeXt": ("purple", "cross"),
    "CMT": ("orange", "diamond"),
    "EfficientFormer": ("sky", "star"),
    "RegNetY": ("grey", "plus"),
    "PVT": ("blue", "down"),
    "TRT-ViT": ("vermilion", "cross"),
}


def style(family: str) -> Style:
    """A grey circle for a family that has no style of its own."""
    colour, shape = _FAMILIES.get(family, ("grey", "circle"))
    return Style(*_COLOURS[colour], shape)
