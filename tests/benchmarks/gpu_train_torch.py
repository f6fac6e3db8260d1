"""Worker of gpu_check.py: bfloat16 training steps of a timm model under torch.compile, channels_last.

Needs torch and timm only. Numbers of steps in, JSON lines out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from train_step_torch import import_timm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    args = parser.parse_args()

    import torch

    timm, _ = import_timm()
    torch.manual_seed(0)
    options = {"drop_path_rate": 0.1} if args.model.startswith("nextvit") else {}
    model = timm.create_model(args.model, num_classes=1000, **options)
    model = model.cuda().train().to(memory_format=torch.channels_last)
    images = torch.randn(args.batch, 3, 224, 224, device="cuda").contiguous(memory_format=torch.channels_last)
    labels = torch.arange(args.batch, device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1, fused=True)
    forward = torch.compile(model)
    loss_of = torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = loss_of(forward(images), labels)
        loss.backward()
        optimizer.step()

    started = time.perf_counter()
    step()
    torch.cuda.synchronize()
    answer(
        compile_seconds=time.perf_counter() - started,
        version=torch.__version__,
        device=torch.cuda.get_device_name(),
    )
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            step()
        torch.cuda.synchronize()
        answer(seconds=time.perf_counter() - started)


def answer(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
