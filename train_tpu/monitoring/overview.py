"""parameters.txt: every array of the model, its size, its values at the start, what training does to it."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train_tpu.config import Config
from train_tpu.learning import groups
from train_tpu.state import TrainState

FILE = "parameters.txt"


def write(workdir: Path | None, options: Config, state: TrainState) -> None:
    """Write WORKDIR/parameters.txt. All hosts call it, as arrays may be spread over them.

    Args:
      workdir: None on hosts that do not write.
      options: config.optimizer, which says what decays and what is frozen.
    """
    text = table(options, state.params, state.batch_stats)
    if workdir is not None:
        (workdir / FILE).write_text(text, encoding="utf-8")


def table(options: Config, params: Any, batch_stats: Any) -> str:
    """The text of the file."""
    decayed = _named(groups.decayed(options, params))
    frozen_tree = groups.frozen(options.freeze, params)
    frozen = _named(frozen_tree) if frozen_tree is not None else {}
    statistics = {name: _mean_std(array) for name, array in _named((params, batch_stats)).items()}
    rows = [("name", "shape", "count", "mean", "std", "trained")]
    arrays = {f"0.{name}": p for name, p in _named(params).items()}
    arrays |= {f"1.{name}": p for name, p in _named(batch_stats).items()}
    for key, array in arrays.items():
        part, name = key.split(".", 1)
        if part == "1":
            note = "running statistic"
        else:
            note = "frozen" if frozen.get(name) else ("decayed" if decayed[name] else "not decayed")
        mean, std = statistics[key]
        shape = "x".join(map(str, array.shape)) or "scalar"
        rows.append((name, shape, f"{math.prod(array.shape):,}", f"{mean:.4g}", f"{std:.4g}", note))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    left = (True, True, False, False, False, True)  # names stand at the left, numbers at the right
    lines = [
        "  ".join(
            c.ljust(w) if at else c.rjust(w) for c, w, at in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *_sums(params, batch_stats, decayed, frozen)]) + "\n"


def _sums(params: Any, batch_stats: Any, decayed: dict[str, Any], frozen: dict[str, Any]) -> list[str]:
    sizes = {name: math.prod(p.shape) for name, p in _named(params).items()}
    still = {name for name in sizes if frozen.get(name)}
    decays = {name for name in sizes if decayed[name]} - still
    groups_of = (
        ("parameters", set(sizes)),
        ("decayed", decays),
        ("not decayed", set(sizes) - decays - still),
        ("frozen", still),
    )
    lines = [
        f"{name:18}{sum(sizes[n] for n in names):>14,} in {len(names):,} arrays" for name, names in groups_of
    ]
    statistics = _named(batch_stats)
    count = sum(math.prod(s.shape) for s in statistics.values())
    return [*lines, f"{'running statistics':18}{count:>14,} in {len(statistics):,} arrays"]


def _mean_std(array: Any) -> tuple[float, float]:
    """On the host, since compiling a program for each shape takes longer; on the devices where it must be."""
    on_hosts = isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated)
    values = array if on_hosts else np.asarray(array, np.float32)
    return float(values.mean()), float(values.std())


def _named(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
