"""Images per second of the input pipeline beside torch's DataLoader and tf.data, like for like, interleaved.

    python tests/benchmarks/input_pipeline.py [--torch-python PYTHON] [--out docs/results/input.json]

1,000 JPEGs of 500x375 pixels and about 100 KB are made from scikit-learn's two photographs. All pipelines do
RandomResizedCrop to 224 pixels and a flip, with the same resampling within a comparison; each gives out
what it does by default: ours uint8 (the device normalises), the others normalised float32.

All contenders run as endless processes, stopped (SIGSTOP) but for the one whose turn it is. A turn is a
warm-up, which fills its buffers, and a time in which its images are counted. Turns go round and back:
A B C C B A. The processor time of the whole process group is counted too, which a busy machine disturbs less.
"""

import argparse
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from interleaved import ratio_of
from PIL import Image

HERE = Path(__file__).resolve().parent
WARM_UP = 1.0  # seconds of every turn
START = 240.0  # seconds until the first images must have come
#: (ours, theirs, ratio wanted); grain-records is timed beside the first.
PAIRS = (
    ("grain-folder-bicubic", "torch-bicubic", 1.5),
    ("grain-folder-bilinear", "torch-bilinear", 1.5),
    ("grain-folder-coarse", "tf-coarse", 1.1),
)
ALONE = ("grain-records-bicubic",)
WIDTH, HEIGHT, QUALITY, GRAIN = 500, 375, 92, 8.0


def make_images(folder: Path, count: int) -> float:
    """Ten classes of random cuts of the two photographs, with film grain; gives the mean bytes of a file."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng, sizes = np.random.default_rng(0), []
    for i in range(count):
        photograph = photographs[i % 2]
        height = int(rng.integers(270, photograph.height + 1))
        width = height * WIDTH // HEIGHT
        left, top = rng.integers(photograph.width - width + 1), rng.integers(photograph.height - height + 1)
        box = (int(left), int(top), int(left) + width, int(top) + height)
        cut = np.asarray(photograph.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box))
        grain = rng.normal(0, GRAIN, (HEIGHT, WIDTH, 1))
        image = Image.fromarray((cut[:, :: rng.choice([-1, 1])] + grain).clip(0, 255).astype(np.uint8))
        for split in ("train", "val") if i < 10 else ("train",):
            path = folder / split / f"class{i % 10}" / f"{i:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=QUALITY)
        sizes.append(path.stat().st_size)
    return statistics.mean(sizes)


@dataclass
class Contender:
    """A process that makes batches for as long as it is let; rates and processor time of its turns."""

    name: str
    workers: int
    python: str
    images: Path
    milliseconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    _process: subprocess.Popen | None = None

    def start(self) -> None:
        self._counter = self.images / f"{self.name}-{self.workers}.count"
        self._counter.write_bytes(bytes(8))
        script = [str(HERE / "input_contenders.py"), self.name, str(self.workers), str(self.images)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            [self.python, *script, str(self._counter)], start_new_session=True, env=environment
        )
        end = time.monotonic() + START
        while not self._count():
            if self._process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{self.name} gave no images (exit status {self._process.poll()})")
            time.sleep(0.05)
        self._signal(signal.SIGSTOP)

    def turn(self, seconds: float) -> None:
        self._signal(signal.SIGCONT)
        time.sleep(WARM_UP)
        images, cpu, start = self._count(), self._cpu_seconds(), time.perf_counter()
        time.sleep(seconds)
        images, cpu = self._count() - images, self._cpu_seconds() - cpu
        taken = time.perf_counter() - start
        self._signal(signal.SIGSTOP)
        if images:
            self.milliseconds.append(1e3 * taken / images)
            self.cpu.append(1e3 * cpu / images)

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def _count(self) -> int:
        return struct.unpack("<q", self._counter.read_bytes())[0]

    def _cpu_seconds(self) -> float:
        """Of all processes of the session, which are the contender and its workers."""
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(fields[3]) == self._process.pid:
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", default=".venv-torch/bin/python")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn, after its warm-up")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="names that contain this, for a quick look")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="input-") as scratch:
        folder = Path(scratch)
        size = make_images(folder / "folder", options.images)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "train_tpu.prepare",
                "--src",
                folder / "folder",
                "--dst",
                folder / "records",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        print(
            f"{options.images:,} JPEGs of {WIDTH}x{HEIGHT} px and {size / 1e3:.0f} KB on average", flush=True
        )
        rows = [row for workers in options.workers for row in compare(options, folder, workers)]
    result = {
        "images": options.images,
        "mean_bytes": round(size),
        "pixels": [WIDTH, HEIGHT],
        "processors": os.cpu_count(),
        "turns": options.rounds,
        "seconds_of_a_turn": options.seconds,
        "rows": rows,
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def compare(options: argparse.Namespace, folder: Path, workers: int) -> list[dict]:
    """All contenders with this many workers, one after the other, to and fro."""
    names = [name for ours, theirs, _ in PAIRS for name in (ours, theirs)] + list(ALONE)
    pythons = {"grain": sys.executable, "tf": sys.executable, "torch": options.torch_python}
    contenders = {
        name: Contender(name, workers, pythons[name.split("-")[0]], folder)
        for name in names
        if options.only in name
    }
    try:
        for contender in contenders.values():
            contender.start()
        order = list(contenders.values())
        for turn in range(options.rounds):
            for contender in order if turn % 2 == 0 else order[::-1]:
                contender.turn(options.seconds)
    finally:
        for contender in contenders.values():
            contender.stop()
    rows = []
    print(f"\n{workers} worker{'s' * (workers > 1)}:   images/s   processor ms/image")
    for name, contender in contenders.items():
        rate, cpu = 1e3 / statistics.median(contender.milliseconds), statistics.median(contender.cpu)
        print(f"  {name:24}{rate:8,.0f}{cpu:12.2f}", flush=True)
        rows.append({"name": name, "workers": workers, "images_per_second": rate, "cpu_ms_per_image": cpu})
    for ours, theirs, goal in PAIRS:
        if ours in contenders and theirs in contenders:
            a, b = contenders[ours], contenders[theirs]
            speed, cost = ratio_of(b.milliseconds, a.milliseconds), ratio_of(b.cpu, a.cpu)
            print(
                f"  {ours} / {theirs}: {speed.ratio:.2f} ({speed.low:.2f} to {speed.high:.2f}), "
                f"wanted {goal}; by processor time {cost.ratio:.2f}",
                flush=True,
            )
            rows.append(
                {
                    "ours": ours,
                    "theirs": theirs,
                    "workers": workers,
                    "ratio": speed.ratio,
                    "interval": [speed.low, speed.high],
                    "ratio_of_cpu_time": cost.ratio,
                    "goal": goal,
                }
            )
    return rows


if __name__ == "__main__":
    main()
