"""Two runs of the bench: what of them agrees."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_records import record
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from export.lab import agree, agree_picture
from export.lab.bench_files import write_agreement
from export.lab.record import Record


def run(heat: str, seed: int = 0, runtime: str = "onnxruntime", **times: float) -> list[Record]:
    """One heat with ResNet-50 at 10 ms."""
    every = {"resnet50": 10.0, **times}
    known = {"runtime": runtime, "reference": "resnet50"}
    return [record(name, ms, heat=heat, seed=seed, **known) for name, ms in every.items()]


def test_the_same_networks_agree() -> None:
    (found,), alone = agree.agree(run("a", 1, swin_t=20, fastvit_t8=5), run("b", 2, swin_t=20, fastvit_t8=5))
    assert alone == 0 and len(found.pairs) == 3 and len(found.related) == 2
    assert found.ratios_meet == 1 and found.times_meet == 1
    assert 0 < found.ratio_spreads[-1] < 0.02  # of medians of 60 calls that scatter by 1 %
    assert not found.flips
    assert "No verdict flipped from faster to slower." in agree.sentences([found], alone)


def test_a_slower_machine_changes_times_and_not_ratios() -> None:
    """Everything 20 % slower: what the reference in each heat is for."""
    slow = [
        record(one.name, 1.2 * ms, heat="b", seed=2, reference="resnet50")
        for one, ms in zip(run("a", swin_t=20), (10, 20), strict=True)
    ]
    (found,), _ = agree.agree(run("a", 1, swin_t=20), slow)
    assert found.times_meet == 0 and found.times_cover == 0 and found.ratios_meet == 1
    assert found.time_spreads[0] == pytest.approx(0.2, abs=0.02)
    assert found.ratio_spreads[0] < 0.02


def test_a_verdict_that_flips_is_told(tmp_path: Path) -> None:
    found, alone = agree.agree(run("a", 1, swin_t=12), run("b", 2, swin_t=8))
    assert [pair.name for pair in found[0].flips] == ["swin_t"]
    assert found[0].ratios_meet == 0 and found[0].worst is not None
    said = "\n".join(agree.sentences(found, alone))
    assert "swin_t FLIPPED" in said and "No verdict flipped" not in said
    paths = write_agreement(found, alone, tmp_path, "resnet50")
    assert {path.name for path in paths} == {f"agreement.{kind}" for kind in ("csv", "png", "svg", "md")}
    assert "swin_t FLIPPED" in (tmp_path / "agreement.md").read_text()
    assert "onnxruntime,swin_t,fp32,1" in (tmp_path / "agreement.csv").read_text()


def test_runtimes_and_settings_are_kept_apart() -> None:
    first = [
        *run("a", 1, swin_t=20),
        *run("c", 1, "xla", swin_t=30),
        record("swin_t", 160, heat="e", batch=8),
    ]
    second = [*run("b", 2, swin_t=20), *run("d", 2, "xla", swin_t=30)]
    found, alone = agree.agree(first, second)
    assert {one.runtime: len(one.pairs) for one in found} == {"onnxruntime": 2, "xla": 2}
    assert alone == 1  # batch 8
    assert "1 contenders are in one of the two runs only" in " ".join(agree.sentences(found, alone))


def test_what_was_measured_without_the_reference_has_times_only() -> None:
    (found,), _ = agree.agree([record("swin_t", 20, heat="a")], [record("swin_t", 20, heat="b", seed=1)])
    assert found.ratios_meet is None and found.worst is None and found.times_meet == 1
    assert agree.table([found])[1][2] == "-"
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    agree_picture.draw(figure, [found], reference="resnet50")
    figure.draw_without_rendering()
    assert "no ratios" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    ("second", "message"),
    [(run("a"), "hold the same heats"), (run("b", runtime="xla"), "nothing in common")],
)
def test_what_cannot_be_compared(second: list[Record], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agree.agree(run("a"), second)
