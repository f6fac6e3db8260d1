"""What the measured pages rest on: timing in turns, and that the page says what the rows say."""

import importlib
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"

#: Seconds of the two sleeping calls below; a sleep lasts at least so long and a little longer.
SHORT, LONG = 0.001, 0.003


@pytest.fixture
def interleaved(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("interleaved")


@pytest.fixture
def model_page(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("model_page")


def test_the_ratio_of_medians_is_not_moved_by_outliers(interleaved) -> None:
    rng = np.random.default_rng(0)
    noise = 1 + 0.01 * rng.standard_normal((40, 2))
    noise[:3, 0] = 10  # three calls that something disturbed
    found = interleaved.ratio_of(9 * noise[:, 0], 10 * noise[:, 1])
    assert found.low <= 0.9 <= found.high
    assert found.spread < 0.01
    assert found.calls == (40, 40)
    assert found.ratio == pytest.approx(found.ours / found.theirs)


def test_lower_quartiles_see_through_many_disturbances(interleaved) -> None:
    """Six of ten calls of ours take half as long again; a median would call ours slower."""
    ours, theirs = [1.5 if index % 10 < 6 else 1.0 for index in range(40)], [1.0] * 40
    assert interleaved.ratio_of(ours, theirs).ratio == 1.5
    assert interleaved.ratio_of(ours, theirs, interleaved.QUIET).ratio == 1.0


def test_calls_alternate_and_so_does_who_starts(interleaved) -> None:
    made = []
    found = interleaved.compare(lambda: made.append("a"), lambda: made.append("b"), seconds=0.0)
    timed = "".join(made)[2 * interleaved.WARM_UP :]
    assert timed.startswith("abbaabba")
    assert timed.count("a") == timed.count("b") >= interleaved.FEWEST
    assert max(found.calls) <= timed.count("a")


def test_the_fastest_comes_first(interleaved) -> None:
    calls = {"slow": lambda: time.sleep(LONG), "fast": lambda: time.sleep(SHORT)}
    found = interleaved.fastest(calls)
    assert list(found) == ["fast", "slow"]
    assert found["fast"] >= 1e3 * SHORT


def test_the_page_of_all_models_says_what_was_measured(model_page, repository: Path) -> None:
    """`python tests/benchmarks/model_table.py --write-only` writes it."""
    ratio_picture = importlib.import_module("ratio_picture")
    assert (repository / "docs" / "results" / "models.md").read_text() == model_page.text()
    assert ratio_picture.FILE.read_text() == ratio_picture.draw()


def test_a_ratio_above_its_interval_is_bold(model_page) -> None:
    assert model_page.ratio({"ratio": 1.05, "low": 1.04, "high": 1.06}) == "**1.050** (1.040 to 1.060)"
    assert model_page.ratio({"ratio": 1.01, "low": 0.99, "high": 1.03}) == "1.010 (0.990 to 1.030)"
    assert model_page.islands({"islands": []}) == "none"
    assert model_page.islands(None) == "-"


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sm90_xmma_fprop_implicit_gemm_bf16", "convolutions"),
        ("%dot.3 nvjet_hsh_128x256", "matrix products"),
        ("MemcpyD2D", "copies"),
        ("input_reduce_fusion_7", "reductions"),
        ("loop_multiply_fusion", "elementwise"),
        ("ncclDevKernel_AllReduce", "communication"),
        ("something else", "other"),
    ],
)
def test_kernels_by_kind(monkeypatch: pytest.MonkeyPatch, kernel: str, kind: str) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert importlib.import_module("trace_breakdown").kind_of(kernel) == kind
