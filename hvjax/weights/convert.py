"""The one loop that turns a PyTorch state dict into variables by a table of names, strict both ways."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hvjax.ops.trees import Tree, flatten, unflatten
from hvjax.weights.rules import Leaf, Path, Rule, Table, match

SHOWN = 8  # problems of one kind that a message lists


@dataclass
class Report:
    """What became of each tensor.

    Attributes:
      table: naming that was recognised.
      filled: our path -> name in the state dict.
      skipped: names that are known to hold no weights (`Table.skipped`).
      merged: our paths of norms that the state dict has merged into other layers; they are set to the
        identity.
      resized: position tables that were interpolated: name -> shape in the state dict, shape wanted there.
    """

    table: str
    filled: dict[Path, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    merged: list[Path] = field(default_factory=list)
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


def recognise(names: Iterable[str], tables: Sequence[Table]) -> Table:
    """Table that explains most of the names.

    Raises:
      ValueError: if none explains any; the message shows what was expected and what was found. If there is no
        table at all, because nobody published weights.
    """
    if not tables:
        raise ValueError(
            "no public checkpoints of this model are known. Those of whole segmenters and detectors are not "
            "read: hvjax.dense.start.from_classifier starts one from a classifier's. hvjax's own weights "
            "load with hvjax.load_weights"
        )
    names = list(names)
    scores = [sum(bool(_candidates(name, table)) for name in names) for table in tables]
    if not names or not max(scores):
        known = "; ".join(
            f"{table.name} ({table.rules[0].source}.weight ... {table.rules[-1].source}.weight)"
            for table in tables
        )
        found = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise ValueError(
            f"the names of this state dict are not known here. Known: {known}. Found: {found or 'no tensors'}"
        )
    return tables[scores.index(max(scores))]


def convert(
    state_dict: Mapping[str, np.ndarray], table: Table, expected: Mapping[str, Any], epsilon: float
) -> tuple[Tree, Report]:
    """Variables of the training form, from a state dict.

    Args:
      state_dict: name -> array in PyTorch's order of axes.
      table: its naming.
      expected: nested dict of what is wanted, leaves with a `shape`.
      epsilon: of the batch norms; norms that the checkpoint has merged away become the identity with it.

    Raises:
      ValueError: listing every tensor that has no place, two places, a wrong shape or the place of another
        one, and every place without a tensor, each with the names on both sides.
    """
    wanted, report = flatten(expected), Report(table.name)
    filled: dict[Path, np.ndarray] = {}
    problems: list[str] = []
    for name, tensor in state_dict.items():
        if name.rsplit(".", 1)[-1] in table.skipped:
            report.skipped.append(name)
            continue
        places = _candidates(name, table)
        tensor, reason = _resized(name, tensor, places, wanted, report)
        problem = _problem(name, tensor, places, wanted, report)
        if problem:
            problems.append(problem + reason)
        else:
            path, leaf, _ = places[0]
            filled[path] = np.array(leaf.to_ours(tensor), np.float32)
            report.filled[path] = name

    named = set(report.filled) | {place[0] for name in state_dict for place in _candidates(name, table)}
    missing = [path for path in wanted if path not in named]
    origins = {path: _origin(path, table) for path in missing}
    merged = {path for path, (_, rule) in origins.items() if rule.merged}
    if merged == {path for path in wanted if _origin(path, table)[1].merged}:
        report.merged = [path for path in missing if path in merged]
        missing = [path for path in missing if path not in merged]
        filled |= {path: _identity(path, wanted[path].shape, epsilon) for path in report.merged}
    problems += [
        f"nothing for {'.'.join(path)} {tuple(wanted[path].shape)}: expected a tensor {origins[path][0]}"
        for path in missing
    ]
    if problems:
        raise ValueError(_message(table, problems))
    return unflatten({path: filled[path] for path in wanted}), report


def head_tensors(names: Iterable[str], table: Table) -> list[str]:
    """Names that belong to the classifier."""
    return [name for name in names if any(path[1] == "head" for path, _, _ in _candidates(name, table))]


def tensors_at(names: Iterable[str], table: Table, places: Container[Path]) -> list[str]:
    """Names that fill one of our paths."""
    return [name for name in names if any(path in places for path, _, _ in _candidates(name, table))]


def position_tables(table: Table, paths: Iterable[Path]) -> dict[Path, Leaf]:
    """Those of our paths that are tables of positions, which `Leaf.resize` fits to another image size."""
    found: dict[Path, Leaf] = {}
    for path in paths:
        for rule in table.rules:
            for leaf in rule.leaves:
                fits = (leaf.collection, leaf.target) == (path[0], path[-1])
                if leaf.resize is not None and fits and match(rule.target, ".".join(path[1:-1])) is not None:
                    found[path] = leaf
    return found


def _candidates(name: str, table: Table) -> list[tuple[Path, Leaf, Rule]]:
    """Our paths for one name of the state dict; one, if the table is right and the name belongs to it."""
    module, _, last = name.rpartition(".")
    found = []
    for rule in table.rules:
        numbers = match(rule.source, module)
        for leaf in rule.leaves:
            if numbers is None or leaf.source != last:
                continue
            try:
                target = rule.target.format(**table.numbering.to_target(numbers))
            except KeyError:  # a block that this model does not have
                continue
            found.append(((leaf.collection, *filter(None, target.split(".")), leaf.target), leaf, rule))
    return found


def _resized(
    name: str,
    tensor: np.ndarray,
    places: Sequence[tuple[Path, Leaf, Rule]],
    wanted: Mapping[Path, Any],
    report: Report,
) -> tuple[np.ndarray, str]:
    """The tensor, interpolated if it is a table of positions of another image size; why not, if it cannot."""
    if len(places) != 1 or places[0][1].resize is None or places[0][0] not in wanted:
        return tensor, ""
    path, leaf, _ = places[0]
    there = leaf.shape_there(tuple(wanted[path].shape))
    if leaf.resize is None or tuple(tensor.shape) == there:
        return tensor, ""
    try:
        fitted = leaf.resize(tensor, there)
    except ValueError as error:
        return tensor, f" ({error})"
    report.resized[name] = tuple(tensor.shape), there
    return fitted, ""


def _problem(
    name: str,
    tensor: np.ndarray,
    places: Sequence[tuple[Path, Leaf, Rule]],
    wanted: Mapping[Path, Any],
    report: Report,
) -> str | None:
    shape = tuple(tensor.shape)
    if not places:
        return f"no place for {name} {shape}: no rule of this naming fits"
    if len(places) > 1:
        return f"two places for {name}: {' and '.join('.'.join(path) for path, _, _ in places)}"
    path, leaf, _ = places[0]
    ours = ".".join(path)
    if path not in wanted:
        return f"no place for {name} {shape}: the model has no {ours}"
    if path in report.filled:
        return f"two tensors for {ours}: {report.filled[path]} and {name}"
    there = leaf.shape_there(tuple(wanted[path].shape)) if len(wanted[path].shape) == len(leaf.axes) else None
    if shape != there:
        return f"{name} is {shape}, but {ours} {tuple(wanted[path].shape)} needs {there}"
    return None


def _origin(path: Path, table: Table) -> tuple[str, Rule]:
    """Name that a state dict would have for one of our paths, and the rule that says so."""
    collection, last, module = path[0], path[-1], ".".join(path[1:-1])
    for rule in table.rules:
        numbers = match(rule.target, module)
        if numbers is None:
            continue
        for leaf in rule.leaves:
            if (leaf.collection, leaf.target) == (collection, last):
                layer = rule.source.format(**table.numbering.to_source(numbers))
                return f"{layer}.{leaf.source}".lstrip("."), rule
    raise ValueError(f"the table of {table.name} has no rule that fills {'.'.join(path)}")


def _identity(path: Path, shape: tuple[int, ...], epsilon: float) -> np.ndarray:
    """Leaf of a batch norm that changes nothing: its variance and epsilon add up to one."""
    value = {"scale": 1.0, "bias": 0.0, "mean": 0.0, "var": 1.0 - epsilon}[path[-1]]
    return np.full(shape, value, np.float32)


def _message(table: Table, problems: Sequence[str]) -> str:
    shown = [f"  {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        shown.append(f"  ... and {len(problems) - SHOWN} more")
    return "\n".join([f"this state dict ({table.name} names) does not fit the model:", *shown])
