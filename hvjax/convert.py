"""Convert a PyTorch checkpoint: `python -m hvjax.convert --from FILE --model NAME --out DIR [--deploy]`.

Writes DIR/weights.safetensors, which `hvjax.load_weights` and `python -m export.to_trt --ckpt` read, and
DIR/model.json, which says how images are to be prepared. Exit status: 0 converted, 2 a mistake.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hvjax
from hvjax import command

PROGRAM = "python -m hvjax.convert"
WEIGHTS, MODEL = "weights.safetensors", "model.json"
FORMAT = 1  # of model.json; train_tpu writes the same


def convert(
    source: Path,
    name: str,
    out: Path,
    *,
    deploy: bool = False,
    image_size: Any = None,
    overwrite: bool = False,
) -> str:
    """Convert one file, with its own number of classes and of image channels; returns a line for the user.

    Args:
      image_size: for models with tables of positions, which are interpolated if it is not the file's own.

    Raises:
      FileExistsError: if `out` holds converted weights and `overwrite` is False.
      FileNotFoundError, ValueError, ImportError: as of `hvjax.load_torch`.
    """
    from hvjax.registry import create_model, get_spec, identify
    from hvjax.torch_weights import load_torch, model_of

    spec = get_spec(name)
    overrides = {}
    if image_size is not None and hasattr(spec.config, "image_size"):
        overrides["image_size"] = image_size
    for file in (out / WEIGHTS, out / MODEL):
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists; add --overwrite to replace it")
    model = model_of(source, create_model(name, deploy=deploy, **overrides))
    variables = load_torch(source, model)
    out.mkdir(parents=True, exist_ok=True)
    hvjax.save_weights(out / WEIGHTS, variables, model)
    size = getattr(model.config, "image_size", spec.image_size if image_size is None else image_size)
    height, width = (size, size) if isinstance(size, int) else size
    info = {
        "format": FORMAT,
        "model": name,
        "overrides": identify(model)[1],
        "num_classes": model.config.num_classes,
        "class_names": [],
        "image_size": [height, width],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "crop_pct": spec.crop_pct,
        "interpolation": spec.interpolation,
        "hvjax": hvjax.__version__,
    }
    (out / MODEL).write_text(json.dumps(info, indent=2) + "\n")
    from hvjax.facts import count_parameters

    form = "deploy" if deploy else "training"
    return (
        f"{out / WEIGHTS}: {name}, {model.config.num_classes} classes, {form} form, "
        f"{count_parameters(variables):,} parameters"
    )


def parse_size(text: str) -> int | tuple[int, int]:
    """`224` or `224x320` (height x width).

    Raises:
      ValueError: for anything else.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"--image-size {text}: expected a number of pixels or HEIGHTxWIDTH")
    numbers = [int(side) for side in sides]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="source", required=True, type=Path, metavar="FILE")
    parser.add_argument("--model", required=True, metavar="NAME", help="see python -m hvjax.info")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--deploy", action="store_true", help="fuse, and write the deploy form")
    parser.add_argument("--image-size", metavar="N|HxW", help="interpolate tables of positions to this size")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(argv)

    def work() -> None:
        size = None if options.image_size is None else parse_size(options.image_size)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            line = convert(
                options.source,
                options.model,
                options.out,
                deploy=options.deploy,
                image_size=size,
                overwrite=options.overwrite,
            )
        for warning in caught:
            print(f"notice: {warning.message}", file=sys.stderr)
        print(line)

    return command.run(PROGRAM, work)


if __name__ == "__main__":
    sys.exit(main())
