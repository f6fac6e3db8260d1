"""Compare full-size models live with timm at random weights: `live_timm.py [--out FILE.json] [NAME ...]`.

Every tensor of the timm model is randomised, running statistics too, so that a swapped or skipped one shows.
Needs torch and timm. Prints a table, and writes it to FILE.json if asked; exit status 1 if any model differs
by more than LIMIT.
"""

import argparse
import contextlib
import datetime
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import torch

import hvjax

# Share of the largest logit, float32 against float32. Each side is within 1e-6 of float64.
LIMIT = 1e-5
SIZE, BATCH = 224, 2
TWINS = {
    "next_vit_s": "nextvit_small",
    "next_vit_b": "nextvit_base",
    "next_vit_l": "nextvit_large",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
}
# timm imports torchvision, whose Python part declares gradients of its own compiled operators. Where only the
# Python part is installed the operators must be declared first; they are never called here.
OPERATORS = ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")


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


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Give each tensor random values.

    Their spread is chosen so that the deepest model is well conditioned (in PyTorch its float32 and float64
    logits differ by 5e-7 of the largest) and the image still moves the logits by 2e-3 of the largest.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        last = name.rsplit(".", 1)[-1]
        noise = torch.rand(tensor.shape, generator=generator) * 2 - 1
        if last == "num_batches_tracked":
            continue
        if last == "running_var" or (last == "weight" and tensor.ndim == 1):
            tensor.copy_(1 + 0.25 * noise)
        elif tensor.ndim == 1:
            tensor.copy_(0.1 * noise)
        else:  # variance 0.5 / fan_in
            tensor.copy_(noise * (1.5 / tensor[0].numel()) ** 0.5)


def compare(name: str, timm) -> tuple[float, float, float]:
    """Shares by which the logits differ, in training and in deploy form, and the seconds it took."""
    start = time.perf_counter()
    reference = timm.create_model(TWINS[name], pretrained=False).eval()
    images = np.random.default_rng(0).normal(size=(BATCH, SIZE, SIZE, 3)).astype(np.float32)
    with torch.inference_mode():
        randomise(reference)
        expected = reference(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    model = hvjax.create_model(name)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(reference.state_dict(), f"{folder}/{name}.pth")
        variables = hvjax.load_torch(f"{folder}/{name}.pth", model)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    ours = jax.jit(model.apply)(variables, images)
    deployed = jax.jit(deploy_model.apply)(deploy_variables, images)
    largest = np.abs(expected).max()
    shares = [float(np.abs(np.asarray(logits) - expected).max() / largest) for logits in (ours, deployed)]
    return shares[0], shares[1], time.perf_counter() - start


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
    print(f"logits of timm {timm.__version__} and hvjax {hvjax.__version__} at {SIZE}x{SIZE}, batch {BATCH};")
    print(f"largest difference as a share of the largest logit, limit {LIMIT:.0e}")
    print(f"{'model':<12} {'timm name':<14} {'training form':>13} {'deploy form':>12} {'seconds':>8}")
    failed, rows = [], []
    for name in names:
        trained, deployed, seconds = compare(name, timm)
        good = max(trained, deployed) <= LIMIT  # False for NaN too
        failed += [] if good else [name]
        rows.append({"model": name, "twin": TWINS[name], "relative_error": trained, "deploy_form": deployed})
        mark = "" if good else "  FAILED"
        print(
            f"{name:<12} {TWINS[name]:<14} {trained:>13.1e} {deployed:>12.1e} {seconds:>8.1f}{mark}",
            flush=True,
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(record(timm, rows), indent=2) + "\n")
    return 1 if failed else 0


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
        "settings": {"image_size": SIZE, "batch": BATCH, "dtype": "float32", "limit": LIMIT},
        "rows": rows,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
