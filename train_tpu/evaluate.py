"""Score a model on held-out images; as a command, score it in both forms and show where it is wrong.

    python -m train_tpu.evaluate --ckpt runs/next_vit_s [--which last] [--data-dir DIR] [--out DIR]

Exit status: 0 the two forms agree, 1 they do not, 2 a mistake in the arguments.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from train_tpu.command import exit_status
from train_tpu.errors import UserError
from train_tpu.evaluation.means import Means

# Folding norms into convolutions reorders float32 sums. The largest difference of the logits over the largest
# logit, both of all images, as in the gate of the export (those of one image may be near zero); a trained
# small Next-ViT shows 5e-7, the library promises 1e-5 for every model.
FORMS_AGREE = 1e-5


class Meter(Protocol):
    """Gathers the answers to batches; see tasks.task.Meter."""

    def add(self, answers: dict[str, Any]) -> None: ...
    @property
    def value(self) -> dict[str, float]: ...


def evaluate(
    eval_step: Callable[..., dict[str, jax.Array]],
    variables: Any,
    batches: Iterable[dict[str, Any]],
    should_stop: Callable[[], bool] = lambda: False,
    meter: Meter | None = None,
) -> dict[str, float] | None:
    """Scores over all real images, by name; None if stopped before the end.

    Args:
      eval_step: (variables, batch) -> answers, compiled.
      batches: equal batches, with rows that are marked as padding.
      meter: empty, of the task; of a classifier by default (loss, top1, top5 and count).
    Raises:
      RunFailed: there was no image to score.
    """
    meter = meter or Means()
    for batch in batches:
        if should_stop():
            return None
        meter.add(eval_step(variables, batch))
    return meter.value


def score_forms(path: str, which: str, data_dir: str | None, batch_size: int | None = None) -> dict[str, Any]:
    """Scores of the training form and of the deploy form, how far their logits are apart, and the answers.

    Args:
      batch_size: images at a time; None: as in the run.
    Returns:
      {"train": {...}, "deploy": {...}, "raw": {...} (the weights without averaging, where the run keeps an
      average), "difference": max |logit difference| over max |logit|, of all images, "same_top1": share
      of images with the same best class, "answers": mistakes.Answers of the training form, "info":
      of load_inference, "data": its name, "unreadable": text, "unreadable_images": how many}.
    """
    from absl import logging

    import hvjax
    from hvjax.registry import MODELS
    from train_tpu.checkpointing.checkpoint import load_inference
    from train_tpu.checkpointing.workdir import read_config
    from train_tpu.data import pipeline
    from train_tpu.data.quarantine import CorruptImages
    from train_tpu.data.sources import open_dataset
    from train_tpu.evaluation.mistakes import Answers
    from train_tpu.learning.scoring import answers_of
    from train_tpu.monitoring.progress import Counting

    logging.set_verbosity(logging.ERROR)  # as in main
    loaded = load_inference(path, which)
    config = read_config(Path(loaded.info["checkpoint"]).parent.parent)
    if data_dir is not None:
        config.data.dir = data_dir
    if batch_size is not None:
        config.data.eval_batch_size = batch_size
    dataset = open_dataset(config.data)
    if list(dataset.class_names) != loaded.info["class_names"]:
        raise UserError(
            f"the classes of {dataset.name} ({len(dataset.class_names)}) are not those that "
            f"{path} was trained on ({loaded.info['num_classes']}); give its data with --data-dir"
        )
    corrupt = CorruptImages(len(dataset.held_out), config.data.max_corrupt)
    preprocessing = {"mean": tuple(loaded.info["mean"]), "std": tuple(loaded.info["std"])}
    deploy_model, deploy_variables = hvjax.reparameterize(loaded.model, loaded.variables)
    forms = {"train": (loaded.model, loaded.variables), "deploy": (deploy_model, deploy_variables)}
    if loaded.info["ema"]:
        forms["raw"] = (loaded.model, loaded.raw)
    compiled = {
        name: jax.jit(functools.partial(answers_of, model=model, **preprocessing))
        for name, (model, _) in forms.items()
    }
    on_device = {name: jax.tree.map(jax.numpy.asarray, variables) for name, (_, variables) in forms.items()}

    means = {name: Means() for name in forms}
    answers = Answers(len(dataset.class_names))
    apart, largest, same = 0.0, 0.0, 0
    batches = pipeline.eval_batches(
        dataset.held_out,
        config.data,
        batch_size=config.data.eval_batch_size,
        corrupt=corrupt,
        interpolation=MODELS[loaded.info["model"]].interpolation,
    )
    with Counting("images", len(dataset.held_out)) as counting:
        for batch in batches:
            real = batch["label"] >= 0
            logits = {}
            for name, step in compiled.items():
                sums, found = step(on_device[name], batch)
                means[name].add(sums)
                logits[name] = np.asarray(found)[real]
            if real.any():
                a, b = logits["train"], logits["deploy"]
                # np.maximum keeps a NaN, which then disagrees
                apart = np.maximum(apart, np.abs(a - b).max())
                largest = np.maximum(largest, np.abs(a).max())
                same += int((a.argmax(-1) == b.argmax(-1)).sum())
                answers.add(batch["image"][real], batch["label"][real], a)
            counting.add(int(real.sum()))
    scores = {name: mean.value for name, mean in means.items()}
    answers.name_mistakes(dataset.held_out, corrupt)
    return {
        **scores,
        "difference": float(apart / largest if largest else apart),
        "same_top1": same / scores["train"]["count"],
        "answers": answers,
        "info": loaded.info,
        "data": dataset.name,
        "unreadable": corrupt.listing(),
        "unreadable_images": len(corrupt),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train_tpu.evaluate",
        description="Score a checkpoint in training and deploy form, and show where it is wrong.",
    )
    parser.add_argument("--ckpt", required=True, help="a workdir, its checkpoints folder or one checkpoint")
    parser.add_argument("--which", choices=("best", "last"), default="best")
    parser.add_argument("--data-dir", help="instead of the training run's data.dir; its val/ is scored")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images at a time; default: the run's data.eval_batch_size"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="tables and pictures; default: WORKDIR/evaluation/step_<step>"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier call wrote there")
    options = parser.parse_args(argv)
    return exit_status(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from train_tpu import memory
    from train_tpu.checkpointing.workdir import task_at
    from train_tpu.evaluation import evaluation_files as files

    if options.batch is not None and options.batch < 1:
        raise UserError(f"--batch {options.batch}: expected a number of images from 1 on")
    if task_at(options.ckpt) != "classification":
        from train_tpu import evaluate_dense

        return evaluate_dense.run(options)
    if options.out is not None:
        files.check_room(Path(options.out).expanduser(), options.overwrite)
    size = options.batch
    with memory.named(lambda: f"try less than --batch {size}" if size else "try a small --batch"):
        result = score_forms(options.ckpt, options.which, options.data_dir, size)
    info, weights = result["info"], "averaged" if result["info"]["ema"] else "raw"
    print(f"{info['model']}, step {info['step']}, {weights} weights, on {result['data']}")
    for form in ("train", "deploy", "raw"):
        if form in result:
            row = result[form]
            note = "; without averaging" if form == "raw" else ""
            print(
                f"  {form:6}  top-1 {row['top1']:.2%}  top-5 {row['top5']:.2%}  loss {row['loss']:.4f}"
                f"  ({row['count']:.0f} images{note})"
            )
    if result["unreadable"]:
        print(result["unreadable"])
    agree = result["difference"] <= FORMS_AGREE
    print(
        f"the forms {'agree' if agree else 'DISAGREE'}: logits differ by at most {result['difference']:.1e} "
        f"of the largest (limit {FORMS_AGREE:.0e}), same best class on {result['same_top1']:.2%}"
    )
    for line in files.worst_table(result):
        print(line)
    print(files.write(result, options.out, options.data_dir, options.overwrite))
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
