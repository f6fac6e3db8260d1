"""Worker of train_step.py: training steps of a timm model. Reads numbers of steps, answers in JSON lines.

Needs torch and timm only; it imports nothing of hvjax.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time

TIMM_NAMES = {
    "next_vit_s": "nextvit_small",
    "next_vit_b": "nextvit_base",
    "next_vit_l": "nextvit_large",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "fastvit_t8": "fastvit_t8",
    "fastvit_sa12": "fastvit_sa12",
    "fastvit_ma36": "fastvit_ma36",
    "swin_t": "swin_tiny_patch4_window7_224",
}


def import_timm():
    """Import timm; where torchvision lacks its compiled operators, declare those it asks for first."""
    import torch

    operators = ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in operators:
        for suffix in ("", "_backward"):
            full = f"_{name}{suffix}" if suffix else name
            try:
                torch._C._get_schema(f"torchvision::{full}", "")
            except RuntimeError:
                library.define(f"{full}(Tensor x) -> Tensor")
    import timm

    return timm, library


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("size", "batch", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--model", required=True, choices=TIMM_NAMES)
    parser.add_argument("--variant", required=True, choices=("eager", "channels_last", "compile"))
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])

    import torch

    torch.set_num_threads(args.threads)
    step = build(args.model, args.size, args.batch, args.variant)
    started = time.perf_counter()
    step()
    answer(first_step_seconds=round(time.perf_counter() - started, 2), version=f"torch {torch.__version__}")
    for line in sys.stdin:
        count = int(line)
        if count == 0:
            answer(peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(count):
            step()
        answer(seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - cpu_started)


def build(name: str, size: int, batch: int, variant: str):
    """One training step as a function without arguments."""
    import torch

    timm, _ = import_timm()
    torch.manual_seed(0)
    options = {"drop_path_rate": 0.1} if name.startswith("next_vit") else {}
    model = timm.create_model(TIMM_NAMES[name], num_classes=1000, **options).train()
    images, labels = torch.randn(batch, 3, size, size), torch.arange(batch)
    if variant == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1, fused=True)
    forward = torch.compile(model) if variant == "compile" else model
    loss_of = torch.nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def answer(**facts) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
