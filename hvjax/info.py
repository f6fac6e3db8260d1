"""What is known about a model: `python -m hvjax.info [MODEL] [--image-size N|HxW] [--json]`.

Without a model: one line for each. Exit status: 0, or 2 after a mistake.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvjax import command
from hvjax.convert import parse_size

PROGRAM = "python -m hvjax.info"
COUNTS = Path(__file__).with_name("rows") / "counts.json"


@functools.cache
def committed_counts() -> Mapping[str, Any]:
    """Counts of every model at its own size, as `docs/write_model_pages.py` counted them.

    Counting takes seconds a model; the tests compare this file with the models themselves.
    """
    return json.loads(COUNTS.read_text())


def facts(name: str, image_size: Any = None) -> dict[str, Any]:
    """Everything known about a model, ready for JSON; counts at another size than its own are taken now.

    Raises:
      ValueError: no such model, or it cannot take the size.
    """
    from hvjax.registry import get_spec

    spec = get_spec(name)
    counts = committed_counts().get(name)
    if image_size is not None or counts is None:
        counts = count(name, image_size)
    return {
        "model": name,
        "paper": spec.paper,
        **counts,
        "preprocessing": {
            "image_size": spec.image_size,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "crop_pct": spec.crop_pct,
            "interpolation": spec.interpolation,
        },
        "published": [dataclasses.asdict(result) for result in spec.published],
        "weights": [dataclasses.asdict(weights) for weights in spec.pretrained],
        "timm": spec.timm,
        "note": spec.note,
    }


def count(name: str, image_size: Any = None) -> dict[str, Any]:
    """Counts and feature shapes, by tracing the model."""
    from hvjax.facts import describe

    found = describe(name, image_size=image_size)
    strides = {stage: stride for stage, (_, stride) in found.features.items()}
    return {
        "image_size": list(found.image_size),
        "params": found.params,
        "params_deploy": found.params_deploy,
        "macs": found.macs,
        "features": {
            stage: {"shape": list(shape), "stride": strides[stage]} for stage, shape in found.shapes.items()
        },
    }


def as_text(found: Mapping[str, Any]) -> str:
    """Several lines for a terminal."""
    height, width = found["image_size"]
    prep = found["preprocessing"]
    lines = [
        f"{found['model']} (arXiv {found['paper']})",
        f"  parameters     {found['params']:,} in training, {found['params_deploy']:,} deployed",
        f"  MACs           {found['macs'] / 1e9:.3f} G at {height}x{width}",
        "  features       name    height x width x channels, stride",
    ]
    for stage, feature in found["features"].items():
        lines.append(
            f"                 {stage:<7} {'x'.join(map(str, feature['shape']))}, 1/{feature['stride']}"
        )
    lines += [
        f"  preprocessing  {prep['image_size']} px, crop {prep['crop_pct']}, {prep['interpolation']}, "
        f"mean {tuple(prep['mean'])}, std {tuple(prep['std'])}",
    ]
    for result in found["published"]:
        lines.append(
            f"  published      {result['top1']} % top-1 at {result['image_size']} ({result['source']})"
        )
    for weights in found["weights"]:
        lines.append(f"  weights        {weights['tag']} ({weights['repo']}, licence {weights['license']})")
    if found["note"]:
        lines.append(f"  note           {found['note']}")
    return "\n".join(lines)


def table() -> str:
    """One line per model."""
    from hvjax.registry import MODELS

    lines = [f"{'model':<26} {'params':>12} {'deployed':>12} {'GMACs':>7} {'px':>4}  top-1 published"]
    for name in MODELS:
        found = facts(name)
        best = ", ".join(f"{r['top1']} at {r['image_size']}" for r in found["published"]) or "-"
        lines.append(
            f"{name:<26} {found['params']:>12,} {found['params_deploy']:>12,} {found['macs'] / 1e9:>7.2f} "
            f"{found['image_size'][0]:>4}  {best}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", help="a registry name; all models by default")
    parser.add_argument("--image-size", metavar="N|HxW", help="count at this size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)

    def work() -> None:
        from hvjax.registry import MODELS

        size = None if options.image_size is None else parse_size(options.image_size)
        if options.model is None:
            if size is not None:
                raise ValueError("--image-size needs a model")
            print(json.dumps([facts(name) for name in MODELS], indent=2) if options.json else table())
            return
        found = facts(options.model, size)
        print(json.dumps(found, indent=2) if options.json else as_text(found))

    return command.run(PROGRAM, work)


if __name__ == "__main__":
    sys.exit(main())
