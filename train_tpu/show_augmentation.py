"""See what a model is trained on: `python -m train_tpu.show_augmentation --config FILE ...`

  --out FILE.png   where the picture goes (default: augmentation.png)
  --overwrite      replace it if it is there

Draws training images after all that the config does to them: cropped and augmented by the input pipeline,
erased and mixed on the device, then turned back into colours. Under each are its mixed labels, with their
shares. A row is a batch: a batch is mixed alike. Of segmentation and detection: images on their canvas beside
their classes, or boxes and masks. Exit status: 0 drawn, 1 too many images cannot be read,
2 a mistake in the arguments.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from train_tpu.command import exit_status
from train_tpu.config import Config
from train_tpu.errors import UserError
from train_tpu.evaluation.sheets import COLUMNS, ROWS, Line, Tile, draw_sheet
from train_tpu.learning.objective import Objective


def training_images(config: Config) -> tuple[list[Tile], str]:
    """The tiles of a sheet, ROWS batches of COLUMNS images, and the name of the data set."""
    import jax

    from hvjax.registry import MODELS
    from train_tpu.data import pipeline
    from train_tpu.data.quarantine import CorruptImages
    from train_tpu.data.sources import open_dataset
    from train_tpu.learning.objective import make_objective

    dataset = open_dataset(config.data)
    spec = MODELS[config.model.name]
    objective = make_objective(config, len(dataset.class_names), dataset.class_counts, spec.mean, spec.std)
    corrupt = CorruptImages(len(dataset.train), config.data.max_corrupt)
    batches = pipeline.train_batches(
        dataset.train, config.data, seed=config.seed, batch_size=COLUMNS, corrupt=corrupt, mean=spec.mean
    )
    tiles: list[Tile] = []
    inputs = jax.jit(objective.inputs)
    for row in range(ROWS):
        images, targets = inputs(next(batches), jax.random.fold_in(jax.random.key(config.seed), row))
        for image, target in zip(as_pixels(np.asarray(images), objective), np.asarray(targets), strict=True):
            tiles.append(Tile(image, caption(target, objective, dataset.class_names)))
    return tiles, dataset.name


def draw_dense(config: Config, out: Path) -> None:
    """The page of a dense task."""
    from train_tpu.data.quarantine import CorruptImages
    from train_tpu.data.watchdog import Watchdog
    from train_tpu.evaluation import training_pictures
    from train_tpu.evaluation.dense_pictures import IMAGES, draw_page
    from train_tpu.tasks.choice import task_of

    task = task_of(config)
    dataset = task.open()
    corrupt = CorruptImages(len(dataset.train), config.data.max_corrupt)
    batches = task.train_batches(
        dataset, batch_size=IMAGES, corrupt=corrupt, process=(0, 1), watchdog=Watchdog(0)
    )
    rows = training_pictures.training_rows(next(batches), dataset.class_names)
    draw_page(rows, training_pictures.COLUMNS, out, f"Training images, {dataset.name}")
    print(f"{out}: {len(rows)} training images of {dataset.name}")
    for note in dataset.notes:
        print(f"  {note}")


def as_pixels(images: Float[np.ndarray, "b h w 3"], objective: Objective) -> UInt8[np.ndarray, "b h w 3"]:
    """Normalised images as colours; noise of erasing that lies outside of them is cut off."""
    colours = images * np.asarray(objective.std) + np.asarray(objective.mean)
    return np.round(255 * np.clip(colours, 0, 1)).astype(np.uint8)


def caption(
    target: Float[np.ndarray, "classes"], objective: Objective, names: Sequence[str]
) -> tuple[Line, ...]:
    """The classes that have more of the target than label smoothing gives to every one, two at most."""
    most = [int(c) for c in np.argsort(-target, kind="stable")[:2]]
    everywhere = objective.smoothing / objective.num_classes
    named = [c for c in most if target[c] > everywhere + 0.005]  # what would be shown as 0.00 is not
    return tuple(Line(names[c], number=f"{target[c]:.2f}") for c in named)


def about(config: Config) -> str:
    """What is done to the images, in a few words."""
    data, mix = config.data, config.mix
    parts = [f"{data.image_size} px"]
    parts += (
        [f"shift {data.shift}"]
        if data.shift
        else [f"crops of {data.crop_scale[0]:g} to {data.crop_scale[1]:g}"]
    )
    parts += ["flip"] if data.flip else []
    if data.randaugment:
        parts.append(data.randaugment)
    elif data.color_jitter:
        parts.append(f"colour jitter {data.color_jitter:g}")
    named = {
        "erasing": data.erasing,
        "mixup": mix.mixup * (mix.prob > 0),
        "CutMix": mix.cutmix * (mix.prob > 0),
        "views": data.repeats * (data.repeats > 1),
    }
    return " · ".join(parts + [f"{name} {value:g}" for name, value in named.items() if value])


def _run(argv: Sequence[str]) -> int:
    from train_tpu.flags import HelpRequested, parse_command_line

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", default="augmentation.png")
    parser.add_argument("--overwrite", action="store_true")
    options, rest = parser.parse_known_args(list(argv))
    try:
        command = parse_command_line(rest)
    except HelpRequested:
        print(__doc__)
        return 0
    out = Path(options.out).expanduser()
    if out.suffix.lower() != ".png":
        raise UserError(f"--out={options.out}: a picture's name ends with .png")
    if out.exists() and not options.overwrite:
        raise UserError(f"--out={options.out} exists; give another name, or --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    if command.config.task != "classification":
        draw_dense(command.config, out)
        return 0
    tiles, name = training_images(command.config)
    draw_sheet(tiles, out, f"Training images, {name}", about(command.config))
    print(f"{out}: {len(tiles)} training images of {name}; each row is a batch of {COLUMNS}, mixed alike")
    return 0


def main(argv: Sequence[str]) -> int:
    """Run the command with the arguments after the program's name; returns the exit status."""
    return exit_status(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
