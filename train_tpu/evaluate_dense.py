"""Score a segmenter or detector on held-out images, in both forms: part of `train_tpu.evaluate`."""

import argparse
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hvjax
from train_tpu import memory
from train_tpu.checkpointing.checkpoint import Inference, load_inference
from train_tpu.checkpointing.workdir import read_config
from train_tpu.config import Config
from train_tpu.data.dense_examples import open_dense_dataset
from train_tpu.data.quarantine import CorruptImages
from train_tpu.errors import UserError
from train_tpu.evaluation import dense_files
from train_tpu.evaluation import evaluation_files as files
from train_tpu.evaluation.coco_table import class_table, coco_table
from train_tpu.evaluation.dense_pictures import DetectionPictures, SegmentationPictures
from train_tpu.evaluation.label_scores import LabelSizeMeter, resized
from train_tpu.evaluation.segmentation_scores import segmentation_table
from train_tpu.learning.objective import normalise
from train_tpu.monitoring.progress import Counting
from train_tpu.tasks.choice import task_of
from train_tpu.tasks.task import Task

# As in train_tpu.evaluate: folding norms reorders float32 sums. Of the maps of the backbone, as shares of
# their largest value, since boxes and classes are decisions and do not differ by little.
FORMS_AGREE = 1e-5


def run(options: argparse.Namespace) -> int:
    """What the command does with its parsed arguments; returns the exit status."""
    if options.out is not None:
        files.check_room(Path(options.out).expanduser(), options.overwrite)
    loaded = load_inference(options.ckpt, options.which)
    checkpoint = Path(loaded.info["checkpoint"])
    config = read_config(checkpoint.parent.parent)
    if options.data_dir is not None:
        config.data.dir = options.data_dir
    task = task_of(config)
    dataset = open_dense_dataset(config.data, config.task, held_out_only=True)
    if list(dataset.class_names) != loaded.info["class_names"]:
        raise UserError(
            f"the classes of {dataset.name} ({len(dataset.class_names)}) are not those that "
            f"{options.ckpt} was trained on ({loaded.info['num_classes']}); give its data with --data-dir"
        )
    if options.batch is not None:
        config.data.eval_batch_size = options.batch
    corrupt = CorruptImages(len(dataset.held_out), config.data.max_corrupt)
    with memory.named(lambda: f"try less than --batch {config.data.eval_batch_size}"):
        meters, on_canvas, pictures, apart = _answers(loaded, config, task, dataset, corrupt)

    weights = "averaged" if loaded.info["ema"] else "raw"
    title = f"{loaded.info['model']}, step {loaded.info['step']}"
    print(f"{title}, {weights} weights, on {dataset.name}, {len(dataset.held_out):,} images")
    for note in dataset.notes:
        print(f"  {note}")
    for form, meter in meters.items():
        print(f"  {form:6}  {task.said(meter.value)}")
    if on_canvas:
        print(f"  on the canvas, as while training: {task.said(on_canvas['train'].value)}")
    detects = config.task == "detection"
    classes = meters["train"].classes
    for line in coco_table(meters["train"].value) if detects else ():
        print(line)
    for line in class_table(classes) if detects else segmentation_table(classes):
        print(line)
    if unreadable := corrupt.listing():
        print(unreadable)
    agree = apart <= FORMS_AGREE
    print(
        f"the forms {'agree' if agree else 'DISAGREE'}: maps of the backbone differ by at most {apart:.1e} "
        f"of the largest value (limit {FORMS_AGREE:.0e})"
    )
    content = {
        **{key: loaded.info[key] for key in ("model", "checkpoint", "step")},
        "data": dataset.name,
        "notes": list(dataset.notes),
        "weights": "ema" if loaded.info["ema"] else "raw",
        "scores": {form: meter.value for form, meter in meters.items()},
        **({"on_canvas": {form: meter.value for form, meter in on_canvas.items()}} if on_canvas else {}),
        "difference_of_forms": apart,
        "unreadable_images": len(corrupt),
    }
    folder = Path(options.out).expanduser() if options.out else files.own_folder(checkpoint, options.data_dir)
    if files.earlier(folder) and not options.overwrite:
        print(f"tables and pictures of an earlier call are left as they are: {folder} (--overwrite)")
    else:
        heading, named = f"{title}, on {dataset.name}", options.out is not None
        print(dense_files.write(folder, content, classes, pictures, heading, named))
    return 0 if agree else 1


