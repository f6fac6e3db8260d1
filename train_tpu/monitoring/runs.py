"""Runs to be compared: what they logged, in which config keys they differ, and a table of them."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from train_tpu.checkpointing.workdir import CONFIG, MAY_CHANGE
from train_tpu.errors import UserError
from train_tpu.monitoring.goodput import FILE as GOODPUT
from train_tpu.monitoring.metrics import FILE as METRICS
from train_tpu.monitoring.metrics import read_metrics
from train_tpu.scores import MAIN, main_of

KEYS_SHOWN = 4  # in a label of the legend
WIDEST = 72  # letters of a label


@dataclasses.dataclass(frozen=True)
class Run:
    """name: of its folder; config: flat; rows: of metrics.jsonl; goodput: share, None if not recorded."""

    name: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    goodput: float | None = None

    @property
    def weights(self) -> str:
        """Those that inference would use: "ema" where the run keeps an average, else "raw"."""
        return "ema" if any(r.get("weights") == "ema" for r in self.rows) else "raw"

    def held_out(self) -> list[dict[str, Any]]:
        """Its evaluations of those weights."""
        return [r for r in self.rows if r["split"] == "held_out" and r["weights"] == self.weights]

    def train(self) -> list[dict[str, Any]]:
        """Its lines of the training log."""
        return [r for r in self.rows if r["split"] == "train"]


@dataclasses.dataclass(frozen=True)
class Summary:
    """steps: done so far; main: key of the main score; score, loss: held out, of the last evaluation;
    best: highest score and its step;
    images_per_second: median over the log. None: not known (yet)."""

    steps: int
    main: str | None
    score: float | None
    loss: float | None
    best: tuple[float, int] | None
    images_per_second: float | None
    goodput: float | None


def read_run(path: str) -> Run:
    """Raises:
    UserError: no run there, or one that has logged nothing yet.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"{path}: no such run")
    if not (folder / CONFIG).is_file():
        raise UserError(f"{path} is no training directory: it holds no {CONFIG}")
    config = _read_json(folder / CONFIG)
    if config is None:
        raise UserError(f"{folder / CONFIG} cannot be read as JSON")
    rows = read_metrics(folder)
    if not any(row["split"] in ("train", "held_out") for row in rows):
        raise UserError(f"{path} has logged nothing yet: no rows in {METRICS}")
    goodput = (_read_json(folder / GOODPUT) or {}).get("goodput")
    return Run(folder.resolve().name, config, rows, goodput)


def differing_keys(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Keys whose values are not the same in all configs: the model first, tables last.

    Keys that change nothing of what is computed are left out, and those that one of the runs, of an older
    version, does not have.
    """
    keys = set(configs[0]).intersection(*configs[1:]) - {*MAY_CHANGE}
    differing = [k for k in keys if len({json.dumps(c[k], sort_keys=True) for c in configs}) > 1]
    return sorted(differing, key=lambda k: (k != "model.name", isinstance(configs[0][k], dict | list), k))


def labels(runs: Sequence[Run]) -> list[str]:
    """One a run: its name and what is its own in the config, cut at WIDEST letters; never two alike."""
    keys = differing_keys([run.config for run in runs])
    found: list[str] = []
    for run in runs:
        own = [
            f"{key.removesuffix('.name').split('.')[-1]}={short(run.config.get(key))}"
            for key in keys[:KEYS_SHOWN]
        ]
        more = [f"+{len(keys) - KEYS_SHOWN} more"] if len(keys) > KEYS_SHOWN else []
        label = f"{run.name}: {', '.join(own + more)}" if own else run.name
        label = label if len(label) <= WIDEST else f"{label[: WIDEST - 1]}…"
        while label in found:
            label += "'"
        found.append(label)
    return found


def summarise(run: Run) -> Summary:
    """What the table says of a run."""
    held_out = run.held_out()
    last = held_out[-1] if held_out else {}
    main = main_of(last)
    scored = [row for row in held_out if main in row]
    best = max(((row[main], -row["step"]) for row in scored), default=None) if main else None
    speeds = sorted(row["images_per_second"] for row in run.train() if "images_per_second" in row)
    return Summary(
        steps=max(row["step"] for row in run.rows),
        main=main,
        score=last[main] if main else None,
        loss=last.get("loss"),
        best=(best[0], -best[1]) if best else None,
        images_per_second=speeds[len(speeds) // 2] if speeds else None,
        goodput=run.goodput,
    )


SCORES = (2, 4)  # columns of the table with scores


def table(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A header and a row of text for each run."""
    summaries = [summarise(run) for run in runs]
    score = score_of(summary.main for summary in summaries)
    rows: list[tuple[str, ...]] = [("run", "steps", score, "loss", f"best {score}", "images/s", "goodput")]
    for label, summary in zip(labels(runs), summaries, strict=True):
        best = f"{summary.best[0]:.2%} at {summary.best[1]:,}" if summary.best else "-"
        rows.append(
            (
                label,
                f"{summary.steps:,}",
                _written(summary.score, ".2%"),
                _written(summary.loss, ".4f"),
                best,
                _written(summary.images_per_second, ",.0f"),
                _written(summary.goodput, ".1%"),
            )
        )
    return rows


def score_of(keys: Iterable[str | None]) -> str:
    """What to call the main scores of several runs: "score" where they are of different tasks."""
    found = {key for key in keys if key is not None} or {"top1"}
    return MAIN[found.pop()] if len(found) == 1 else "score"


def as_text(rows: Sequence[tuple[str, ...]]) -> str:
    """The table for a terminal, names at the left, numbers at the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(lines)


def _written(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def short(value: Any) -> str:
    """A value of a config in few letters."""
    if isinstance(value, float):
        return f"{value:g}"
    return value or "none" if isinstance(value, str) else json.dumps(value).replace('"', "")


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
