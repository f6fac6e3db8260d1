"""Kills in every phase of the real command, and whether the harness that counts them can see at all."""

import itertools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import sabotage
from tests.crash.campaign import HALFWAY, INTERRUPTED, Campaign, Kill
from tests.crash.harness import TRAINING_PHASES, Aim, aims
from tests.crash.outcome import differences, outcome
from tests.crash.preparation import PHASES, Preparation

KILLS, PREPARATION_KILLS = 12, 4
SHARES = (0.3, 0.1, 0.0)  # of how long a phase lasts in a quiet run: this machine may be quicker today
ENOUGH = 60  # kills; by then every phase was hit, or one cannot be
SEED = 0
# From the signal to the end of the process, of a tiny run on two busy cores: a step, a save, Python's end.
SIGTERM_SECONDS = 30.0


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("crash"))


def test_killed_in_every_phase_and_equal_to_the_bit(campaign: Campaign) -> None:
    """Killed at random moments and started again, again and again: as if nothing had been.

    A phase that chance left out is aimed at until it was hit: ever earlier in it, in the end where it begins.
    Of several phases open at once (a checkpoint is written beside steps and evaluations) all are hit.
    """
    chance = aims(SEED, TRAINING_PHASES)
    kills: list[Kill] = []

    def missing() -> list[str]:
        return [phase for phase in TRAINING_PHASES if not any(phase in kill.hit for kill in kills)]

    for number in itertools.count():
        if len(kills) < KILLS:
            result = campaign.run(number, chance)
        elif missing():
            result = campaign.run(number, at(missing()), 1 + len(SHARES) * len(missing()))
        else:
            return
        assert result.differing == [], f"after {result.kills}"
        kills += result.kills
        assert len(kills) < ENOUGH, f"never hit: {missing()} by {kills}"


def test_segmenter_killed_once_and_equal_to_the_bit(tmp_path: Path) -> None:
    """A campaign begins with a run that is killed halfway, goes on and ends as the one that was left alone.

    With another random key it does not: what drops out is drawn, and the comparison sees it.
    """
    campaign = Campaign(tmp_path / "campaign", "segmentation")
    workdir = Path(shutil.copytree(campaign.folder / INTERRUPTED, tmp_path / "run"))
    ended = campaign.command(workdir, sabotage.__file__, "rng").start(None)
    assert ended.status == 0, ended.said
    assert "resuming after step" in ended.said
    found = differences(outcome(workdir), campaign.expected)
    assert any(name.startswith("model/") for name in found), found


def at(phases: list[str]) -> Iterator[Aim]:
    """Kills for one run: first late enough that there is a checkpoint to restore, then these phases."""
    there = (Aim(phase, 1, share) for share in SHARES for phase in phases)
    return itertools.chain([Aim("step", HALFWAY, 0.0)], itertools.cycle(there))


def test_preparation_killed_and_equal_to_the_byte(tmp_path: Path) -> None:
    """The data preparation, too, goes on where it was killed and writes the same files."""
    preparation, targets = Preparation(tmp_path), aims(SEED, PHASES)
    hits = 0
    for number in range(ENOUGH // PREPARATION_KILLS):
        result = preparation.run(number, targets, PREPARATION_KILLS)
        assert result.differing == [], f"after {result.kills}"
        hits += sum("prepare" in kill.hit for kill in result.kills)
        if hits >= PREPARATION_KILLS:
            return
    pytest.fail(f"killed only {hits} times in the preparation")


@pytest.mark.parametrize("part", sabotage.PARTS)
def test_a_lost_part_is_seen(campaign: Campaign, tmp_path: Path, part: str) -> None:
    """The same comparison, with a part of the state left out of the resume: it must not pass."""
    workdir = Path(shutil.copytree(campaign.folder / INTERRUPTED, tmp_path / "run"))
    ended = campaign.command(workdir, sabotage.__file__, part).start(None)
    assert ended.status == 0, ended.said
    assert "resuming after step" in ended.said
    assert differences(outcome(workdir), campaign.expected), f"without {part} nothing differs"


@pytest.mark.parametrize("phase", ["compile", "step", "evaluate", "save"])
def test_sigterm_leaves_in_time_and_loses_nothing(campaign: Campaign, tmp_path: Path, phase: str) -> None:
    """In every phase: exit status 143 soon after, and the same command goes on to the same weights."""
    command = campaign.command(tmp_path / "run")
    # early in the phase, so that it is hit; compiled anew, where compiling is what is meant
    ended = command.start(Aim(phase, 1, 0.1), signal.SIGTERM, cached=phase != "compile")
    assert ended.status == 128 + signal.SIGTERM, ended.said
    assert ended.seconds < SIGTERM_SECONDS
    expected = "nothing to save yet" if phase == "compile" else "the same command goes on from there"
    assert expected in ended.said
    again = command.start(None)
    assert again.status == 0, again.said
    found = differences(outcome(tmp_path / "run"), campaign.expected)
    # an evaluation that was cut short is not repeated: its rows are missing, and so may the best weights be
    assert [name for name in found if name.startswith(("model/", "optimizer/", "data"))] == []
