"""Draw docs/images/latency-ratio.svg: kernels and latency of every model as a share of its timm twin's.

Called by model_table.py; also `ratio_picture.py`. Light, with its own background, so that it can be read
anywhere; nothing but text.
"""

from results import RESULTS, read, read_by_batch

FILE = RESULTS.parent / "images" / "latency-ratio.svg"
ROW, TOP, LEFT, WIDTH, GAP = 20, 84, 150, 300, 40
BLUE, ORANGE, INK, SOFT, GRID = "#2f6db3", "#d9822b", "#1b2330", "#5d6878", "#e2e6ec"
#: Title, what is drawn from left to right, and the names of the two marks.
PANELS = (
    ("TensorRT kernels, ours / twin, batch 1", (0.5, 1.1), ("float32", "float16")),
    ("ONNX Runtime latency, ours / twin", (0.8, 1.2), ("batch 1", "batch 8")),
)


def draw() -> str:
    """The picture of all models that have been timed."""
    from hvjax.registry import MODELS

    latency, twins = read_by_batch("latency_ratio.jsonl"), read_by_batch("torch_twins.jsonl")
    ours = read("models.jsonl")
    names = [name for name in MODELS if (name, 1) in latency or (name, 8) in latency]
    height, width = TOP + ROW * len(names) + 40, LEFT + 2 * WIDTH + GAP + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(20, 24, "Each model as a share of its timm twin: left of 1 is better", INK, "start", 600),
    ]
    for index, (title, ends, marks) in enumerate(PANELS):
        left = LEFT + index * (WIDTH + GAP)
        parts += axes(left, title, ends, marks, len(names))
    for row, name in enumerate(names):
        y = TOP + ROW * row + ROW / 2
        parts.append(text(LEFT - 14, y + 4, name, INK, "end"))
        for precision, colour, shift in (("fp32", BLUE, -3.5), ("fp16", ORANGE, 3.5)):
            found = ours.get(name, {}).get(precision, {}).get("batch_1", {}).get("kernels")
            twin = twins.get((name, 1), {}).get(precision, {}).get("kernels")
            if found and twin:
                parts += dot(LEFT, PANELS[0][1], y + shift, found / twin, colour)
        for batch, colour, shift in ((1, BLUE, -3.5), (8, ORANGE, 3.5)):
            row_of = latency.get((name, batch))
            if row_of:
                interval = (row_of["low"], row_of["high"])
                left = LEFT + WIDTH + GAP
                parts += dot(left, PANELS[1][1], y + shift, row_of["ratio"], colour, interval)
    return "\n".join([*parts, "</svg>"]) + "\n"


def axes(left: int, title: str, ends: tuple[float, float], marks: tuple[str, str], rows: int) -> list[str]:
    """Title, key, grid and scale of one panel."""
    bottom = TOP + ROW * rows
    parts = [text(left, 48, title, INK, "start", 600)]
    for mark, colour, x in ((marks[0], BLUE, left), (marks[1], ORANGE, left + 90)):
        parts.append(f'<circle cx="{x + 5}" cy="64" r="4.5" fill="{colour}"/>')
        parts.append(text(x + 15, 68, mark, SOFT))
    value = ends[0]
    while value <= ends[1] + 1e-9:
        x, one = place(left, ends, value), abs(value - 1) < 1e-9
        colour, thick = (SOFT, 1.5) if one else (GRID, 1)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="{colour}" '
            f'stroke-width="{thick}"/>'
        )
        parts.append(text(x, bottom + 18, f"{value:.1f}", SOFT, "middle"))
        value += 0.1
    return parts


def dot(
    left: int,
    ends: tuple[float, float],
    y: float,
    value: float,
    colour: str,
    interval: tuple[float, float] | None = None,
) -> list[str]:
    """A mark, with a bar for its interval; what is beyond the panel sits at its edge."""
    parts = []
    if interval:
        low, high = (place(left, ends, end) for end in interval)
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2" '
            'stroke-opacity="0.45"/>'
        )
    parts.append(f'<circle cx="{place(left, ends, value):.1f}" cy="{y}" r="3.5" fill="{colour}"/>')
    return parts


def place(left: int, ends: tuple[float, float], value: float) -> float:
    share = (min(max(value, ends[0]), ends[1]) - ends[0]) / (ends[1] - ends[0])
    return left + WIDTH * share


def text(x: float, y: float, words: str, colour: str, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{words}</text>"
    )


def write() -> None:
    FILE.write_text(draw())


if __name__ == "__main__":
    write()
