"""The bench's page: what stands in it, and in a real browser, sorting and filtering."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Browser, executable
from made_up_records import record

from export.lab.bench_html import COLUMNS, page
from export.lab.bench_rows import rows

NO_BROWSER = executable() is None
NAMES = "[...document.querySelectorAll('#bench tbody tr:not([hidden])')].map(row => row.cells[0].textContent)"


def made() -> str:
    memory = {"running": 1 << 20}
    first = {"resnet50": 10.0, "swin_t": 20.0, "fastvit_t8": 5.0}
    records = [record(name, ms, heat="a") for name, ms in first.items()]
    records += [record("resnet50", 30.0, heat="b", runtime="xla", memory=memory)]
    records += [record("<script>", 100.0, heat="b", runtime="xla", memory=memory)]
    return page(rows(records), ["xla: mixnet_v: it <broke>"], title="Latency", note="a note")


class Cells(HTMLParser):
    """Texts of the table's cells, row by row, and everything that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.fetched: list[str] = []
        self._in = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in = True

    def handle_endtag(self, tag: str) -> None:
        self._in = self._in and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in:
            self.rows[-1][-1] += data


def test_the_page_has_every_row_and_fetches_nothing() -> None:
    found = Cells()
    found.feed(made())
    assert found.fetched == [] and "url(" not in made()
    assert found.rows[0] == [name for name, _, _ in COLUMNS]
    assert [row[0] for row in found.rows[1:]] == ["fastvit_t8", "resnet50", "swin_t", "resnet50", "<script>"]
    assert [row[11] for row in found.rows[1:]] == [
        "faster",
        "the reference",
        "slower",
        "the reference",
        "slower",
    ]
    assert [row[12] for row in found.rows[1:]] == ["", "", "", "1.0", "1.0"]  # MiB, where it is known
    assert "it &lt;broke&gt;" in made() and "a note" in made()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "bench.html").write_text(made())
    with Browser(folder / "profile") as one:
        one.open((folder / "bench.html").as_uri())
        yield one


@pytest.mark.skipif(NO_BROWSER, reason="no Chromium is installed")
def test_sorting_and_filtering_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    head = "#bench th:nth-child({}) button"
    times = head.format(1 + [name for name, _, _ in COLUMNS].index("ms"))
    browser.click(times)
    assert browser.run(NAMES) == ["fastvit_t8", "resnet50", "swin_t", "resnet50", "<script>"]
    browser.click(times)
    assert browser.run(NAMES) == ["<script>", "resnet50", "swin_t", "resnet50", "fastvit_t8"]
    ratio = head.format(1 + [name for name, _, _ in COLUMNS].index("ratio"))
    browser.click(ratio)
    assert browser.run(NAMES)[:3] == ["fastvit_t8", "swin_t", "<script>"]
    browser.click(ratio)
    assert browser.run(NAMES)[:3] == ["<script>", "swin_t", "fastvit_t8"]  # what has none stays last
    assert set(browser.run(NAMES)[3:]) == {"resnet50"}
    choose = "field => {{ field.value = '{}'; field.dispatchEvent(new Event('input')); }}"
    browser.run(f"[document.querySelector('select[data-filter=\"2\"]')].forEach({choose.format('xla')})")
    assert set(browser.run(NAMES)) == {"resnet50", "<script>"}
    assert browser.run("document.querySelector('#left').textContent") == "2 of 5 rows"
    browser.run(f"[document.querySelector('input[data-filter=\"0\"]')].forEach({choose.format('RES')})")
    assert browser.run(NAMES) == ["resnet50"]
    assert browser.errors == [] and all(one.startswith("file:") for one in browser.requests)
