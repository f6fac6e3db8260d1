"""How long hvjax takes to start: `python tests/benchmarks/startup.py [--repeats N]`.

Each figure is the median of fresh processes, so that nothing is warm but the disk:
- what `import hvjax` costs on top of `import flax` (limit 0.5 s), and what the models cost on top of that;
- imports, create, init and first compiled forward pass of next_vit_s at 224x224 (limit 15 s on 2 cores).
Exit status 1 if a limit is exceeded.
"""

import argparse
import statistics
import subprocess
import sys

IMPORT_LIMIT, FORWARD_LIMIT = 0.5, 15.0  # seconds

IMPORTS = """
import time
start = time.perf_counter()
import flax
after_flax = time.perf_counter()
import hvjax
after_hvjax = time.perf_counter()
import hvjax.registry
print(after_flax - start, after_hvjax - after_flax, time.perf_counter() - after_flax)
"""
FORWARD = """
import time
start = time.perf_counter()
import jax, jax.numpy as jnp, hvjax
images = jnp.zeros((1, 224, 224, 3))
model = hvjax.create_model("next_vit_s")
variables = model.init(jax.random.key(0), images)
jax.block_until_ready(variables)
middle = time.perf_counter()
jax.jit(model.apply)(variables, images).block_until_ready()
print(middle - start, time.perf_counter() - start)
"""


def run(code: str, repeats: int) -> list[float]:
    """Medians of the numbers that a program prints, over fresh processes."""
    command = [sys.executable, "-c", code]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(repeats)
    ]
    columns = zip(*([float(number) for number in output.split()] for output in outputs), strict=True)
    return [statistics.median(column) for column in columns]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes per figure (default 5)")
    repeats = parser.parse_args().repeats

    flax, library, registry = run(IMPORTS, repeats)
    init, forward = run(FORWARD, repeats)
    rows = [
        ("import flax", flax, None),
        ("import hvjax on top of it", library, IMPORT_LIMIT),
        ("hvjax.registry (all models) on top of it", registry, IMPORT_LIMIT),
        ("next_vit_s: imports, create, init", init, None),
        ("next_vit_s: the same and a first forward pass", forward, FORWARD_LIMIT),
    ]
    for label, seconds, limit in rows:
        print(f"{label:<48} {seconds:7.2f} s" + (f"   limit {limit} s" if limit else ""))
    return int(any(limit is not None and seconds > limit for _, seconds, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
