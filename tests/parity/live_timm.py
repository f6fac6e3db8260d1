"""Compare full-size models live with timm at random weights: `live_timm.py [--out FILE.json] [NAME ...]`.

The twin of a model is the one that its row of the registry names (`Spec.timm`); images have the row's size.
Every tensor of the timm model is randomised, running statistics, layer scales and tables of positions too, so
that a swapped or skipped one shows. Needs torch and timm. Prints a table, and writes it to FILE.json if asked
(rows of other models that FILE.json has already are kept); exit status 1 if any model differs by more than
LIMIT or cannot be compared.
"""

import argparse
import contextlib
import datetime
import gc
import json
import platform
import sys
import time
from pathlib import Path

import jax
import numpy as np
import torch

import hvjax
from hvjax.registry import MODELS

# Share of the largest logit, float32 against float32. Each side is within 2e-6 of float64.
LIMIT = 1e-5
BATCH = 2
TWINS = {name: spec.timm for name, spec in MODELS.items() if spec.timm is not None}
# timm imports torchvision, whose Python part declares gradients of its own compiled operators. Where only the
# Python part is installed the operators must be declared first; they are never called here.
OPERATORS = ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
# Last parts of the names of layer scales and of tables of positions, in timm.
SCALES = ("gamma", "scale", "gamma_1", "gamma_2", "layer_scale_1", "layer_scale_2")
POSITIONS = ("pos_embed", "relative_position_bias_table", "attention_biases", "position_embedding")


def import_timm():
    """Import timm, with or without torchvision's compiled operators."""
    try:
        import timm
    except (RuntimeError, AttributeError):
        library = torch.library.Library("torchvision", "DEF")
        for name in (*OPERATORS, *(f"_{name}_backward" for name in OPERATORS)):
            with contextlib.suppress(RuntimeError):
                library.define(f"{name}(Tensor input) -> Tensor")
        for module in [m for m in sys.modules if m.split(".")[0] in ("timm", "torchvision")]:
            del sys.modules[module]
        import timm

        globals()["_keep"] = library  # the declarations live as long as this object
    return timm


def randomise(model: torch.nn.Module, images: torch.Tensor, seed: int = 0) -> None:
    """Give each tensor random values; `images`, of the shape to be used, show what the batch norms see.

    Kernels have variance 0.5 / fan_in, layer scales are around 0.5, tables of positions as large as the
    scores they are added to. The running statistics of a layer are around the mean square of what reaches it,
    so that activations neither grow nor fade over many layers, where the small tensors of late layers would
    hide. In PyTorch, float32 and float64 logits then differ by at most 8e-7 of the largest (measured on nine
    models of up to 36 blocks), and another image moves them by 1e-2 of it or more.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: torch.Tensor) -> torch.Tensor:
        return torch.rand(tensor.shape, generator=generator) * 2 - 1

    for name, tensor in model.state_dict().items():
        last = name.rsplit(".", 1)[-1]
        if not tensor.is_floating_point():  # counters and tables of indices
            continue
        if last in SCALES and max(tensor.shape) == tensor.numel():
            tensor.copy_(0.5 + 0.25 * noise(tensor))
        elif last in POSITIONS:
            tensor.copy_(noise(tensor))
        elif last == "running_var" or (last == "weight" and tensor.ndim == 1):
            tensor.copy_(1 + 0.25 * noise(tensor))
        elif tensor.ndim <= 1:
            tensor.copy_(0.1 * noise(tensor))
        else:  # variance 0.5 / fan_in
            tensor.copy_(noise(tensor) * (1.5 / tensor[0].numel()) ** 0.5)

    def settle(norm: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        square = inputs[0].square().mean()
        norm.running_mean.copy_(0.1 * square.sqrt() * noise(norm.running_mean))
        norm.running_var.copy_(square * (1 + 0.25 * noise(norm.running_var)))

    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    model(images)
    for hook in hooks:
        hook.remove()


def compare(name: str, timm) -> dict:
    """Row of the table: shares by which the logits differ, in training and in deploy form."""
    size = MODELS[name].image_size
    reference = timm.create_model(TWINS[name], pretrained=False).eval()
    images = np.random.default_rng(0).normal(size=(BATCH, size, size, 3)).astype(np.float32)
    with torch.inference_mode():
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        randomise(reference, tensor)
        expected = reference(tensor).numpy()
    model = hvjax.create_model(name)
    variables = hvjax.load_torch(reference.state_dict(), model)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    ours = np.asarray(jax.jit(model.apply)(variables, images))
    deployed = np.asarray(jax.jit(deploy_model.apply)(deploy_variables, images))
    largest = np.abs(expected).max()
    return {
        "model": name,
        "twin": TWINS[name],
        "image_size": size,
        "relative_error": float(np.abs(ours - expected).max() / largest),
        "deploy_form": float(np.abs(deployed - expected).max() / largest),
        "image_moves": float(np.abs(expected[0] - expected[1]).max() / largest),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write the table to")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TWINS)}; all by default")
    arguments = parser.parse_args(argv)
    names = arguments.names or list(TWINS)
    for name in names:
        if name not in TWINS:
            print(f"no timm twin of {name!r}; known: {', '.join(TWINS)}", file=sys.stderr)
            return 2
    timm = import_timm()
    print(f"logits of timm {timm.__version__} and hvjax {hvjax.__version__}, batch {BATCH};")
    print(f"largest difference as a share of the largest logit, limit {LIMIT:.0e}")
    print(
        f"{'model':<20} {'timm name':<30} {'px':>4} {'training form':>13} {'deploy form':>12} {'seconds':>8}"
    )
    failed, rows = [], []
    for name in names:
        start = time.perf_counter()
        try:
            row = compare(name, timm)
        except Exception as error:  # one model that cannot be compared must not hide the others
            failed.append(name)
            print(f"{name:<20} {TWINS[name]:<30} FAILED: {type(error).__name__}: {error}", flush=True)
            continue
        seconds = time.perf_counter() - start
        good = max(row["relative_error"], row["deploy_form"]) <= LIMIT  # False for NaN too
        failed += [] if good else [name]
        rows.append(row)
        print(
            f"{name:<20} {TWINS[name]:<30} {row['image_size']:>4} {row['relative_error']:>11.1e} "
            f"{row['deploy_form']:>12.1e} {seconds:>8.1f}{'' if good else '  FAILED'}",
            flush=True,
        )
        if arguments.out:  # after every model: an interrupted run loses nothing
            arguments.out.write_text(json.dumps(record(timm, merged(arguments.out, rows)), indent=2) + "\n")
        jax.clear_caches()
        gc.collect()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def merged(file: Path, rows: list[dict]) -> list[dict]:
    """Rows in the order of the registry; those that were not measured now as `file` has them."""
    old = {row["model"]: row for row in json.loads(file.read_text())["rows"]} if file.is_file() else {}
    known = {**old, **{row["model"]: row for row in rows}}
    return [known[name] for name in TWINS if known.get(name, {}).get("twin") == TWINS[name]]


def record(timm, rows: list[dict]) -> dict:
    """Return the table with what is needed to repeat it."""
    return {
        "what": "largest difference of the logits as a share of the largest logit, all tensors random",
        "command": "make parity",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
        "settings": {"batch": BATCH, "dtype": "float32", "limit": LIMIT},
        "rows": rows,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
