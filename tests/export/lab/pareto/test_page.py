"""The page as text: complete, self-contained, and closed to whatever a name may contain."""

import json
import re
from html.parser import HTMLParser

import pytest
from pareto_points import HOSTILE, hostile_points, points, whole

from export.lab.pareto import stored
from export.lab.pareto.accuracies import accuracies, without_accuracy
from export.lab.pareto.page import NOTE, SMALL, heading, in_script, page
from export.lab.pareto.timings import Point, join


class Reader(HTMLParser):
    """What a browser would make of it: elements by name, and the text of scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data


def made(some: list[Point] | None = None, **changes: object) -> str:
    return page(some or points(), without_accuracy(), created="2026-11-22", **changes)  # type: ignore[arg-type]


def test_the_data_are_complete() -> None:
    some = points()
    data = json.loads(Reader(made(some)).scripts[0])
    assert len(data["timings"]) == len({id(point.timing) for point in some})
    joined = [
        (accuracy["model"], accuracy["size"], accuracy["training"], timing["ms"], timing["series"])
        for timing in data["timings"]
        for accuracy in data["accuracies"]
        if (accuracy["model"], accuracy["size"]) == (timing["model"], timing["size"])
    ]
    assert len(set(joined)) == len(joined) == len(some)
    assert all(accuracy["source"] for accuracy in data["accuracies"])
    assert all(series["machine"] for series in data["series"])


def test_nothing_is_fetched() -> None:
    text = made()
    reader = Reader(text)
    for tag, attributes in reader.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith("data:"), (tag, name, address)
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|import\(|WebSocket|innerHTML|eval|document\.write)\b", text
    )
    assert len(text) < 400_000


def test_it_says_where_it_was_measured_and_what_the_numbers_are() -> None:
    text = made()
    assert "<title>Accuracy against latency, measured on A Processor, 2 CPUs</title>" in text
    assert NOTE in text and SMALL not in text
    assert "trt_vit_c" in text
    assert SMALL in made(small=True)


def test_heading_of_several_machines_and_of_none() -> None:
    one = stored.timings([whole("swin_t", 224, 5.0)])
    two = stored.timings([whole("swin_t", 224, 5.0, device="gpu", gpu="NVIDIA H100", runtime="tensorrt")])
    assert heading(join(accuracies(), one + two)).endswith("on A Processor, 2 CPUs and NVIDIA H100")
    assert heading([p for p in points() if p.timing.series.data == "published"]) == (
        "Accuracy against published latency"
    )


def test_no_text_becomes_markup() -> None:
    plain, hostile = Reader(made()), Reader(made(hostile_points()))
    assert [tag for tag, _ in hostile.elements if tag in ("script", "img")] == ["script", "script"]
    assert hostile.scripts[1] == plain.scripts[1]  # the program, to its last line
    data = json.loads(hostile.scripts[0])
    assert data["accuracies"][0]["source"] == HOSTILE
    assert data["origins"][0]["command"] == HOSTILE
    assert not any("onerror" in attributes for _, attributes in hostile.elements)


def test_a_reason_is_escaped() -> None:
    text = page(points(), {HOSTILE: HOSTILE}, created=HOSTILE)
    assert "<img" not in text and "owned'</script>" not in text


@pytest.mark.parametrize("text", [HOSTILE, "<!--", "</SCRIPT", "]]>", "\u2028", "ä€𝄞", '"\\'])
def test_json_in_a_script_is_closed_and_loses_nothing(text: str) -> None:
    found = in_script({text: [text]})
    assert not set("<>&\u2028\u2029") & set(found)
    assert json.loads(found) == {text: [text]}


def test_without_points_there_is_no_page() -> None:
    with pytest.raises(ValueError, match="nothing to show"):
        page([], {}, created="today")