def _answers(
    loaded: Inference, config: Config, task: Task, dataset: Any, corrupt: CorruptImages
) -> tuple[dict[str, Any], dict[str, Any], Any, float]:
    """Meters of both forms (and of the weights without averaging), pictures, and how far maps are apart.

    Those of segmenters are at the size of the labels; where that is not their size on the canvas, the meters
    there come second.
    """
    deploy_model, deploy_variables = hvjax.reparameterize(loaded.model, loaded.variables)
    forms = {"train": (loaded.model, loaded.variables), "deploy": (deploy_model, deploy_variables)}
    if loaded.info["ema"]:
        forms["raw"] = (loaded.model, loaded.raw)
    on_device = {name: jax.tree.map(jnp.asarray, variables) for name, (_, variables) in forms.items()}
    score = {name: jax.jit(functools.partial(task.score, model=model)) for name, (model, _) in forms.items()}
    mean, std = tuple(loaded.info["mean"]), tuple(loaded.info["std"])

    def maps_apart(trained: Any, deployed: Any, images: Any) -> tuple[jax.Array, jax.Array]:
        images = normalise(images, mean, std)
        a = loaded.model.apply(trained, images, method="taps")
        b = deploy_model.apply(deployed, images, method="taps")
        shares = [(jnp.abs(x - y).max(), jnp.abs(x).max()) for x, y in zip(a, b, strict=True)]
        return jnp.stack([share[0] for share in shares]), jnp.stack([share[1] for share in shares])

    def logits_of(variables: Any, images: Any, *, model: Any) -> jax.Array:
        return model.apply(variables, normalise(images, mean, std))

    def classes_of(variables: Any, images: Any) -> jax.Array:
        return jnp.argmax(logits_of(variables, images, model=loaded.model), -1)

    detects = config.task == "detection"
    pictures = (DetectionPictures if detects else SegmentationPictures)(dataset.class_names)
    meters = {name: task.meter(dataset) for name in forms}
    at_labels = {} if detects else {name: _at_labels(config, dataset) for name in forms}
    name_logits = {n: jax.jit(functools.partial(logits_of, model=model)) for n, (model, _) in forms.items()}
    differ = False
    compare, name_pixels = jax.jit(maps_apart), jax.jit(classes_of)
    apart, largest = np.zeros(4), np.zeros(4)
    batches = task.eval_batches(dataset, batch_size=config.data.eval_batch_size, corrupt=corrupt)
    with Counting("images", len(dataset.held_out)) as counting:
        for batch in batches:
            answers = {name: step(on_device[name], batch) for name, step in score.items()}
            for name, answer in answers.items():
                meters[name].add(answer)
            truths = at_labels["train"].truths(batch["index"]) if at_labels else []
            differ = differ or resized(truths)
            for name, meter in at_labels.items():
                if resized(truths):
                    logits = name_logits[name](on_device[name], batch["image"])
                    meter.add(logits, truths, loss=float(answers[name]["loss"]))
                else:
                    meter.add_counts(answers[name])
            if not pictures.full:
                shown = answers["train"]
                if not detects:
                    shown = {"classes": name_pixels(on_device["train"], batch["image"])}
                pictures.add(shown, batch)
            found = compare(on_device["train"], on_device["deploy"], batch["image"])
            # np.maximum keeps a NaN, which then disagrees
            apart, largest = np.maximum(apart, found[0]), np.maximum(largest, found[1])
            counting.add(int((batch["index"] >= 0).sum()))
    share = float((apart / np.maximum(largest, np.finfo(np.float32).tiny)).max())
    return at_labels or meters, meters if differ else {}, pictures, share


def _at_labels(config: Config, dataset: Any) -> LabelSizeMeter:
    sides, canvas = tuple(config.data.eval_resize), tuple(config.data.eval_canvas)
    return LabelSizeMeter(dataset.class_names, dataset.held_out, sides, canvas)
