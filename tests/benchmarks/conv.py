"""Time every form of the convolutions that the models are made of; the source of `hvjax.ops.conv.FASTEST`.

    python tests/benchmarks/conv.py [--out docs/results/conv-forms.json] [--rounds 5] [--only TEXT]

For each shape, all forms that apply are compiled, then timed in turn: forward, and forward with both
gradients. The fastest of the rounds counts. An asterisk marks what `conv2d` picks on this platform by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from hvjax.ops.conv import Form, conv2d, convolutions


class Case(NamedTuple):
    """A convolution: where it occurs, batch and map, channels, groups, kernel size, stride."""

    where: str
    batch: int
    size: int
    cin: int
    cout: int
    groups: int = 1
    kernel: int = 3
    stride: int = 1


CASES = (
    *(
        Case("Next-ViT MHCA 224 px", 8, size, c, c, c // 32)
        for size, c in ((56, 96), (28, 192), (14, 384), (7, 768))
    ),
    *(
        Case("Next-ViT MHCA 64 px", 32, size, c, c, c // 32)
        for size, c in ((16, 96), (8, 192), (4, 384), (2, 768))
    ),
    *(Case("Next-ViT MHCA 32 px", 32, size, c, c, c // 32) for size, c in ((8, 96), (2, 384), (1, 768))),
    Case("Next-ViT MHCA in NTB", 8, 28, 64, 64, 2),
    Case("grouped, stride 2", 8, 28, 192, 192, 6, 3, 2),
    Case("grouped, 4 channels", 8, 28, 128, 128, 32),
    Case("Next-ViT stem", 8, 112, 64, 32),
    Case("Next-ViT stem", 8, 112, 64, 64, 1, 3, 2),
    Case("ResNet stem", 8, 224, 3, 64, 1, 7, 2),
    Case("ResNet 3x3", 8, 28, 128, 128),
    Case("ResNet 3x3", 8, 14, 256, 256),
    Case("ResNet 3x3", 8, 7, 512, 512),
    Case("ResNet 3x3, stride 2", 8, 14, 512, 512, 1, 3, 2),
    Case("ResNet 3x3 64 px", 32, 2, 512, 512),
    Case("1x1", 8, 28, 192, 576, 1, 1),
    Case("1x1, stride 2", 8, 28, 512, 1024, 1, 1, 2),
    Case("depthwise 7x7", 8, 56, 64, 64, 64, 7),
    Case("depthwise 7x7", 8, 14, 256, 256, 256, 7),
    Case("depthwise 3x3", 8, 28, 128, 128, 128),
    Case("depthwise 3x3, stride 2", 8, 28, 128, 128, 128, 3, 2),
)
# A form that takes longer than this somewhere is not worth minutes of waiting: it runs there once.
PATIENCE_SECONDS = 0.5


def measure(case: Case, rounds: int) -> dict:
    """Milliseconds of each form, forward and forward with gradients, and the form chosen by default."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(case.batch, case.size, case.size, case.cin)), jnp.float32)
    shape = (case.kernel, case.kernel, case.cin // case.groups, case.cout)
    kernel = jnp.asarray(random.normal(size=shape), jnp.float32)
    function = partial(conv2d, stride=case.stride, padding=case.kernel // 2, groups=case.groups)
    dy = jnp.ones(jax.eval_shape(function, x, kernel).shape)
    calls = {
        "forward": (function, (x, kernel)),
        "with_gradients": (partial(_gradients, function), (x, kernel, dy)),
    }

    results: dict = {}
    for what, (run, arguments) in calls.items():
        compiled, seen = {}, {}
        for form in ("auto", *get_args(Form)):
            with convolutions(form):
                traced = jax.jit(run).trace(*arguments)
            text = str(traced.jaxpr)
            if text in seen:  # the form does not apply, or is the one that was chosen
                if seen[text] == "auto":
                    results.setdefault("chosen", form)
                    compiled[form] = compiled.pop("auto")
                    seen[text] = form
                continue
            seen[text] = form
            compiled[form] = traced.lower().compile()
        times = {form: [_seconds(call, arguments)] for form, call in compiled.items()}  # warms up too
        for _ in range(rounds):
            for form, call in compiled.items():
                if min(times[form]) < PATIENCE_SECONDS:
                    times[form].append(_seconds(call, arguments))
        results[what] = {form: round(1e3 * min(values), 3) for form, values in times.items()}
    multiplications = dy.size * case.kernel**2 * case.cin // case.groups
    return {**case._asdict(), "mega_multiplications": round(multiplications / 1e6, 1), **results}


def _gradients(function, x, kernel, dy):
    y, pull = jax.vjp(function, x, kernel)
    return y, pull(dy)


def _seconds(call, arguments) -> float:
    started = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - started


def show(row: dict) -> None:
    name = f"{row['batch']}x{row['size']}x{row['size']}x{row['cin']}->{row['cout']}"
    how = f"{row['kernel']}x{row['kernel']}, stride {row['stride']}, {row['groups']} groups"
    print(f"{row['where']}: {name}, {how}")
    for what in ("forward", "with_gradients"):
        times = "  ".join(f"{form}{'*' * (form == row['chosen'])} {ms:.2f}" for form, ms in row[what].items())
        print(f"    {what:15} ms: {times}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only cases whose description contains this text")
    args = parser.parse_args()
    rows = []
    print("* chosen by default on this platform")
    for case in CASES:
        if args.only in case.where:
            rows.append(measure(case, args.rounds))
            show(rows[-1])
    if args.out:
        device = jax.devices()[0]
        result = {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "jax": jax.__version__,
            "device": f"{device.platform} {device.device_kind}",
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
            "unit": "milliseconds, fastest round",
            "rows": rows,
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
