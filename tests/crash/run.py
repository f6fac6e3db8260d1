"""Kill training hundreds of times: `python tests/crash/run.py [--task detection] [--kills 200] [--out FILE]`.

Each run of a tiny recipe (tests/crash/recipe.py; of segmentation and detection tests/support/dense_recipe.py)
is killed up to eight times, in phases chosen in turn, at random moments of them, and then compared with a run
that was left alone: weights, averages, optimizer, statistics, random key, position in the data and metrics,
bit for bit. Of classification, every eighth kill hits the data preparation. In the end SIGTERM is timed in
each phase.

The file is written after every run, and in the end the task's table in docs/nothing_lost.md too. The same
command goes on where it stopped; --anew starts over. About 5 s a kill on 2 cores (dense tasks: 7 s). Exit
status 1 if anything differs.
"""

import argparse
import collections
import dataclasses
import itertools
import json
import platform
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.crash.campaign import Campaign, Result
from tests.crash.harness import REPOSITORY, TASKS, TRAINING_PHASES, Aim, aims
from tests.crash.preparation import PHASES as PREPARATION_PHASES
from tests.crash.preparation import Preparation

RESULTS = REPOSITORY / "docs" / "results"
PAGE = REPOSITORY / "docs" / "nothing_lost.md"
END = "<!-- end -->"
SIGTERM_PHASES = ("compile", "step", "evaluate", "save")
PREPARATION_SHARE = 8  # one kill in so many hits the data preparation


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description="Kill training and data preparation, and compare the outcome."
    )
    parser.add_argument("--task", choices=TASKS, default=TASKS[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="default: the task's file in docs/results")
    parser.add_argument("--anew", action="store_true", help="forget the kills in the file")
    options = parser.parse_args()
    own = result_of(options.task)
    out = options.out or own
    runs: list[dict[str, Any]] = []
    if out.is_file() and not options.anew:
        runs = json.loads(out.read_text())["runs"]
    with tempfile.TemporaryDirectory() as folder, progress_bar() as bar:
        task = bar.add_task("preparing", total=options.kills, completed=count(runs))
        training = Campaign(Path(folder), options.task)
        preparation = Preparation(Path(folder)) if options.task == TASKS[0] else None
        bar.update(task, description="killing")
        training_aims, preparation_aims = (
            aims(options.seed + len(runs), phases) for phases in (TRAINING_PHASES, PREPARATION_PHASES)
        )
        for number in itertools.count(len(runs)):
            if count(runs) >= options.kills:
                break
            prepared = sum(kill["aimed"] in PREPARATION_PHASES for run in runs for kill in run["kills"])
            if preparation and number and PREPARATION_SHARE * prepared < count(runs):
                result = preparation.run(number, preparation_aims)
            else:
                result = training.run(number, training_aims)
            runs.append(as_row(result))
            bar.update(task, completed=count(runs))
            write(out, runs, {})
            if result.differing:
                bar.console.print(f"run {number} differs: {', '.join(result.differing[:5])}")
        bar.update(task, description="timing SIGTERM")
        write(out, runs, sigterm_seconds(training))
    content = table(json.loads(out.read_text()))
    print(content)
    if out == own:
        write_page(PAGE, content, options.task)
    return 1 if any(run["differing"] for run in runs) else 0


def result_of(task: str) -> Path:
    """Where the kills of a task are kept."""
    return RESULTS / ("crash.json" if task == TASKS[0] else f"crash_{task}.json")


def sigterm_seconds(campaign: Campaign) -> dict[str, float]:
    """{phase: seconds from SIGTERM to the end of the process}, of the tiny recipe."""
    found = {}
    for phase in SIGTERM_PHASES:
        command = campaign.command(campaign.folder / f"sigterm_{phase}")
        # early in it, so that it is still in that phase; compiled anew where compiling is what is meant
        found[phase] = round(command.start(Aim(phase, 1, 0.1), signal.SIGTERM, phase != "compile").seconds, 2)
    return found


def as_row(result: Result) -> dict[str, Any]:
    return {"kills": [dataclasses.asdict(kill) for kill in result.kills], "differing": result.differing}


def count(runs: list[dict[str, Any]]) -> int:
    return sum(len(run["kills"]) for run in runs)


def write(path: Path, runs: list[dict[str, Any]], sigterm: dict[str, float]) -> None:
    """The kills one by one, and what they come to."""
    every = [kill for run in runs for kill in run["kills"]]
    by_phase = {
        name: collections.Counter(phase for kill in every for phase in phases_of(kill))
        for name, phases_of in (
            ("aimed", lambda kill: [kill["aimed"]]),
            ("hit", lambda kill: kill["hit"][:1] or ["between two phases"]),
            ("open", lambda kill: kill["hit"]),
        )
    }
    content = {
        "kills": count(runs),
        "runs_compared": len(runs),
        "runs_that_differ": sum(bool(run["differing"]) for run in runs),
        "kills_by_phase": {
            phase: {name: counts[phase] for name, counts in by_phase.items()}
            for phase in sorted({*by_phase["aimed"], *by_phase["hit"]})
        },
        "sigterm_seconds": sigterm,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "runs": runs,
    }
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


def table(content: dict[str, Any]) -> str:
    """Markdown, as docs/nothing_lost.md shows it."""
    rows = [
        f"| {phase} | {row['aimed']} | {row['hit']} | {row['open']} |"
        for phase, row in content["kills_by_phase"].items()
    ]
    said = f"{content['kills']} kills, {content['runs_compared']} runs compared bit for bit, "
    said += f"{content['runs_that_differ']} differ."
    seconds = ", ".join(f"{phase} {value:.1f} s" for phase, value in content["sigterm_seconds"].items())
    return "\n".join(
        [
            said,
            "",
            "| phase | aimed at | hit | open when killed |",
            "|---|---|---|---|",
            *rows,
            "",
            f"From SIGTERM to the end of the process, tiny recipe: {seconds}.",
        ]
    )


def write_page(path: Path, content: str, task: str) -> None:
    """Put the table of a task between its marks in the page."""
    start = f"<!-- written by tests/crash/run.py --task {task} -->"
    before, found, rest = path.read_text().partition(start)
    if not found:
        raise RuntimeError(f"{path} has no place for the table: {start}")
    _, end, after = rest.partition(END)
    path.write_text(f"{before}{start}\n{content}\n{end}{after}")


def progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


if __name__ == "__main__":
    sys.exit(main())
