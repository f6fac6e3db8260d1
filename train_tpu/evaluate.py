"""Score a model on held-out images; as a command, score its training and its deploy form.

    python -m train_tpu.evaluate --ckpt runs/next_vit_s [--which last] [--data-dir DIR]

Exit status: 0 the two forms agree, 1 they do not, 2 a mistake in the arguments.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train_tpu.errors import RunFailed, UserError, missing_extra

# Folding norms into convolutions reorders float32 sums. Per image, the difference of the logits over the
# largest logit; a trained small Next-ViT shows 5e-7, the library promises 1e-5 for every model.
FORMS_AGREE = 1e-5


def evaluate(
    eval_step: Callable[..., dict[str, jax.Array]],
    variables: Any,
    batches: Iterable[dict[str, Any]],
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Means over all real images: loss, top1, top5 (shares of 1), count; None if stopped before the end.

    Args:
      eval_step: (variables, batch) -> sums, compiled.
      batches: equal batches, padded with label -1.
    Raises:
      RunFailed: there was no image to score.
    """
    totals: dict[str, float] = {}
    for batch in batches:
        if should_stop():
            return None
        for name, value in eval_step(variables, batch).items():
            totals[name] = totals.get(name, 0.0) + float(value)
    count = totals.pop("count", 0.0)
    if not count:
        raise RunFailed("no held-out image could be read; nothing to evaluate")
    return {**{name: value / count for name, value in totals.items()}, "count": count}


def score_forms(path: str, which: str, data_dir: str | None) -> dict[str, Any]:
    """Scores of the training form and of the deploy form, and how far their logits are apart.

    Returns:
      {"train": {...}, "deploy": {...}, "difference": max over images of max |logit difference| over max
      |logit|, "same_top1": share of images with the same best class, "info": of load_inference}.
    """
    from absl import logging

    import hvjax
    from hvjax.registry import MODELS
    from train_tpu.checkpoint import load_inference
    from train_tpu.data import pipeline
    from train_tpu.data.decode import CorruptImages
    from train_tpu.data.sources import open_dataset
    from train_tpu.objective import normalise
    from train_tpu.step import eval_step
    from train_tpu.workdir import read_config

    logging.set_verbosity(logging.ERROR)  # as in main
    loaded = load_inference(path, which)
    config = read_config(Path(loaded.info["checkpoint"]).parent.parent)
    if data_dir is not None:
        config.data.dir = data_dir
    dataset = open_dataset(config.data)
    if list(dataset.class_names) != loaded.info["class_names"]:
        raise UserError(
            f"the classes of {dataset.name} ({len(dataset.class_names)}) are not those that "
            f"{path} was trained on ({loaded.info['num_classes']}); give its data with --data-dir"
        )
    corrupt = CorruptImages(len(dataset.held_out), config.data.max_corrupt)
    interpolation = MODELS[loaded.info["model"]].interpolation
    preprocessing = {"mean": tuple(loaded.info["mean"]), "std": tuple(loaded.info["std"])}

    def batches():
        return pipeline.eval_batches(
            dataset.held_out,
            config.data,
            batch_size=config.data.eval_batch_size,
            corrupt=corrupt,
            interpolation=interpolation,
        )

    deploy_model, deploy_variables = hvjax.reparameterize(loaded.model, loaded.variables)
    forms = {"train": (loaded.model, loaded.variables), "deploy": (deploy_model, deploy_variables)}
    scores: dict[str, Any] = {}
    for name, (model, variables) in forms.items():
        step = jax.jit(functools.partial(eval_step, model=model, **preprocessing))
        scores[name] = evaluate(step, variables, batches())

    def logits_of(model):
        return jax.jit(lambda v, images: model.apply(v, normalise(images, **preprocessing)))

    first, second = logits_of(loaded.model), logits_of(deploy_model)
    worst, same, count = 0.0, 0, 0
    for batch in batches():
        real = batch["label"] >= 0
        a = np.asarray(first(loaded.variables, batch["image"]))[real]
        b = np.asarray(second(deploy_variables, batch["image"]))[real]
        if not len(a):
            continue
        worst = max(worst, float((np.abs(a - b).max(-1) / np.abs(a).max(-1)).max()))
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
        count += len(a)
    unreadable = corrupt.listing()
    return {
        **scores,
        "difference": worst,
        "same_top1": same / count,
        "info": loaded.info,
        "data": dataset.name,
        "unreadable": unreadable,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train_tpu.evaluate", description="Score a checkpoint, training and deploy form."
    )
    parser.add_argument("--ckpt", required=True, help="a workdir, its checkpoints folder or one checkpoint")
    parser.add_argument("--which", choices=("best", "last"), default="best")
    parser.add_argument("--data-dir", help="instead of the training run's data.dir; its val/ is scored")
    options = parser.parse_args(argv)
    try:
        result = score_forms(options.ckpt, options.which, options.data_dir)
    except (UserError, RunFailed) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"error: {missing_extra(error)}", file=sys.stderr)
        return UserError.exit_code
    info, weights = result["info"], "averaged" if result["info"]["ema"] else "raw"
    print(f"{info['model']}, step {info['step']}, {weights} weights, on {result['data']}")
    for form in ("train", "deploy"):
        row = result[form]
        print(
            f"  {form:6}  top-1 {row['top1']:.2%}  top-5 {row['top5']:.2%}  loss {row['loss']:.4f}"
            f"  ({row['count']:.0f} images)"
        )
    if result["unreadable"]:
        print(result["unreadable"])
    agree = result["difference"] <= FORMS_AGREE
    print(
        f"the forms {'agree' if agree else 'DISAGREE'}: logits differ by at most {result['difference']:.1e} "
        f"of the largest (limit {FORMS_AGREE:.0e}), same best class on {result['same_top1']:.2%}"
    )
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
