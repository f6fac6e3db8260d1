"""The lines of the gate in report.json: what they say together, and the card that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from export.report_parts import card, in_short, table

Data = Mapping[str, Any]


def worst_line(gate: Data) -> dict[str, Any]:
    """`relative` and `limit` of the line of the ONNX file that uses most of what it may; `relative` is None
    if one of them is not finite. Lines that count detections are left out: a share is no error."""
    lines = [line for line in gate["comparisons"] if line["candidate"].startswith("model.onnx")]
    lines = [line for line in lines if not counts_detections(line)]
    if not lines or any(line["relative"] is None for line in lines):
        return {"relative": None, "limit": gate["limit"]}
    found = max(lines, key=lambda line: line["relative"] / line["limit"])
    return {"relative": found["relative"], "limit": found["limit"]}


def counts_detections(line: Data) -> bool:
    """Whether `relative` is a share of detections (`export.detections.Unpaired`)."""
    return "forgiven" in line


def stage_limit(gate: Data) -> float:
    """What a stage inside may differ by; reports of before it was written have one limit."""
    found: float = gate.get("stage_limit", gate["limit"])
    return found


def comparisons(data: Data) -> str:
    """The card of report.html with every line."""
    head = (
        "what", "output", "against", "batch", "images", "max abs", "relative", "limit", "cosine", "top-1", ""
    )  # fmt: skip
    lines = data["gate"]["comparisons"]
    rows = []
    for line in lines:
        verdict = '<span class="pass">pass</span>' if line["passed"] else '<span class="fail">FAIL</span>'
        said = (line["candidate"], line["output"], line["reference"], str(line["batch"]), str(line["images"]))
        rows.append((*map(escape, said), *_numbers_of(line), verdict))
    what = (
        "The training form is the model as it was trained; the deploy form is the same with every batch norm "
        "folded into its neighbour. Relative means divided by the largest value of the output."
    )
    if any(map(counts_detections, lines)):
        what += (
            " Detections are paired by class and overlap first: the line of labels counts those of either "
            "side without a partner, the others compare partners."
        )
    return card("Parity gate", what, table(head, rows, numbers=range(3, 10)))


def _numbers_of(line: Data) -> tuple[str, ...]:
    if counts_detections(line):
        lost = "" if line["max_abs"] is None else f"{line['max_abs']:.0f} lost"
        lost += f", {line['forgiven']} forgiven" if line["forgiven"] else ""
        return lost, f"{100 * line['relative']:.1f} %", f"{100 * line['limit']:.0f} %", "", ""
    top1 = "" if line["top1"] is None else f"{100 * line['top1']:.0f} %"
    amounts = error(line["max_abs"]), error(line["relative"]), in_short(line["limit"])
    return (*amounts, f"{line['cosine']:.7f}", top1)


def whose(lines: Sequence[Data]) -> str:
    """What the largest error is of: the file, where it has one output."""
    several = len({line["output"] for line in lines}) > 1
    return "the outputs of the ONNX file" if several else "the ONNX file"


def error(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"
