"""The choice of ends: what a file takes, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREPROCESS = ("none", "normalise", "full")
POSTPROCESS = ("none", "softmax", "topk")

#: Names of nodes and constants before the model begin so.
FRONT = "preprocess"
LOGITS, PROBABILITIES = "logits", "probabilities"
#: Outputs of a file that ends in top-k.
TOP_PROBABILITIES, TOP_CLASSES = "top_probabilities", "top_classes"


@dataclass(frozen=True)
class Ends:
    """preprocess: "none" (the file takes normalised float32), "normalise" (uint8 pictures of the model's
    size) or "full" (uint8 pictures of size `source`, (height, width), which the file resizes and crops);
    postprocess: "none" (logits), "softmax" (probabilities) or "topk" (the `top` largest of them, largest
    first, and their classes)."""

    preprocess: str = "none"
    source: tuple[int, int] | None = None
    postprocess: str = "none"
    top: int = 0

    @property
    def takes_pictures(self) -> bool:
        return self.preprocess != "none"

    @property
    def dtype(self) -> str:
        """Of the elements of the file's input."""
        return "uint8" if self.takes_pictures else "float32"

    def picture(self, size: tuple[int, int], crop_pct: float) -> tuple[tuple[int, int], float]:
        """Size of what the file takes and share of it that is left after a crop, for a model that takes
        `size` and pictures cropped to `crop_pct`: what is done to a picture before the file sees it."""
        return (self.source, 1.0) if self.source is not None else (size, crop_pct)

    def compared(self, output: str) -> str:
        """What the gate compares, for a model that answers `output`."""
        return output if self.postprocess == "none" else PROBABILITIES

    def outputs(self, output: str, classes: int) -> list[tuple[str, tuple[int, ...], str]]:
        """Name, shape without the batch, and type of what the file gives, for a model that answers
        `classes` numbers called `output`."""
        if self.postprocess == "topk":
            return [(TOP_PROBABILITIES, (self.top,), "float32"), (TOP_CLASSES, (self.top,), "int64")]
        return [(self.compared(output), (classes,), "float32")]

    def suffix(self) -> str:
        """For the name of a folder: "-uint8-480x640-top5"; empty for a plain file."""
        parts = ["uint8"] if self.takes_pictures else []
        parts += [size(self.source)] if self.source is not None else []
        parts += {"softmax": ["softmax"], "topk": [f"top{self.top}"]}.get(self.postprocess, [])
        return "".join(f"-{part}" for part in parts)

    def line(self, layout: str) -> str:
        """In words; empty for a plain file."""
        parts = []
        if self.takes_pictures:
            done = "resizes, crops and normalises" if self.source is not None else "normalises"
            pictures = f"pictures of {size(self.source)}" if self.source is not None else "pictures"
            parts.append(f"takes uint8 {pictures} ({layout}) and {done} them")
        if self.postprocess == "softmax":
            parts.append("gives probabilities")
        elif self.postprocess == "topk":
            parts.append(f"gives the {self.top} largest probabilities and their classes")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """For report.json and what is made of it."""
        after = f"topk:{self.top}" if self.postprocess == "topk" else self.postprocess
        source = list(self.source) if self.source is not None else None
        return {"preprocess": self.preprocess, "source_size": source, "postprocess": after}


def from_dict(said: Mapping[str, Any]) -> Ends:
    """What `Ends.as_dict` wrote, among other things; a plain file where nothing is said."""
    source, (after, _, top) = said.get("source_size"), str(said.get("postprocess", "none")).partition(":")
    height_width = (int(source[0]), int(source[1])) if source else None
    return Ends(str(said.get("preprocess", "none")), height_width, after, int(top or 0))


#: A plain file.
PLAIN = Ends()


def size(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"
