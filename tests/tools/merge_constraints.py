"""Merge two `pip freeze` outputs into one constraints file with python_version markers.

usage: merge_constraints.py FREEZE_OF_PYTHON_311 FREEZE_OF_PYTHON_312 > constraints.txt

Python 3.11 is the oldest interpreter supported and gets the last jax that runs on it; 3.12 and later get the
newest. A package at the same version in both is written once; one that a single interpreter needs keeps its
marker.
"""

import sys
from pathlib import Path

HEADER = """\
# Versions that `make test` passed with: `make venv` installs exactly these; pyproject.toml has lower bounds.
# Written by tests/tools/merge_constraints.py from `pip freeze` on Python 3.11 and 3.12; do not edit by hand.
"""
OLD, NEW = 'python_version < "3.12"', 'python_version >= "3.12"'


def parse_freeze(text: str) -> dict[str, str]:
    """Return {package: version} of the `name==version` lines; editable and local installs are left out."""
    pairs = (
        line.split("==", 1) for line in text.splitlines() if "==" in line and not line.startswith(("#", "-e"))
    )
    return {name.strip().lower().replace("_", "-"): version.strip() for name, version in pairs}


def merge(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Return sorted requirement lines that pin `old` below Python 3.12 and `new` from it on."""
    lines = []
    for name in sorted(old | new):
        if old.get(name) == new.get(name):
            lines.append(f"{name}=={old[name]}")
            continue
        if name in old:
            lines.append(f"{name}=={old[name]} ; {OLD}")
        if name in new:
            lines.append(f"{name}=={new[name]} ; {NEW}")
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    freezes = [parse_freeze(Path(path).read_text()) for path in sys.argv[1:]]
    print(HEADER + "\n".join(merge(*freezes)))
