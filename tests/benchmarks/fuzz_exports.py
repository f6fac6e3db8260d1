"""Export random small networks for as long as told: `fuzz_exports.py --minutes 30 [--seed N] [--build 0.05]`.

Each network is drawn by hypothesis (tests/support/fuzz), exported, run in ONNX Runtime and compared with JAX
in float32; a share of them also in float16, and a share is built with TensorRT for RTX, which needs no GPU.
Prints a line a minute, and each kind of failure once with the smallest network that shows it; the
seed repeats the run. Exit status 1 if anything failed.
"""

import argparse
import faulthandler
import os
import random
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
from fuzz import Network, check_half, check_network, networks
from hypothesis import HealthCheck, Phase, settings

from export import runtimes
from export.batch import BatchRange
from export.runtimes import BuildOptions

#: Networks between two times that JAX's compiled programs are forgotten: they would fill the memory.
CLEAR_EVERY = 100
#: Networks a run of hypothesis; each has a seed of its own.
ROUND = 200


@dataclass
class Failure:
    """One kind of failure: its smallest network and how often it was seen."""

    said: str
    network: Network
    seed: int
    count: int = 1


class Fuzz:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.networks = self.halves = self.builds = 0
        self.failures: dict[tuple[str, ...], Failure] = {}
        self.start = self.told = time.monotonic()
        self.seed = arguments.seed
        self.rng = random.Random(arguments.seed)

    def over(self) -> bool:
        return time.monotonic() - self.start > 60 * self.arguments.minutes

    def run(self) -> None:
        while not self.over():

            @hypothesis.seed(self.seed)
            @settings(
                max_examples=ROUND,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @hypothesis.given(networks(most=self.arguments.steps))
            def several(network: Network) -> None:
                if not self.over():
                    self.one(network)

            several()
            self.seed += 1

    def one(self, network: Network) -> None:
        self.networks += 1
        model = self.attempt("float32", network, check_network)
        half, build = (self.rng.random() < share for share in (self.arguments.half, self.arguments.build))
        if model is not None and half and len(network.outputs) == 1:
            self.halves += 1
            self.attempt("float16", network, check_half)
        elif model is not None and build:
            self.builds += 1
            self.attempt("tensorrt_rtx", network, lambda _: _build(model, network))
        if self.networks % CLEAR_EVERY == 0:
            jax.clear_caches()
        if time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            minutes = (self.told - self.start) / 60
            print(
                f"{minutes:.0f} min, seed {self.seed}: {self.networks} networks, {self.halves} in float16, "
                f"{self.builds} built, {len(self.failures)} kinds of failures",
                flush=True,
            )

    def attempt(self, kind: str, network: Network, check):
        if self.arguments.verbose:  # what a crash leaves
            Path(self.arguments.verbose).write_text(f"{kind}, seed {self.seed}\n{network!r}\n")
        try:
            return check(network)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            key = (kind, type(error).__name__, f"{frame.filename}:{frame.lineno}")
            if kind == "tensorrt_rtx" or "onnxruntime" in frame.filename:
                key = (*key, said[:80])
            self.note(key, said, network)
            return None

    def note(self, key: tuple[str, ...], said: str, network: Network) -> None:
        known = self.failures.get(key)
        if known is None:
            print(f"\n=== {' '.join(key[:3])}\n{said}\n{network!r}\n", flush=True)
            self.failures[key] = Failure(said, network, self.seed)
            return
        known.count += 1
        if len(network.steps) < len(known.network.steps):
            known.said, known.network, known.seed = said, network, self.seed


def _build(model, network: Network) -> None:
    batch = BatchRange(1, 2, 3) if network.dynamic else BatchRange(*network.shape[:1] * 3)
    runtimes.make("tensorrt_rtx").build(model.SerializeToString(), BuildOptions(batch))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="when to stop (10)")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10**6, help="of the first round")
    parser.add_argument("--steps", type=int, default=7, help="most operations of a network (7)")
    parser.add_argument("--half", type=float, default=0.2, help="share that is also tried in float16 (0.2)")
    parser.add_argument("--build", type=float, default=0.0, help="share built with TensorRT for RTX (0)")
    parser.add_argument("--verbose", metavar="FILE", help="write each network there before it is tried")
    arguments = parser.parse_args(argv)
    faulthandler.enable()
    fuzz = Fuzz(arguments)
    print(f"first seed {arguments.seed}", flush=True)
    fuzz.run()
    for key, failure in sorted(fuzz.failures.items(), key=lambda item: -item[1].count):
        print(f"\n=== {failure.count} times, {' '.join(key[:3])}, seed {failure.seed}\n{failure.said}")
        print(failure.network)
    print(
        f"\n{fuzz.networks} networks, {fuzz.halves} in float16, {fuzz.builds} built with TensorRT for RTX: "
        f"{len(fuzz.failures)} kinds of failures"
    )
    return 1 if fuzz.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
