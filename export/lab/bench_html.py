"""The bench's table as one page: sorted by a click, filtered by a few fields, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from export.lab.bench_rows import Row, conditions, groups, label, place, setting_words, size
from export.report_style import CSS

#: (heading, explanation, whether numbers stand in it)
COLUMNS = (
    ("model", "registry name; deploy form unless it says otherwise", False),
    ("px", "height and width of an image", True),
    ("runtime", "", False),
    ("setting", "precision, images of a call, and what else was asked for", False),
    ("machine", "", False),
    ("ms", "typical time of a call", True),
    ("interval, ms", "95 % interval of the typical time", True),
    ("p99, ms", "99 of 100 calls were faster", True),
    ("images/s", "batch over typical time", True),
    ("ratio", "time over that of the reference, which ran in the same heat", True),
    ("interval", "95 % interval of the ratio", True),
    ("verdict", "against the reference", False),
    ("MiB", "memory that is in use after the first call, where it is known", True),
    ("params, M", "", True),
    ("GMACs", "of one image", True),
)
STYLE = """
main { max-width:1500px; }
th button { all:unset; cursor:pointer; white-space:nowrap; }
th button:focus-visible { outline:2px solid var(--bar); }
th[aria-sort=ascending] button::after { content:" \\25B2"; }
th[aria-sort=descending] button::after { content:" \\25BC"; }
.filters { display:flex; flex-wrap:wrap; gap:14px; align-items:end; margin:0 0 12px; }
.filters label { font-size:13px; color:var(--muted); display:grid; gap:3px; }
.filters input,.filters select { font:inherit; color:var(--fg); background:var(--bg);
  border:1px solid var(--line); border-radius:7px; padding:5px 8px; }
td.faster { color:var(--good); font-weight:600; } td.slower { color:var(--bad); font-weight:600; }
td.cannot { color:var(--muted); }
"""
SCRIPT = """
const table = document.querySelector("#bench"), body = table.tBodies[0], all = [...body.rows];
const fields = [...document.querySelectorAll("[data-filter]")];
const value = (row, place) => row.cells[place].dataset.value ?? row.cells[place].textContent;
function show() {
  let left = 0;
  for (const row of all) {
    row.hidden = !fields.every(field => {
      const have = row.cells[field.dataset.filter].textContent, want = field.value.trim();
      if (!want || field.tagName === "SELECT") return !want || have === want;
      return have.toLowerCase().includes(want.toLowerCase());
    });
    left += !row.hidden;
  }
  document.querySelector("#left").textContent = `${left} of ${all.length} rows`;
}
function sort(head, place) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const number = head.classList.contains("n");
  all.sort((a, b) => {
    const x = value(a, place), y = value(b, place);
    if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);  // what is unknown stands last, either way
    return (number ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
  });
  body.append(...all);
}
[...table.tHead.rows[0].cells].forEach((head, place) =>
  head.querySelector("button").addEventListener("click", () => sort(head, place)));
fields.forEach(field => field.addEventListener("input", show));
show();
"""


def page(found: Sequence[Row], failures: Sequence[str], *, title: str, note: str = "") -> str:
    """The whole page.

    Args:
      failures: what could not be measured, a line each.
      note: said in front, above the table.
    """
    reference = found[0].reference if found else ""
    said = "".join(f"<li>{escape(conditions(rows))}</li>" for rows in groups(found).values())
    missing = "".join(f"<li>{escape(line)}</li>" for line in failures)
    banner = f'<div class="banner">{escape(note)}</div>' if note else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{CSS}{STYLE}</style></head>\n<body><main>"
        f"<h1>{escape(title)}</h1>{banner}"
        f'<p class="what">Times of one call, measured in turns; ratios and verdicts against '
        f"{escape(reference)} in the same heat. Weights are random: "
        "latency does not depend on what a network has learnt. "
        "Click a heading to sort.</p>"
        f'<section class="card">{_filters(found)}<div class="wide"><table id="bench">{_head()}'
        f"<tbody>{''.join(map(_row, found))}</tbody></table></div></section>"
        f'<section class="card"><h2>How it was measured</h2><ul>{said}</ul></section>'
        + (f'<section class="card"><h2>Not measured</h2><ul>{missing}</ul></section>' if missing else "")
        + f"</main><script>{SCRIPT}</script></body></html>\n"
    )


def _filters(found: Sequence[Row]) -> str:
    fields = ['<label>model contains<input data-filter="0" type="search"></label>']
    for column, values in _choices(found).items():
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        heading = escape(COLUMNS[column][0])
        fields.append(
            f'<label>{heading}<select data-filter="{column}"><option value="">all</option>'
            f"{options}</select></label>"
        )
    return f'<div class="filters">{"".join(fields)}<span class="muted" id="left"></span></div>'


def _choices(found: Sequence[Row]) -> Mapping[int, list[str]]:
    values = {
        2: [row.record.runtime for row in found],
        3: [setting_words(row.record) for row in found],
        4: [place(row.record) for row in found],
        11: [row.verdict.word for row in found if row.verdict],
    }
    return {column: list(dict.fromkeys(texts)) for column, texts in values.items()}


def _head() -> str:
    cells = "".join(
        f'<th{" class=n" if number else ""} title="{escape(why)}">'
        f'<button type="button">{escape(name)}</button></th>'
        for name, why, number in COLUMNS
    )
    return f"<thead><tr>{cells}</tr></thead>"


def _row(row: Row) -> str:
    record, summary, verdict = row.record, row.summary, row.verdict
    word = verdict.word if verdict else "the reference" if record.name == row.reference else ""
    cells = [
        (label(record), None),
        (size(record), _area(record.subject.get("image_size"))),
        (record.runtime, None),
        (setting_words(record), None),
        (place(record), None),
        (f"{summary.typical:.3f}", summary.typical),
        (f"{summary.low:.3f} to {summary.high:.3f}", summary.low),
        (f"{summary.p99:.3f}", summary.p99),
        (f"{row.images_per_second:.1f}", row.images_per_second),
        (f"{verdict.ratio:.3f}", verdict.ratio) if verdict else ("", None),
        (f"{verdict.low:.3f} to {verdict.high:.3f}", verdict.low) if verdict else ("", None),
        (word, None),
        ("", None) if row.bytes is None else (f"{row.bytes / 2**20:.1f}", row.bytes),
        _millions(record.subject.get("params"), 1e6),
        _millions(record.subject.get("macs"), 1e9),
    ]
    texts = []
    for (text, value), (heading, _, number) in zip(cells, COLUMNS, strict=True):
        kind = "n" if number else word.split(" ")[0] if heading == "verdict" else ""
        mark = f' class="{kind}"' if kind else ""
        data = "" if value is None else f' data-value="{value:.10g}"'
        texts.append(f"<td{mark}{data}>{escape(text)}</td>")
    return f"<tr>{''.join(texts)}</tr>"


def _millions(value: object, unit: float) -> tuple[str, float | None]:
    return (f"{value / unit:.2f}", float(value)) if isinstance(value, int | float) else ("", None)


def _area(sides: object) -> float | None:
    return float(sides[0] * sides[-1]) if isinstance(sides, list | tuple) and sides else None
