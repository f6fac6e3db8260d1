"""Draw what a segmenter or detector finds in images: part of `train_tpu.predict`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

import hvjax
from train_tpu import memory
from train_tpu.checkpointing.checkpoint import Inference, load_inference
from train_tpu.checkpointing.workdir import read_config
from train_tpu.config import Config
from train_tpu.data import geometry
from train_tpu.data.decode import decode
from train_tpu.data.dense_examples import DETECTION, no_instances
from train_tpu.data.dense_rows import Rows
from train_tpu.errors import RunFailed, UserError
from train_tpu.evaluation.dense_pictures import Row, draw_page, predicted_classes, predicted_instances
from train_tpu.learning.objective import normalise
from train_tpu.monitoring.progress import Counting

COLUMNS = ("image", "prediction")
PICTURE = "_predicted.png"  # what the names of pictures end with


def run(
    options: argparse.Namespace,
    paths: Sequence[Path],
    read_batches: Any,
    shown: Callable[[Any], str],
    say: Callable[[str], None],
) -> int:
    """Write OUT/<name of the image>_predicted.png for each image; returns the exit status.

    Args:
      options: of the command; "ckpt" is a training directory or one of its checkpoints.
      read_batches, shown: of predict.
    Raises:
      UserError: a picture is there already, or the folder cannot be written to.
      RunFailed: out of memory, or an answer is not finite.
    """
    loaded = load_inference(options.ckpt, options.which)
    config = read_config(Path(loaded.info["checkpoint"]).parent.parent)
    out = Path(options.out).expanduser()
    ours = f"*{PICTURE}"  # of an earlier call, where --out lies below the images
    paths = [path for path in paths if not (path.parent.resolve() == out.resolve() and path.match(ours))]
    if not paths:
        raise UserError(f"--images: nothing there but pictures of an earlier call, in {out}")
    targets = _targets(out, paths, options.overwrite)
    names = tuple(loaded.info["class_names"])
    size = min(options.batch, config.data.eval_batch_size)
    answers_of = _compiled(loaded, config)
    rows = Rows(DETECTION, tuple(config.data.eval_canvas), mean=tuple(loaded.info["mean"]))
    title = f"{loaded.info['model']}, step {loaded.info['step']}"
    say(f"{title}, {len(names)} classes; {len(paths):,} images")
    unreadable: list[str] = []
    shrink = memory.named(lambda: f"try less than --batch {size}")
    with shrink, Counting("images", len(paths)) as counting:
        for batch in read_batches(paths, size, lambda path: _shown(path, rows, config)):
            filled = rows.empty(size)
            for place, (_, row) in enumerate(batch):
                if not isinstance(row, str):
                    filled["image"][place], filled["size"][place] = row["image"], row["size"]
            answers = {name: np.asarray(part) for name, part in answers_of(filled).items()}
            for place, (path, row) in enumerate(batch):
                if isinstance(row, str):
                    unreadable.append(f"  {shown(path)}: {row}")
                    continue
                height, width = (int(side) for side in row["size"])
                if not answers["finite"][place]:
                    raise RunFailed(f"the model's answer to {shown(path)} is not finite: damaged weights?")
                picture = _picture(row["image"][:height, :width], answers, place, names)
                draw_page([picture], COLUMNS, targets[path], f"{shown(path.name)}, {title}")
            counting.add(len(batch))
    for line in unreadable:
        say(line)
    say(f"pictures: {options.out} ({len(paths) - len(unreadable):,} of {len(paths):,} images)")
    return 1 if unreadable else 0


def _targets(out: Path, paths: Sequence[Path], overwrite: bool) -> dict[Path, Path]:
    """Image -> its picture; a name that comes again has a number."""
    targets: dict[Path, Path] = {}
    used: set[str] = set()  # without case, as some file systems are
    for path in paths:
        stem, number = path.stem, 1
        while stem.casefold() in used:  # a numbered name may be another image's own
            number += 1
            stem = f"{path.stem}_{number}"
        used.add(stem.casefold())
        targets[path] = out / f"{stem}{PICTURE}"
    there = next((target for target in targets.values() if target.exists()), None)
    if there and not overwrite:
        raise UserError(f"{there} exists; give another --out, or --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written to ({error.strerror})") from error
    return targets


def _shown(path: Path, rows: Rows, config: Config) -> dict[str, np.ndarray]:
    """The image, upright, on its canvas as in evaluation."""
    pixels = decode(path.read_bytes())
    example: Any = {
        **no_instances(),
        "image": pixels,
        "name": str(path),
        "semantic": None,
        "index": 0,
    }
    view = geometry.fit(*pixels.shape[:2], *config.data.eval_resize, canvas=rows.canvas)
    return rows.row(geometry.show(example, view))


def _compiled(loaded: Inference, config: Config) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
    """The deploy form: batch -> what a detector finds, or "classes" of pixels; "finite": whether an image's
    answer is a number throughout."""
    model, variables = hvjax.reparameterize(loaded.model, loaded.variables)
    variables = jax.tree.map(jnp.asarray, variables)
    mean, std = tuple(loaded.info["mean"]), tuple(loaded.info["std"])

    @jax.jit
    def answers(variables: Any, image: Any, size: Any) -> dict[str, jax.Array]:
        images = normalise(image, mean, std)
        if config.task == DETECTION:
            # not the objects alone: NaN on the way to them would be told as nothing found
            found, steps = model.apply(variables, images, size, method="steps")
            parts = [*found.values(), *steps.values()]
        else:
            parts = [model.apply(variables, images)]
            found = {"classes": jnp.argmax(parts[0], -1)}
        finite = jnp.stack([jnp.isfinite(part).reshape(len(part), -1).all(1) for part in parts])
        return {**found, "finite": finite.all(0)}

    return lambda batch: answers(variables, batch["image"], batch["size"])


def _picture(
    image: UInt8[np.ndarray, "h w 3"], answers: dict[str, np.ndarray], place: int, names: Sequence[str]
) -> Row:
    if "classes" in answers:
        height, width = image.shape[:2]
        return predicted_classes(image, answers["classes"][place][:height, :width], names)
    return predicted_instances(image, {name: part[place] for name, part in answers.items()}, names)
