"""A profile as boxes, as pictures and as a page."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from made_up_profiles import profile

from export.lab.profile import flame, page
from export.lab.profile.flame import Box, boxes
from export.lab.profile.modules import tree

#: Rounding of sums of floats.
TINY = 1e-9


def found(depth: int | None = None) -> list[Box]:
    return boxes(tree(profile().ops, depth), "net")


def test_boxes_lie_inside_of_those_above_and_beside_each_other() -> None:
    levels: dict[int, list[Box]] = {}
    for box in found():
        levels.setdefault(box.level, []).append(box)
    assert levels[0][0].label == "net" and levels[0][0].ms == pytest.approx(profile().total_ms)
    for level, row in levels.items():
        row.sort(key=lambda box: box.start)
        for left, right in pairwise(row):
            assert left.end <= right.start + TINY
        for box in row if level else ():
            assert any(up.start <= box.start + TINY and box.end <= up.end + TINY for up in levels[level - 1])


def test_a_box_says_what_is_in_it() -> None:
    by_path = {box.path: box for box in found() if not box.own}
    attn = by_path["stage1/block1/attn"]
    assert (attn.label, attn.level, attn.ms, attn.count) == ("attn", 3, pytest.approx(5.0), 4)
    assert attn.kinds == {"matmul": 4.0, "softmax": 1.0} and attn.kind == "matmul"
    assert attn.types == {"MatMul": 3, "Softmax": 1}
    assert by_path["(unattributed)"].ms == pytest.approx(0.5)
    own = [(box.path, box.label, box.ms) for box in found() if box.own]
    assert ("stage1/block1", "elementwise", 1.0) in own  # beside its parts
    assert ("stem/conv", "convolution", 4.0) not in own  # one kind, no parts: the box itself says it


def test_depth_leaves_out_what_is_deeper() -> None:
    assert {box.path for box in found(1) if not box.own} == {"", "stem", "stage1", "(unattributed)"}
    assert found(1)[0].ms == found()[0].ms


def test_names_are_shortened_before_they_are_left_out() -> None:
    assert list(flame._shorter("block10")) == ["block10", "b10"]
    assert list(flame._shorter("e_mhsa")) == ["e_mhsa"]


def test_the_picture_names_modules_kinds_and_what_is_accounted_for() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    one = profile()
    flame.draw(figure, one, tree(one.ops))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "stage1  6 ms" in texts and "stem  4 ms" in texts
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend[0].startswith("convolution ") and any(text.startswith("data movement") for text in legend)
    assert figure.get_suptitle() == "net, onnxruntime (CPU), fp32, batch 1: 12 ms"
    note = figure.get_supxlabel()
    assert "10.5 ms, 81% of a profiled call (13 ms" in note and "+8% by the profiler" in note
    assert "4.8% belongs to no module that is known" in note


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data, self._inside = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        self.data += data if self._inside else ""
        self._inside = False


def test_the_page_holds_everything_and_fetches_nothing() -> None:
    one = profile(model="net</script>", odd="<b>odd</b>")
    text = page.html(one, tree(one.ops))
    parsed = Page(text)
    assert not [tag for tag, given in parsed.tags if "src" in given or "href" in given]
    assert not re.search(r"https?://|@import|url\(", text)
    held = json.loads(parsed.data)
    assert held["model"] == "net</script>" and held["boxes"][0]["ms"] == pytest.approx(one.total_ms)
    assert {"path", "ms", "kinds", "types", "count", "colour"} <= set(held["boxes"][0])
    assert "&lt;b&gt;odd&lt;/b&gt;" in text and "<b>odd" not in text  # listed as unattributed
