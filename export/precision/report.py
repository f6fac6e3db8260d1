"""What was found about the precision of a file, for people: lines, a card of the report, plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from export.precision import HOLDS
from export.report_parts import card, table

if TYPE_CHECKING:
    from export.precision.ranges import Overflow  # which needs onnx: a bundle's report is drawn without

#: Activations above this share of the largest number are worth a warning: other images may reach further.
NEAR = 0.5
#: Share of the operations in float32 beyond which half precision has lost its point.
MANY = 0.5
WORDS = {"fp16": "float16", "bf16": "bfloat16"}
#: Islands named in the printed line; report.json has all.
SHOWN = 4


@dataclass(frozen=True)
class Island:
    """A module that stays float32.

    why: "overflow", "error" (the search found that its rounding costs too much) or "asked".
    nodes: operations in it; largest: magnitude of its largest activation, in float32; share: the error with
    only (a part of) it in half precision, None if that was not measured.
    """

    module: str
    why: str
    nodes: int
    largest: float
    share: float | None

    def reason(self) -> str:
        if self.why == "overflow":
            return f"reaches {self.largest:.3g}"
        if self.why == "error" and self.share is not None:
            return f"alone costs {_error(self.share)}"
        return "as asked"


@dataclass(frozen=True)
class Precision:
    """Errors are relative to the largest output, of the gate's images: before and after islands were found.

    nodes: operations in half precision before that; largest: magnitude of the largest activation in float32;
    runs: graphs that the search ran, at most `most_runs` each time; note: why it found nothing that passes.
    """

    name: str
    nodes: int
    largest: float
    largest_tensor: str
    islands: tuple[Island, ...]
    overflows: tuple[Overflow, ...]
    error_before: float
    error_after: float
    searched: bool
    runs: int
    most_runs: int
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"keep_fp32": self.flag()}

    def flag(self) -> str:
        """What to give to --keep-fp32 for the same islands; empty without any."""
        return ",".join(island.module for island in self.islands)

    def line(self) -> str:
        word = WORDS[self.name]
        if not self.islands:
            return f"all in {word}; largest activation {self.largest:.3g} ({self.largest_tensor})"
        shown = [f"{island.module} ({island.reason()})" for island in self.islands[:SHOWN]]
        more = len(self.islands) - len(shown)
        text = ", ".join(shown) + (f" and {more} more" if more else "")
        kept = sum(island.nodes for island in self.islands)
        text = f"float32 stays in {text}: {kept} of {self.nodes} operations"
        if self.searched:
            text += f"; error {_error(self.error_before)} before, {_error(self.error_after)} after"
            text += f", {self.runs} runs" if self.runs else ""
        return text

    def caution(self) -> str | None:
        """None, or that other images may leave the range of the type, or that too much stays float32."""
        kept = sum(island.nodes for island in self.islands)
        if kept > MANY * self.nodes:
            return (
                f"{kept} of {self.nodes} operations stay float32: {WORDS[self.name]} makes this model hardly "
                "smaller or faster"
            )
        if self.overflows or self.largest <= NEAR * HOLDS[self.name]:
            return None
        return (
            f"activations reach {self.largest:.3g} in {self.largest_tensor}, and {WORDS[self.name]} ends at "
            f"{HOLDS[self.name]:.5g}: other images may go beyond"
        )


def precision_card(data: Mapping[str, Any]) -> str:
    """The card of report.html; empty for a file that is not in half precision."""
    found = data.get("precision")
    if not found:
        return ""
    word = escape(WORDS[found["name"]])
    what = (
        f"{found['nodes']} operations were traced in {word}. The largest activation on the gate's images is "
        f"{found['largest']:.3g}, in <code>{escape(found['largest_tensor'])}</code>"
        f" ({word} ends at {HOLDS[found['name']]:.5g})."
    )
    if not found["islands"]:
        return card("Precision", f"{what} Nothing had to stay float32.", "")
    rows = [
        (
            f"<code>{escape(island['module'])}</code>",
            escape(_REASONS[island["why"]]),
            str(island["nodes"]),
            f"{island['largest']:.3g}",
            "" if island["share"] is None else _error(island["share"]),
        )
        for island in found["islands"]
    ]
    body = table(
        ("stays float32", "why", "operations", "largest activation", "error of it alone"), rows, (2, 3, 4)
    )
    if found["searched"]:
        body += (
            f"<p>Error {_error(found['error_before'])} before, {_error(found['error_after'])} after; "
            f"found with {found['runs']} runs. The same again without a search: "
            f"<code>--keep-fp32 {escape(found['keep_fp32'])}</code></p>"
        )
    return card("Precision", what, body)


_REASONS = {"overflow": "it overflows", "error": "its rounding costs too much", "asked": "asked for"}


def _error(value: float | None) -> str:
    return "not finite" if value is None or not math.isfinite(value) else f"{value:.1e}"
