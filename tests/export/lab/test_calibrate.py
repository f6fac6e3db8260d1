"""The calibrator on runtimes whose latency is a function of the network: no clock and no export is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from export.lab.bar import Bar
from export.lab.calibrate import (
    STUDY,
    TOLERANCE,
    Calibrated,
    Calibrator,
    Candidate,
    Level,
    OutOfReach,
    calibrate,
    level,
)
from export.lab.calibrate_keep import Keeping
from export.lab.files import Files
from export.lab.heat import Lab
from export.lab.setting import Setting
from export.lab.store import Store
from export.lab.subject import Subject
from export.runtimes import BuildError
from tests.support.made_up_lab import subject
from tests.support.modelled_runtime import Modelled

#: Too short for more than the fewest rounds, whatever the machine does meanwhile.
SECONDS = 1e-9


class Counted(Candidate):
    """A candidate whose cost is counted without building it: blocks times squared channels of each stage."""

    def subject(self, more: Mapping[str, Any] | None = None) -> Subject:
        config = self.config(more)
        pairs = zip(config.depths, config.widths, strict=True)
        macs = sum(depth * width**2 * 4**-stage for stage, (depth, width) in enumerate(pairs))
        made = {"overrides": repr({**self.overrides, **(more or {})})}
        found = subject(self.name, params=1000, macs=int(macs))
        return Subject(found.name, found.function, found.weights, found.shape, {**found.facts, **made})


def by_macs(subject: Subject) -> float:
    """A launch of a tenth of a millisecond, and a millisecond for each thousand of the units of `Counted`."""
    return 0.1 + subject.facts["macs"] / 1000


def _lab(tmp_path: Path) -> Lab:
    return Lab("hybrid_strategy", Store(tmp_path / "hybrid_strategy.jsonl"), SECONDS)


def _calibrate(tmp_path: Path, budget: float | Subject, runtime: Any, **more: Any) -> Calibrated:
    given = {"candidate": Counted("narrow", "resnet50"), "knobs": ("width",), **more}
    return calibrate(
        given.pop("candidate"),
        budget,
        lab=_lab(tmp_path),
        runtime=runtime,
        setting=Setting(),
        bar=Bar(0),
        **given,
    )


def _reference(ms: float) -> Subject:
    return subject("reference", macs=int(1000 * (ms - 0.1)))


@pytest.mark.parametrize("ms", [8.0, 30.0, 66.0, 300.0])
def test_the_latency_of_another_network_is_met(tmp_path: Path, ms: float) -> None:
    found = _calibrate(tmp_path, _reference(ms), Modelled(by_macs))
    assert found.met
    assert abs(by_macs(found.subject) / ms - 1) <= TOLERANCE
    assert found.ratio.low <= found.ratio.value <= found.ratio.high
    assert found.subject.name == "narrow"
    assert found.heat["narrow"].heat == found.heat["reference"].heat


def test_milliseconds_are_met(tmp_path: Path) -> None:
    found = _calibrate(tmp_path, 9.0, Modelled(by_macs))
    assert abs(by_macs(found.subject) / 9.0 - 1) <= TOLERANCE
    assert "reference" not in found.heat


def test_probes_are_records_beside_the_studys_own(tmp_path: Path) -> None:
    found = _calibrate(tmp_path, _reference(9.0), Modelled(by_macs))
    probes = Store(tmp_path / f"{STUDY}.jsonl").records
    assert {record.study for record in probes} == {STUDY}
    assert len(probes) == 2 * len(found.probes)
    assert {record.name for record in probes if record.name != "reference"} == {
        f"narrow, {probe.knob} {probe.factor:g}" for probe in found.probes
    }
    own = Store(tmp_path / "hybrid_strategy.jsonl").records
    assert [record.name for record in own] == ["reference", "narrow"]
    assert {record.command.split()[2] for record in [*probes, *own]} == {"export.studies.hybrid_strategy"}


def test_nothing_is_measured_twice(tmp_path: Path) -> None:
    first = _calibrate(tmp_path, _reference(9.0), Modelled(by_macs))
    again = Modelled(by_macs)
    second = _calibrate(tmp_path, _reference(9.0), again)
    assert again.prepared == []
    assert (second.overrides, second.ratio, second.probes) == (first.overrides, first.ratio, first.probes)


def test_width_does_what_depth_is_too_coarse_for(tmp_path: Path) -> None:
    """The nearest two depths take 7 % less and 8 % more."""
    found = _calibrate(tmp_path, _reference(53.0), Modelled(by_macs), knobs=("depth", "width"))
    assert found.met
    assert list(found.factors) == ["depth", "width"]
    assert found.factors["depth"] != 1
    assert set(found.overrides) == {"depths", "widths"}


def test_too_coarse_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        OutOfReach, match=r"narrow: nothing within 3 % of the budget: the steps of depth are "
    ):
        _calibrate(tmp_path, _reference(53.0), Modelled(by_macs), knobs=("depth",))


@pytest.mark.parametrize(("ms", "which"), [(0.2, "smallest"), (2000.0, "largest")])
def test_a_budget_out_of_reach_is_an_error_that_says_how_near(tmp_path: Path, ms: float, which: str) -> None:
    with pytest.raises(OutOfReach) as caught:
        _calibrate(tmp_path, ms, Modelled(by_macs))
    assert f"is the {which} that is allowed; nearest is width" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_long_heat_corrects_the_probes(tmp_path: Path) -> None:
    """Probes that are 4 % too fast lead beyond the tolerance; what the confirming heat says counts."""

    def biased(subject: Subject) -> float:
        return by_macs(subject) * (0.96 if ", width" in subject.name else 1.0)

    found = _calibrate(tmp_path, _reference(9.0), Modelled(biased))
    assert found.met
    assert abs(by_macs(found.subject) / 9.0 - 1) <= TOLERANCE


def test_what_a_short_heat_misjudged_is_measured_at_length(tmp_path: Path) -> None:
    """Of the two depths beside the budget the nearer one in short heats is the farther one in long ones."""

    def ms(subject: Subject) -> float:
        short, shallow = ", depth" in subject.name, by_macs(subject) < 53.0
        return by_macs(subject) * ((1.033 if short else 0.969) if shallow else (0.969 if short else 0.923))

    found = _calibrate(tmp_path, 53.0, Modelled(ms), knobs=("depth",))
    assert found.met
    assert by_macs(found.subject) > 53.0
    short = [probe.ratio for probe in found.probes]
    assert min(short, key=lambda ratio: abs(ratio - 1)) < 1  # the other one was the better


def test_a_noisy_probe_is_repeated_at_length(tmp_path: Path) -> None:
    """Calls of short heats differ by a factor of two, and those that are measured again by nothing."""

    def noise(subject: Subject) -> float:
        return 0.7 if ", width" in subject.name and not subject.name.endswith(", again") else 0.0

    runtime = Modelled(by_macs, noise=noise)
    found = _calibrate(tmp_path, _reference(30.0), runtime)
    assert found.met
    again = [name for name in runtime.prepared if name.endswith(", again")]
    assert [f"narrow, width {probe.factor:g}, again" for probe in found.probes] == again != []
    assert found.probes[-1].ratio == pytest.approx(by_macs(found.subject) / 30.0, rel=0.001)


def test_a_machine_that_is_not_quiet_is_the_reason(tmp_path: Path) -> None:
    """Probes meet the budget; long heats say three times as much, give or take half of it."""
    runtime = Modelled(
        lambda one: by_macs(one) if "," in one.name else 90.0,
        noise=lambda one: 0.0 if "," in one.name else 0.7,
    )
    with pytest.raises(OutOfReach, match="the machine is not quiet enough; nearest is width"):
        _calibrate(tmp_path, 30.0, runtime)


def test_what_does_not_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="narrow, width 1: narrow, width 1: no such kernel"):
        _calibrate(tmp_path, 9.0, Modelled(lambda subject: None))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"budget": 0.0}, "budget=0.0: expected milliseconds above 0"),
        ({"budget": float("nan")}, "budget=nan"),
        ({"tolerance": 0.0}, "tolerance=0.0: expected a number between 0 and 1"),
        ({"knobs": ()}, "no knob"),
        ({"knobs": ("width", "mlp")}, "knob 'mlp'"),
        ({"candidate": Counted("x", "resnet5")}, "there is no model 'resnet5'"),
        ({"candidate": Counted("x", "resnet50", {"width": 2})}, "no field 'width'"),
        ({"low": 2.0}, "lowest"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    runtime = Modelled(by_macs)
    with pytest.raises(ValueError, match=message):
        _calibrate(tmp_path, more.pop("budget", 9.0), runtime, **more)
    assert runtime.prepared == []


def _level(tmp_path: Path, runtime: Any) -> Level:
    candidates = [
        Counted("deep", "resnet50", {"depths": (3, 8, 12, 6)}),
        Counted("thin", "resnet50", {"widths": (32, 64, 128, 256)}),
        Counted("as it is", "resnet50"),
    ]
    budget = subject("reference", macs=int(Counted("", "resnet50").subject().facts["macs"]))
    calibrator = Calibrator(_lab(tmp_path), runtime, Setting(), Bar(0), budget)
    return level(calibrator, candidates, ("width",))


def test_several_are_brought_to_one_latency_and_confirmed_in_one_heat(tmp_path: Path) -> None:
    found = _level(tmp_path, Modelled(by_macs))
    assert found.after is not None
    assert len({record.heat for record in found.after.records.values()}) == 1
    assert list(found.before) == list(found.after) == ["reference", "deep", "thin", "as it is"]
    for name in ("deep", "thin", "as it is"):
        assert abs(found.after.against(name, "reference").ratio - 1) <= TOLERANCE
    assert abs(found.before.against("deep", "reference").ratio - 1) > TOLERANCE
    assert found.found["deep"].factors["width"] < 1 < found.found["thin"].factors["width"]
    assert found.found["as it is"].overrides == {}
    assert found.found["as it is"].probes == ()


def test_one_that_does_not_build_at_some_width_does_not_stop_the_others(tmp_path: Path) -> None:
    found = _level(
        tmp_path, Modelled(lambda one: None if one.name.startswith("thin, width") else by_macs(one))
    )
    assert found.after is not None
    assert list(found.after) == ["reference", "deep", "as it is"]
    assert "no such kernel" in found.before.missing["thin"]


def test_one_that_fails_in_the_last_heat_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its long heat prepares it again, and memory is short then."""
    calls: list[str] = []

    def ms(one: Subject) -> float | None:
        calls.append(one.name)
        return None if one.name == "thin" and calls.count("thin") > 1 else by_macs(one)

    found = _level(tmp_path, Modelled(ms))
    assert found.after is not None
    assert list(found.found) == ["deep", "as it is"]
    assert "no such kernel" in found.before.missing["thin"]


