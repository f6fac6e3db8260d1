"""The cards of report.html that prove: hashes from checkpoint to engine, and every layer with its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from export.report_parts import card, in_bytes, table

Data = Mapping[str, Any]

#: Layers of the engine named outright; the whole list is one click away.
_SHOWN_UNATTRIBUTED = 5


def files(data: Data) -> str:
    """Checkpoint, ONNX and engine: size and SHA-256."""
    rows = [(escape(name), in_bytes(file["bytes"]), _hash(file)) for name, file in data["files"].items()]
    what, checkpoint = "", data["proof"]["checkpoint"]
    if checkpoint:
        count = checkpoint["files"]
        name = f"checkpoint <code>{escape(checkpoint['path'])}</code>"
        rows.insert(0, (name, in_bytes(checkpoint["bytes"]), _hash(checkpoint)))
        if count > 1:
            what = (
                f"The checkpoint is a folder of {count} files; its hash is that of the sorted list of their "
                "hashes (docs/deployment.md has the command that repeats it)."
            )
    return card("Files", what, table(("file", "size", "SHA-256"), rows, numbers=[1]))


def validation(data: Data) -> str:
    """Top-1 agreement on the validation images of the training run; empty without them."""
    found = data["proof"]["validation"]
    if not found:
        return ""
    rows = [("same top-1 class in JAX and in the file", _percent(found["top1"]))]
    if found["accuracy_jax"] is not None:
        rows.append(("right by the labels: JAX", _percent(found["accuracy_jax"])))
        rows.append(("right by the labels: ONNX file", _percent(found["accuracy_file"])))
    what = f"{found['images']} images: {escape(found['source'])}."
    return card("Validation images", what, table(("", ""), rows, numbers=[1]))


def layers(data: Data) -> str:
    """What each kernel of the engine computes, of which modules and in which types; empty without kernels."""
    proof = data["proof"]
    entries: Sequence[Data] = proof["layers"]
    if not entries:
        return ""
    found = proof["attribution"]
    by = found["by"]
    what = (
        f"{100 * found['share']:.0f} % of the {len(entries)} kernels are attributed to Flax modules: "
        f"{by.get('metadata', 0)} by what the builder says of them, {by.get('name', 0)} by their name alone. "
        f"{found['fused']} kernels hold more than one node of the ONNX file."
    )
    body = ""
    left = found["unattributed"]
    if left:
        shown = ", ".join(f"<code>{escape(name)}</code>" for name in left[:_SHOWN_UNATTRIBUTED])
        more = f" and {len(left) - _SHOWN_UNATTRIBUTED} more" if len(left) > _SHOWN_UNATTRIBUTED else ""
        body += f"<p>Unattributed: {shown}{more}.</p>"
    rows = [(escape(name), str(count)) for name, count in proof["precisions"].items()]
    body += table(("types read and written", "kernels"), rows, numbers=[1])
    body += (
        f"<details><summary>All {len(entries)} layers: modules, nodes, types, formats</summary>"
        f"{_all(entries)}</details>"
    )
    return card("Layers of the engine", what, body)


def _all(entries: Sequence[Data]) -> str:
    head = ("", "Flax modules", "kernel", "reads", "writes")
    rows = []
    for index, entry in enumerate(entries):
        modules = "<br>".join(escape(module or "(the model)") for module in entry["modules"])
        if not modules:
            after = ", ".join(escape(module or "(the model)") for module in entry["after"])
            where = f", reads what {after} wrote" if after else ""
            modules = f'<span class="muted">unattributed{where}</span>'
        nodes = "<br>".join(escape(node) for node in entry["nodes"])
        mark = ' <span class="moves">moves data</span>' if entry["moves_data"] else ""
        kernel = f"<code>{escape(entry['kernel'])}</code> {escape(entry['kind'])}{mark}"
        if nodes:
            kernel += f'<br><span class="muted">{nodes}</span>'
        weights = ""
        if entry["weights"]:
            weights = f'<br><span class="line">weights {escape(", ".join(entry["weights"]))}</span>'
        rows.append(
            (str(index), modules, kernel, _tensors(entry["reads"]) + weights, _tensors(entry["writes"]))
        )
    return table(head, rows, numbers=[0]).replace('class="wide"', 'class="wide long"', 1)


def _tensors(tensors: Sequence[Data]) -> str:
    """Type and memory format, those that repeat counted: "2 x Half NHWC"."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        text = " ".join(part for part in (tensor["type"], _short(tensor["format"])) if part)
        counts[text] = counts.get(text, 0) + 1
    lines = (escape(text if n == 1 else f"{n} x {text}") for text, n in counts.items())
    return "<br>".join(f'<span class="line">{line}</span>' for line in lines)


def _short(layout: str) -> str:
    """ "(NHWC) Channel major format" -> "NHWC"; what is not so written stays."""
    return layout[1 : layout.index(")")] if layout.startswith("(") and ")" in layout else layout


def _hash(file: Data) -> str:
    return f"<code>{file['sha256']}</code>"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
