"""Apply fusion rules to a tree of variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hvjax.ops.trees import Path, Tree, flatten, unflatten
from hvjax.reparam.rules import Rule


def reparameterize(variables: Mapping[str, Any], rules: Sequence[Rule]) -> Tree:
    """Fuse the variables of a trained model: `{"params", "batch_stats"}` in, `{"params"}` out.

    A model without batch norm, whose rules fold something else, has no "batch_stats".

    The rules run in order, each on what the ones before it left. The input is not edited; arrays
    that no rule touches are passed on, not copied. Arrays may be NumPy arrays, JAX arrays or
    tracers (under `jax.jit`).

    Args:
      variables: nested dicts as returned by `model.init`.
      rules: the table of the family, `fusion_rules(config)`.

    Returns:
      `{"params": ...}`, the variables of the deploy form.

    Raises:
      ValueError: if a collection is missing or unknown, a rule matches nothing or does not fit
        what it matches, or batch statistics are left over; the message names rule and path.
    """
    tree = _apply(rules, _join_collections(variables))
    _refuse_leftovers(tree, variables.get("batch_stats", {}))
    return {"params": tree}


def reparameterize_partly(variables: Mapping[str, Any], rules: Sequence[Rule]) -> Tree:
    """Apply some rules of a table; `{"params", "batch_stats"}` in and out, the latter as far as it is left.

    Raises:
      ValueError: as `reparameterize`, but for batch statistics that are left over.
    """
    tree = flatten(_apply(rules, _join_collections(variables)))
    stats = flatten(variables.get("batch_stats", {}))
    parts = {
        "params": unflatten({path: leaf for path, leaf in tree.items() if path not in stats}),
        "batch_stats": unflatten({path: leaf for path, leaf in tree.items() if path in stats}),
    }
    return {name: part for name, part in parts.items() if part}


def _apply(rules: Sequence[Rule], tree: Tree) -> Tree:
    for rule in rules:
        matched = [path for path, node in _nodes(tree) if rule.matches(path, node)]
        if not matched:
            raise ValueError(
                f"the fusion rule {rule.path!r} matches nothing in these variables: they are not of "
                f"the model that the rules are for (top level: {', '.join(sorted(tree))})"
            )
        for path in matched:
            try:
                tree = _rewrite(tree, path, rule)
            except ValueError as error:
                place = ".".join(path) or "the top level"
                raise ValueError(f"fusion rule {rule.path!r} at {place}: {error}") from error
    return tree


def _join_collections(variables: Mapping[str, Any]) -> Tree:
    """Lay parameters and statistics into one new tree: a norm becomes one node with four arrays."""
    if set(variables) - {"batch_stats"} != {"params"}:
        found = ", ".join(sorted(variables)) or "none"
        raise ValueError(f"expected the collections params and batch_stats, got {found}")
    return _join(variables["params"], variables.get("batch_stats", {}), ())


def _join(params: Mapping[str, Any], stats: Mapping[str, Any], path: Path) -> Tree:
    joined: Tree = {}
    for name in dict.fromkeys([*params, *stats]):
        sides = [side[name] for side in (params, stats) if name in side]
        if all(isinstance(side, Mapping) for side in sides):
            joined[name] = _join(params.get(name, {}), stats.get(name, {}), (*path, name))
        elif len(sides) == 1:
            joined[name] = sides[0]
        else:
            raise ValueError(f"{'.'.join((*path, name))} is in params and in batch_stats")
    return joined


def _nodes(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree]]:
    yield path, tree
    for name, child in tree.items():
        if isinstance(child, dict):
            yield from _nodes(child, (*path, name))


def _rewrite(tree: Tree, path: Path, rule: Rule) -> Tree:
    if not path:
        return rule.fuse(tree)
    return {**tree, path[0]: _rewrite(tree[path[0]], path[1:], rule)}


def _refuse_leftovers(tree: Tree, stats: Mapping[str, Any]) -> None:
    known = flatten(stats)
    left = [".".join(path) for path in flatten(tree) if path in known]
    if left:
        shown = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
        raise ValueError(f"batch statistics that no fusion rule covers: {shown}")
