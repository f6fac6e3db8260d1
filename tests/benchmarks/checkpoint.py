"""What saving and restoring cost: `python tests/benchmarks/checkpoint.py [--torch-python PATH] [--out FILE]`.

A state of 32 M parameters with Adam's two moments, all of random float32 numbers (zeros would compress),
saved as a training run does it, in turn with torch.save and torch.load of as many.

- stall: how long the training loop stands still for an asynchronous save, the copy of the state included;
- slowdown: seconds that the steps beside the writing take longer, added up over one save;
- written: from the call until the checkpoint has its checksums and its name;
- restore: from the call until all arrays are there, comparing the checksums included;
- resume: the same in a fresh process, with the imports of hvjax, orbax and grain.

Between rounds the caches of the disk stay warm, for both alike. Medians over the rounds.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TENSORS = 32
STEP_SECONDS = 0.2  # of the made-up training step beside which is saved

TORCH = """
import json, sys, time, torch
rows, path = int(sys.argv[1]), sys.argv[2]
state = {f"{kind}{i}": torch.randn(rows, 1000) for kind in ("p", "m", "v") for i in range(TENSORS)}
for line in sys.stdin:
    started = time.perf_counter()
    torch.save(state, path)
    saved = time.perf_counter()
    torch.load(path)
    print(json.dumps({"save": saved - started, "load": time.perf_counter() - saved}), flush=True)
""".replace("TENSORS", str(TENSORS))

RESUME = """
import sys, time
started = time.perf_counter()
sys.path.insert(0, sys.argv[3])
import checkpoint
checkpoint.restore(sys.argv[1], int(sys.argv[2]))
print(time.perf_counter() - started)
"""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--millions", type=int, default=32, help="of parameters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch-python", help="a python with torch; without, hvjax alone is timed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = options.millions * 1_000_000 // TENSORS // 1000
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        torch = None
        if options.torch_python:
            torch = subprocess.Popen(
                [options.torch_python, "-c", TORCH, str(rows), f"{folder}/state.pt"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        for round_ in range(options.rounds + 1):  # the first warms up and does not count
            seconds = save_and_restore(Path(folder) / f"run{round_}", rows, round_)
            if torch:
                assert torch.stdin is not None and torch.stdout is not None
                print("now", file=torch.stdin, flush=True)
                seconds |= {f"torch.{k}": v for k, v in json.loads(torch.stdout.readline()).items()}
            print(f"round {round_}: " + ", ".join(f"{k} {v:.3f} s" for k, v in seconds.items()), flush=True)
            if round_:
                for name, value in seconds.items():
                    found.setdefault(name, []).append(value)
        if torch:
            torch.terminate()
            torch.wait()
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, value in medians.items():
        print(f"{name:12} {value:7.3f} s  ({min(found[name]):.3f} to {max(found[name]):.3f})")
    if options.out:
        about = {"millions": options.millions, "machine": platform.machine(), "seconds": medians}
        options.out.write_text(json.dumps({**about, "rounds": found}, indent=1) + "\n")


def save_and_restore(workdir: Path, rows: int, seed: int) -> dict[str, float]:
    """Seconds of one save beside steps, and of one restore."""
    import jax
    from absl import logging

    from train_tpu.checkpointing.checkpoint import Checkpoints

    logging.set_verbosity(logging.ERROR)
    state, batches, step = jax.block_until_ready(make_state(rows, seed)), make_data(), make_step()
    clock = time.perf_counter
    alone = statistics.median(timed(step) for _ in range(3))
    checkpoints = Checkpoints(workdir)
    started = clock()
    checkpoints.save(state, batches)
    stall = clock() - started
    slowdown = 0.0
    while checkpoints.saving:
        slowdown += max(0.0, timed(step) - alone)
    written = clock() - started
    checkpoints.close()
    del state
    started = clock()
    restore(str(workdir), rows)
    restored = clock() - started
    resume = subprocess.run(
        [sys.executable, "-c", RESUME, str(workdir), str(rows), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    for file in [p for p in workdir.rglob("*") if p.is_file()]:
        file.unlink()  # half a gigabyte each
    return {
        "stall": stall,
        "slowdown": slowdown,
        "written": written,
        "restore": restored,
        "resume": float(resume.stdout.splitlines()[-1]),
    }


def restore(workdir: str, rows: int) -> None:
    """Read the checkpoint back as a resume does."""
    import jax

    from train_tpu.checkpointing.checkpoint import Checkpoints

    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        jax.eval_shape(lambda: make_state(rows, 0)),
    )
    checkpoints = Checkpoints(Path(workdir))
    state, notes = checkpoints.restore_last(shapes, make_data())
    assert state is not None and not notes
    jax.block_until_ready(state)
    checkpoints.close()


def make_state(rows: int, seed: int):
    """Parameters and Adam's moments, random; no average and no statistics."""
    import jax
    import jax.numpy as jnp
    import optax

    from train_tpu.state import TrainState

    keys = iter(jax.random.split(jax.random.key(seed), 3 * TENSORS))
    params, mu, nu = (
        {f"layer{i}": jax.random.normal(next(keys), (rows, 1000)) for i in range(TENSORS)} for _ in range(3)
    )
    return TrainState(
        step=jnp.ones((), jnp.int32),
        params=params,
        batch_stats={},
        ema={},
        opt_state=(optax.ScaleByAdamState(jnp.ones((), jnp.int32), mu, nu),),
        rng=jax.random.key_data(jax.random.key(seed)),
    )


def make_data():
    """An iterator with a position."""
    import grain

    return iter(grain.MapDataset.range(1000).to_iter_dataset())


def make_step():
    """Matrix products of about STEP_SECONDS, on the cores that the checkpoint is written with."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((1024, 1024)) / 1024
    product = jax.jit(lambda m: jax.lax.fori_loop(0, 4, lambda _, x: x @ matrix, m))
    count = max(1, round(STEP_SECONDS / min(timed(lambda: product(matrix)) for _ in range(4))))
    return lambda: jax.block_until_ready([product(matrix) for _ in range(count)])


def timed(function) -> float:
    import jax

    started = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
