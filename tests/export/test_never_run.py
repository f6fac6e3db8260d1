"""docs/never_run.md and the tables of docs/deployment.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from export import runtimes
from export.runtimes.builder import EACH, refusal
from export.runtimes.capabilities import capabilities
from export.runtimes.providers import PROVIDERS


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """First cell -> the others, of the first table under a heading."""
    _, _, section = text.partition(f"{heading}\n")
    found = {}
    for line in section.splitlines():
        if line.startswith("|"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[name.strip("`")] = cells
        elif found:
            break
    return found


@pytest.fixture
def pages(repository: Path) -> tuple[str, str]:
    return (repository / "docs/deployment.md").read_text(), (repository / "docs/never_run.md").read_text()


def test_the_table_of_options_is_what_the_runtimes_take(pages: tuple[str, str], fake_trt: Any) -> None:
    table = rows(pages[0], "### Rare builder options")
    assert set(EACH) <= set(table)
    for flag, asked in EACH.items():
        takes = [
            refusal("it", asked, capabilities(fake_trt(version).module)) is None
            for version in ("10", "11", "rtx")
        ]
        assert table[flag] == ["yes" if one else "no" for one in takes], flag


def test_the_honest_page_speaks_of_every_option_and_every_runtime(
    pages: tuple[str, str], fake_trt: Any
) -> None:
    page = pages[1]
    table = rows(page, "## Rare builder options")
    rtx = capabilities(fake_trt("rtx").module)
    for flag, asked in EACH.items():
        tensorrt, for_rtx = table[flag]
        assert tensorrt.startswith("never run"), flag
        refused = refusal("it", asked, rtx) is not None
        assert not refused or for_rtx.startswith("refused:"), flag
    states = [cells[0] for cells in rows(page, "## Runtimes").values()][2:]
    assert set(states) == {"run", "built", "never run"}
    for name in (*runtimes.NAMES, *(f"--provider {one}" for one in PROVIDERS if one != "cpu")):
        assert name in page or name == "onnxruntime", name


def test_versions_on_the_page_are_those_that_are_installed(pages: tuple[str, str]) -> None:
    """Whoever upgrades TensorRT for RTX is reminded to look again at what it ignores and refuses."""
    rtx = pytest.importorskip("tensorrt_rtx_bindings")
    said = re.search(r"TensorRT for RTX (\d+\.\d+)[.\d]* \(`tensorrt_rtx`\), building", pages[1])
    assert said is not None and rtx.__version__.startswith(said[1])
