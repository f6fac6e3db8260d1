"""Worker of gpu_train.py: bfloat16 training steps of a timm model under torch.compile, channels_last.

Needs torch and timm only. Numbers of steps in, JSON lines out. On a CPU it runs too, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from train_step_torch import TIMM_NAMES, import_timm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=TIMM_NAMES)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    args = parser.parse_args()

    import torch

    timm, _ = import_timm()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    where = "cuda" if torch.cuda.is_available() else "cpu"
    options = {"drop_path_rate": 0.1} if args.model.startswith("next_vit") else {}
    if args.model.startswith("swin"):
        options["img_size"] = args.size
    model = timm.create_model(TIMM_NAMES[args.model], num_classes=1000, **options)
    model = model.to(where).train().to(memory_format=torch.channels_last)
    images = torch.randn(args.batch, 3, args.size, args.size, device=where)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(args.batch, device=where) % 1000
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1, fused=True)
    forward = model if args.eager else torch.compile(model)
    loss_of = torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(where, torch.bfloat16):
            loss = loss_of(forward(images), labels)
        loss.backward()
        optimizer.step()

    def wait() -> None:
        if where == "cuda":
            torch.cuda.synchronize()

    started = time.perf_counter()
    step()
    wait()
    answer(
        first_step_seconds=time.perf_counter() - started,
        version=f"torch {torch.__version__}",
        device=torch.cuda.get_device_name() if where == "cuda" else "cpu",
    )
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            step()
        wait()
        answer(seconds=time.perf_counter() - started)


def answer(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