def test_without_the_reference_nothing_is_brought_to_it(tmp_path: Path) -> None:
    found = _level(tmp_path, Modelled(lambda one: None if one.name == "reference" else by_macs(one)))
    assert found.after is None
    assert "no such kernel" in found.before.missing["equal latency"]


def test_kept_networks_are_prepared_once_and_closed_at_the_end(tmp_path: Path) -> None:
    runtime = Modelled(by_macs)
    with Keeping(runtime) as keeping:
        _level(tmp_path, keeping)
        assert runtime.prepared.count("reference") == 1
        assert not next(one for one in runtime.made if one.name == "reference").closed
    assert all(one.closed for one in runtime.made)


def test_what_was_tried_and_not_chosen_is_closed_at_once(tmp_path: Path) -> None:
    runtime = Modelled(by_macs)
    with Keeping(runtime) as keeping:
        found = _level(tmp_path, keeping)
        assert len([one for one in runtime.made if not one.closed]) == 1 + len(found.found)


def test_no_more_are_kept_than_fit_and_none_that_is_used_is_closed() -> None:
    runtime, files, setting = Modelled(by_macs), Files(), Setting()
    with Keeping(runtime, most=2) as keeping:
        used = [
            keeping.prepare(subject(name, macs=place), setting, files) for place, name in enumerate("abc")
        ]
        assert not any(one.closed for one in runtime.made)
        for one in used:
            one.close()
        keeping.prepare(subject("d", macs=4), setting, files)
        assert [one.name for one in runtime.made if one.closed] == ["a", "b"]
