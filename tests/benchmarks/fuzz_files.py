"""Damage files and read them: `fuzz_files.py --minutes 20 [--seed N] [--only safetensors,onnx]`.

Every kind of file that the commands read is damaged at random (tests/support/damage.py) and read in a process
of its own. A reader may refuse a file with the errors it documents, or take it; another error, a crash or a
reader that does not come back is a finding, printed once with its seed and left in --keep. Linux and macOS.
"""

import argparse
import collections
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from damage import damaged
from damaged_files import READERS, Reader, samples

#: Of a reader: none needs as much for a small file.
SECONDS, BYTES = 60, 12 << 30


def attempt(reader: Reader, path: Path) -> str | None:
    """None, or what went wrong: in a child, whose death is told by its status."""
    said = path.parent / "said"
    pid = os.fork()
    if pid == 0:
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
            reader.read(path)
        except reader.accepted:
            pass
        except BaseException as error:
            frames = [
                f for f in traceback.extract_tb(error.__traceback__) if "/site-packages/" not in f.filename
            ]
            said.write_text(
                f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}: {error}"[:500]
            )
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    if said.exists():
        text = said.read_text()
        said.unlink()
        return text
    return None


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="when to stop (10)")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10**6)
    parser.add_argument("--only", default=",".join(READERS), help=f"some of {', '.join(READERS)}")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "damaged")
    arguments = parser.parse_args(argv)
    names = arguments.only.split(",")
    arguments.keep.mkdir(exist_ok=True)
    seen, tried = collections.Counter(), collections.Counter()
    print(f"first seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = {name: samples(name, Path(folder)) for name in names}
        start, seed = time.monotonic(), arguments.seed
        while time.monotonic() - start < 60 * arguments.minutes:
            rng = random.Random(seed)
            name = names[seed % len(names)]
            path = rng.choice(whole[name])
            good = path.read_bytes()
            path.write_bytes(damaged(good, rng))
            try:
                wrong = attempt(READERS[name], path)
                tried[name] += 1
                if wrong is not None:
                    key = f"{name}: {wrong.split(': ')[0]}"
                    seen[key] += 1
                    if seen[key] == 1:
                        kept = arguments.keep / f"{name}-{seed}{path.suffix}"
                        kept.write_bytes(path.read_bytes())
                        print(f"{name}, seed {seed}, {path.name} ({kept}): {wrong}", flush=True)
            finally:
                path.write_bytes(good)
            seed += 1
    print(", ".join(f"{count} {name}" for name, count in sorted(tried.items())))
    for key, count in seen.most_common():
        print(f"{count:5} times {key}")
    return 1 if seen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
