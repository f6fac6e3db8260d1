"""The page in a real browser, driven by mouse and keys; skipped where no Chromium is installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import Browser, executable
from pareto_points import HOSTILE, hostile_points, points

from export.lab.pareto.accuracies import without_accuracy
from export.lab.pareto.front import front
from export.lab.pareto.page import page
from export.lab.pareto.timings import by_series

pytestmark = pytest.mark.skipif(executable() is None, reason="no Chromium or Chrome on this machine")
SHOWN = "document.querySelectorAll('.point').length"
TIP = "document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("page"), page(points(), without_accuracy(), created="2026-11-22"))


@pytest.fixture(autouse=True)
def no_errors(browser: Browser) -> Iterator[None]:
    """Whatever a test does: no exception, no message of the console, nothing fetched but the page."""
    browser.errors.clear()
    browser.requests.clear()
    yield
    assert browser.errors == []
    assert {one.split("#")[0] for one in browser.requests if not one.startswith(("about:", "data:"))} == {
        one.split("#")[0] for one in browser.requests if one.startswith("file:")
    }


def written(folder: Path, text: str) -> str:
    path = folder / "pareto.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


def first_series() -> list[Any]:
    return next(iter(by_series(points()).values()))


def rows(browser: Browser) -> list[list[str]]:
    return browser.run(
        "[...document.querySelectorAll('#rows tr')].map(row => [...row.children].map(cell => cell.innerText))"
    )


def test_it_opens_with_one_series_and_its_front(browser: Browser, address: str) -> None:
    browser.open(address)
    group = first_series()
    assert browser.run(SHOWN) == len(group) == len(rows(browser))
    best = front(group)
    assert browser.run("document.querySelectorAll('.point.best').length") == len(best)
    names = browser.run("document.getElementById('fronts').innerText")
    assert all(f"{point.name} ({point.accuracy.top1:g} %" in names for point in best)
    assert browser.run("document.querySelectorAll('.whisker').length") == len(group)


def test_points_stand_where_their_numbers_are(browser: Browser, address: str) -> None:
    """More accurate is higher; slower is further right."""
    browser.open(address)
    places = browser.run(
        "[...document.querySelectorAll('.point')].map(one => [one.dataset.id, "
        "...one.getAttribute('transform').match(/[\\d.]+/g).map(Number)])"
    )
    numbers = {f"{p.name}/{p.accuracy.training}": (p.timing.ms, p.accuracy.top1) for p in first_series()}
    known = [(*numbers["/".join(name.split("/")[:2])], x, y) for name, x, y in places]
    assert len(known) == len(first_series())
    by_time = sorted(known)
    assert [one[2] for one in by_time] == sorted(one[2] for one in known)
    by_accuracy = sorted(known, key=lambda one: (one[1], -one[3]))
    assert [one[3] for one in by_accuracy] == sorted((one[3] for one in known), reverse=True)


def test_a_filter_changes_chart_table_and_address(browser: Browser, address: str) -> None:
    browser.open(address)
    before = browser.run(SHOWN)
    browser.click("[id='family:Next-ViT']")
    less = sum(point.accuracy.model.startswith("next_vit") for point in first_series())
    assert browser.run(SHOWN) == before - less == len(rows(browser))
    hash = browser.run("location.hash")
    assert hash.startswith("#family=") and "Next-ViT" not in hash
    browser.open(address + hash)  # the link brings the view back
    assert browser.run(SHOWN) == before - less
    browser.click("[id='family:all']")
    assert (browser.run(SHOWN), browser.run("location.hash")) == (before, "")
    browser.click("[id='family:none']")
    assert browser.run(SHOWN) == 0
    assert "no network fits" in browser.run("document.getElementById('chart').textContent")


@pytest.mark.parametrize(
    ("hash", "fits"),
    [
        ("runtime=xla", lambda p: p.timing.series.runtime == "xla" and p.timing.series.batch == 1),
        ("batch=8", lambda p: p.timing.series.batch == 8 and p.timing.series.runtime == "onnxruntime"),
        ("size=384&batch=1,8", lambda p: p.accuracy.image_size == 384),
        (
            "training=distilled&family=FastViT",
            lambda p: p.accuracy.training == "distilled" and p.name.startswith("fastvit"),
        ),
        ("data=published", lambda p: p.timing.series.data == "published"),
    ],
)  # fmt: skip
def test_an_address_sets_the_filters(browser: Browser, address: str, hash: str, fits: Any) -> None:
    browser.open(f"{address}#{hash}")
    wanted = [p for p in points() if fits(p)]
    if "data=" not in hash:
        wanted = [p for p in wanted if p.timing.series.data == "measured"]
    if "batch" not in hash and "data=" not in hash:
        wanted = [p for p in wanted if p.timing.series.batch == 1]
    if "runtime" not in hash and "data=" not in hash:
        wanted = [p for p in wanted if p.timing.series.runtime == "onnxruntime"]
    assert browser.run(SHOWN) == len(wanted) > 0


@pytest.mark.parametrize(
    "hash", ["family=Nobody&size=13&sort=price&pin=x&data=dreamt", "%%%", "=&=", "family=%E0"]
)
def test_an_address_that_means_nothing_does_nothing(browser: Browser, address: str, hash: str) -> None:
    browser.open(f"{address}#{hash}")
    assert browser.run(SHOWN) == len(first_series())


def test_hovering_tells_source_and_settings(browser: Browser, address: str) -> None:
    browser.open(f"{address}#family=FastViT&training=plain")
    assert browser.run(TIP) == ""
    browser.hover(".point")
    text = browser.run(TIP)
    for words in (
        "fastvit_t8", "76.2 %", "apple/ml-fastvit README.md", "76.184 %", "onnxruntime, fp32, batch 1",
        "A Processor, 2 CPUs", "95 % interval", "jax 0.10.2", "2026-11-22", "1.00 M", "1.000 G",
    ):  # fmt: skip
        assert words in text
    browser.hover("h1")
    assert browser.run(TIP) == ""


def test_keys_reach_every_point_and_pin_it(browser: Browser, address: str) -> None:
    browser.open(f"{address}#family=Swin")
    browser.run("document.querySelector('.point').focus()")
    names = [browser.run("document.activeElement.getAttribute('aria-label')")]
    for _ in range(2):
        browser.press("ArrowRight")
        names.append(browser.run("document.activeElement.getAttribute('aria-label')"))
    assert [name.split(",")[0] for name in names] == ["swin_t", "swin_s", "swin_b"]
    assert "top-1" in names[0] and "milliseconds" in names[0] and "onnxruntime" in names[0]
    assert "swin_b" in browser.run(TIP)
    browser.press("Enter")
    assert "swin_b" in browser.run("document.getElementById('pins').innerText")
    assert "pin=swin_b" in browser.run("location.hash")
    assert browser.run("document.activeElement.dataset.id").startswith("swin_b")  # the focus is not lost
    assert browser.run("document.querySelectorAll('.point[tabindex=\"0\"]').length") == 1
    browser.click("#pins button")
    assert browser.run("document.getElementById('pinned').hidden") is True


def test_a_click_pins_and_a_second_lets_go(browser: Browser, address: str) -> None:
    browser.open(f"{address}#family=PVT")
    browser.click(".point")
    assert browser.run("document.querySelectorAll('#pins .card').length") == 1
    assert browser.run("document.querySelector('.point').getAttribute('aria-pressed')") == "true"
    browser.click(".point")
    assert browser.run("document.querySelectorAll('#pins .card').length") == 0


def test_the_table_sorts_by_its_heads(browser: Browser, address: str) -> None:
    browser.open(address)
    for key, column in (("top1", 4), ("ms", 5), ("name", 0)):
        browser.click(f"[id='sort:{key}']")
        cells = [row[column] for row in rows(browser)]
        assert cells == sorted(cells, key=str if key == "name" else float)
        browser.click(f"[id='sort:{key}']")
        assert rows(browser)[0][column] == max(cells, key=str if key == "name" else float)
        assert browser.run("document.querySelector('[aria-sort=descending]').innerText") != ""


def test_time_of_one_image_is_the_call_by_its_batch(browser: Browser, address: str) -> None:
    browser.open(f"{address}#batch=8&family=PVT&x=image")
    whole, image = ({p.name: p.timing.ms / by for p in points() if p.timing.series.batch == 8
                     and p.timing.series.runtime == "onnxruntime"} for by in (1, 8))  # fmt: skip
    for row in rows(browser):
        assert float(row[5]) == pytest.approx(image[row[0]], rel=0.01) != whole[row[0]]


@pytest.mark.parametrize("width", [320, 390, 820, 1300])
def test_nothing_is_wider_than_the_window(browser: Browser, address: str, width: int) -> None:
    browser.open(f"{address}#pin={quote(pin(), safe='')}", width=width, height=800)
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.hover(".point")
    assert browser.run("document.getElementById('tip').getBoundingClientRect().right") <= width
    assert browser.run("document.documentElement.scrollWidth") <= width


def pin() -> str:
    point = first_series()[0]
    return f"{point.name}/plain/onnxruntime/fp32/1/A Processor, 2 CPUs"


def test_a_pinned_point_is_in_the_link(browser: Browser, address: str) -> None:
    browser.open(f"{address}#pin={quote(pin(), safe='')}")
    assert "next_vit_s" in browser.run("document.getElementById('pins').innerText")


def test_light_and_dark(browser: Browser, address: str) -> None:
    browser.open(address)
    light = browser.run(BACKGROUND)
    browser.open(address, dark=True)
    assert browser.run(BACKGROUND) != light


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_told_from_the_background(browser: Browser, address: str, dark: bool) -> None:
    """Of 3:1 at least, as WCAG 2.1 (1.4.11) asks of graphics."""
    browser.open(address, dark=dark)
    worst = browser.run("""(() => {
      const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
          .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const card = light(getComputedStyle(document.querySelector('figure')).backgroundColor);
      return Math.min(...[...document.querySelectorAll('.point .mark:not(.hollow)')].map((mark) => {
        const one = light(getComputedStyle(mark).fill);
        return (Math.max(one, card) + 0.05) / (Math.min(one, card) + 0.05);
      }));
    })()""")
    assert worst >= 3


def test_everything_that_acts_has_a_name(browser: Browser, address: str) -> None:
    browser.open(address)
    nameless = browser.run("""[...document.querySelectorAll('button, input, [role=button], [role=region]')]
      .filter((one) => !(one.getAttribute('aria-label') || one.innerText || one.labels?.[0]?.innerText))
      .map((one) => one.outerHTML)""")
    assert nameless == []


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, page(hostile_points(), {HOSTILE: HOSTILE}, created="today")))
    assert browser.run(SHOWN) == 1
    assert "owned" not in browser.run("document.title").split("measured")[0]
    assert browser.run("document.querySelectorAll('img').length") == 0
    browser.hover(".point")
    assert "onerror=alert(1)" in browser.run(TIP)
