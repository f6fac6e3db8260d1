"""Plain nested dicts of arrays: flat views of them, and what differs between two.

A path is a tuple of names; in messages it is written with dots, `stage1.block2.mhca.conv.kernel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Tree = dict[str, Any]  # name -> array or Tree
Path = tuple[str, ...]


def flatten(tree: Mapping[str, Any], prefix: Path = ()) -> dict[Path, Any]:
    """Return `{path: leaf}` in the order of the tree; everything that is not a mapping is a leaf."""
    flat: dict[Path, Any] = {}
    for name, value in tree.items():
        path = (*prefix, name)
        flat |= flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return flat


def unflatten(flat: Mapping[Path, Any]) -> Tree:
    """Return the nested dict of `{path: leaf}`.

    Raises:
      ValueError: if one path is both a leaf and the parent of another.
    """
    tree: Tree = {}
    for path, leaf in flat.items():
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise ValueError(f"{'.'.join(path)} lies below another tensor")
        if path[-1] in node:
            raise ValueError(f"{'.'.join(path)} is both a tensor and a group of tensors")
        node[path[-1]] = leaf
    return tree


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any], limit: int = 5) -> str:
    """Describe how the names and shapes of `actual` differ from those of `expected`; empty if they do not.

    One line per tensor (missing, misshapen, then unexpected), at most `limit` of each. Types may differ.
    """
    want, have = flatten(expected), flatten(actual)
    missing = [f"missing: {_show(path, leaf)}" for path, leaf in want.items() if path not in have]
    misshapen = [
        f"misshapen: {'.'.join(path)} is {_shape(have[path])}, expected {_shape(leaf)}"
        for path, leaf in want.items()
        if path in have and _shape(have[path]) != _shape(leaf)
    ]
    unexpected = [f"unexpected: {_show(path, leaf)}" for path, leaf in have.items() if path not in want]
    lines = []
    for group in (missing, misshapen, unexpected):
        lines += group[:limit]
        if len(group) > limit:
            lines.append(f"... and {len(group) - limit} more {group[0].split(':')[0]}")
    return "\n".join(f"  {line}" for line in lines)


def _show(path: Path, leaf: Any) -> str:
    return f"{'.'.join(path)} {_shape(leaf)}"


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(getattr(leaf, "shape", ()))
