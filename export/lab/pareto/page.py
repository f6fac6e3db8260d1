"""The page: one HTML file with its data, style and script inside; it fetches nothing.

Text from records and files never becomes markup: in HTML it is escaped, the data stand in a script element
that no browser runs, with every "<" written as its number, and the script makes elements out of text only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from export.lab.pareto.accuracies import PLAIN, Accuracy, family, kind
from export.lab.pareto.style import style
from export.lab.pareto.timings import MEASURED, Point, Series, Timing, by_series
from hvjax import registry

FILES = Path(__file__).parent / "page_files"
#: One after the other in one script.
SCRIPTS = ("parts.js", "state.js", "chart.js", "page.js")
NOTE = "Published accuracy, our latency with random weights: latency does not depend on them."
SMALL = "Small networks: these numbers say nothing."
#: Nothing may be fetched, even if a later edit tried to.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
#: Seldom in JSON, but they would end or open a script element, or a line of an old JavaScript.
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def page(points: Sequence[Point], without: Mapping[str, str], *, created: str, small: bool = False) -> str:
    """
    Args:
      points: measured and published.
      without: models that are not plotted, and why.
      created: date of the page.
      small: says on the page that the networks are not the published ones.

    Raises:
      ValueError: no points.
    """
    if not points:
        raise ValueError("no network has both an accuracy and a latency: there is nothing to show")
    title = heading(points)
    script = "\n".join((FILES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    banner = f'<p class="banner">{escape(SMALL)}</p>' if small else ""
    left_out = "".join(
        f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in without.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{(FILES / "page.css").read_text(encoding="utf-8")}{_family_colours(points)}</style></head>
<body><main>
<h1>{escape(title)}</h1>
{banner}<p>{escape(NOTE)}</p>
<p class="muted">Up and to the left is better. Filled: trained on ImageNet-1k alone; hollow: with
distillation, token labels, more images or a newer recipe. The line is the Pareto front of what is shown: no
other network is as accurate in less time. Point at a network, or reach it by Tab and the arrow keys, to read
its source and settings; click or press Enter to keep them below.</p>
<noscript><p class="banner">The chart, the filters and the table need JavaScript.</p></noscript>
<div class="layout">
<details class="filters" open><summary>Filters</summary><div id="filters"></div></details>
<figure aria-labelledby="caption"><div class="plot">
<svg id="chart" role="group" aria-label="Accuracy against latency; arrow keys go from point to point"></svg>
<div id="tip" role="status" hidden></div></div>
<figcaption id="caption"><span id="count" aria-live="polite"></span>
<button type="button" id="copy">copy a link to this view</button>
<span id="copied" role="status"></span></figcaption>
<ul id="fronts" aria-label="Networks on the Pareto front"></ul></figure>
</div>
<section id="pinned" hidden><h2>Pinned</h2><div id="pins"></div></section>
<h2>All that is shown above</h2>
<div class="table" tabindex="0" role="region" aria-label="Table of the networks shown">
<table><thead id="head"></thead><tbody id="rows"></tbody></table></div>
<h2>Not plotted: no published accuracy</h2>
<ul class="left-out">{left_out}</ul>
<p class="muted">Written by hvjax on {escape(created)}.</p>
</main>
<script type="application/json" id="data">{in_script(_data(points))}</script>
<script>"use strict";
{script}</script>
</body></html>
"""


def heading(points: Iterable[Point]) -> str:
    """ "Accuracy against latency on Intel Xeon, 2 CPUs"."""
    measured = [point.timing.series for point in points if point.timing.series.data == MEASURED]
    machines = list(dict.fromkeys(series.machine for series in measured))
    if not machines:
        return "Accuracy against published latency"
    where = machines[0] if len(machines) == 1 else " and ".join([", ".join(machines[:-1]), machines[-1]])
    return f"Accuracy against latency, measured on {where}"


def in_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever its strings contain."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)


def _data(points: Sequence[Point]) -> dict[str, Any]:
    """What state.js reads: accuracies and timings apart, which it joins as `timings.join` did."""
    series = list(by_series(points))
    accuracies = list(dict.fromkeys(point.accuracy for point in points))
    timings = list({id(point.timing): point.timing for point in points}.values())
    origins: dict[str, int] = {}
    rows = [_timing(timing, series, origins) for timing in timings]
    models = list(dict.fromkeys(accuracy.model for accuracy in accuracies))
    return {
        "plain": PLAIN,
        "families": {
            name: {"shape": style(name).shape} for name in dict.fromkeys(family(model) for model in models)
        },
        "models": {
            model: {"family": family(model), "size": registry.get_spec(model).image_size} for model in models
        },
        "series": [vars(one) for one in series],
        "origins": [json.loads(origin) for origin in origins],
        "accuracies": [_accuracy(accuracy) for accuracy in accuracies],
        "timings": rows,
    }


def _accuracy(accuracy: Accuracy) -> dict[str, Any]:
    return {
        "model": accuracy.model,
        "size": accuracy.image_size,
        "training": accuracy.training,
        "kind": kind(accuracy.training),
        "top1": accuracy.top1,
        "source": accuracy.source,
        "others": [vars(other) for other in accuracy.others],
    }


def _timing(timing: Timing, series: Sequence[Series], origins: dict[str, int]) -> dict[str, Any]:
    origin = {key: value for key, value in timing.origin.items() if key != "date"}
    place = origins.setdefault(json.dumps(origin, sort_keys=True), len(origins))
    return {
        "model": timing.model,
        "size": timing.image_size,
        "series": series.index(timing.series),
        "ms": round(timing.ms, 4),
        "low": None if timing.low is None else round(timing.low, 4),
        "high": None if timing.high is None else round(timing.high, 4),
        "calls": timing.calls,
        "params": timing.params,
        "macs": timing.macs,
        "at": list(timing.measured_at),
        "notes": list(timing.notes),
        "origin": place,
        "date": timing.origin.get("date", ""),
    }


def _family_colours(points: Iterable[Point]) -> str:
    """`.family-0 { --family: ... }` in the order of `_data`'s families."""
    names = dict.fromkeys(family(point.accuracy.model) for point in points)
    light = "".join(f".family-{i}{{--family:{style(name).light}}}" for i, name in enumerate(names))
    dark = "".join(f".family-{i}{{--family:{style(name).dark}}}" for i, name in enumerate(names))
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"
