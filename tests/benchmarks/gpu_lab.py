"""The latency lab on a GPU, all of it, in calls of at most ten minutes that go on where the last one stopped.

    python tests/benchmarks/gpu_lab.py [--seconds 570] [--out docs/results/gpu] [--torch-python PATH]
                                       [--only PART,...] [--again] [--list] [--small]

Each part is a command that a user types, with --out below this --out, where it keeps what it has measured;
the most important parts come first. A part that is not done when the time is up is interrupted and goes on
in the next call: with the folder of --out alone, so on another machine of the same kind too (records of
another GPU are not taken for this one's). state.json in --out says which parts are done, with the exact
command, exit status, last words and the GPU's clocks, temperature and throttle reasons before and after;
logs/ has all they said.

Exit status: 0 all done, or no NVIDIA GPU here, which it says; 1 some part failed; 2 a mistake; 75 time is up
and parts are left: the same command goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from export._optional import MissingExtra  # noqa: E402  (works from a clone that is not installed, too)
from export.lab import conditions  # noqa: E402
from export.lab.files import Files  # noqa: E402
from export.lab.runtimes import Runtime, make  # noqa: E402
from export.lab.setting import Setting  # noqa: E402
from export.lab.subject import network  # noqa: E402
from export.runtimes import BuildError  # noqa: E402
from export.runtimes.cuda import why_no_gpu  # noqa: E402

#: A part is not begun with less than this; at the end it gets so long to write what it has.
LEAST, FAREWELL = 30.0, 25.0
#: Seconds that finding out what runs here may take.
TRIAL = 120.0
#: JAX takes most of a GPU's memory at once unless told not to, and the others run short.
NO_HOARD = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
TIME_IS_UP = 75  # EX_TEMPFAIL of sysexits.h
STATE = "state.json"
#: Lines of a part's last words that are kept.
WORDS = 12
#: Measuring for each contender, in seconds: a GPU's times scatter less than a CPU's.
SECONDS = "1.5"
#: Those that run on a GPU, the most important first, and those that can be profiled there.
RUNTIMES = ("tensorrt", "tensorrt_rtx", "xla", "onnxruntime_cuda")
PROFILES = ("tensorrt", "tensorrt_rtx", "xla")
TWINS = ("torch_compile", "torch")
STUDIES = (
    *("large_kernel", "fastvit_claims", "density", "repmixer", "depth_shift", "mixnet"),
    *("next_blocks", "hybrid_strategy"),
)
TINY = {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "stem_channels": 8, "num_classes": 10}
PROFILED = ("next_vit_s", "fastvit_sa12", "swin_t")
ROOFLINE = ("resnet50", "swin_t", "next_vit_s", "fastvit_sa12")
#: One or two of each family: what the first figures are about.
CORE = ",".join(
    (
        *("resnet50", "resnet101", "swin_t", "next_vit_s", "next_vit_b", "fastvit_sa12", "fastvit_ma36"),
        *("trt_vit_a", "trt_vit_c", "convnext_t", "mobileone_s4", "poolformer_s12", "uniformer_s"),
    )
)


@dataclass(frozen=True)
class Part:
    """`arguments` come after `python`, and after them --out, for --small `small` and for --again `again`;
    "OUT" in them is the folder of all parts. `folder`: of its results below that; parts that add to one
    store share it. `torch`: it needs a Python that has torch."""

    name: str
    arguments: tuple[str, ...]
    folder: str = ""
    small: tuple[str, ...] = ("--small",)
    again: tuple[str, ...] = ("--retry",)
    torch: bool = False


def study(name: str, runtime: str, *more: str, precisions: str = "fp16") -> Part:
    measured = ("--runtimes", runtime, "--precisions", precisions, "--seconds", SECONDS)
    return Part(f"{name}-{runtime}", ("-m", f"export.studies.{name}", *measured, *more))


def profile(model: str, runtime: str, *more: str) -> Part:
    label = "roofline" if "--roofline" in more else model
    asked = ("--model", model, "--runtime", runtime, "--precision", "fp16", "--batch", "8", "--overwrite")
    name = f"profile-{label}-{runtime}"
    return Part(name, ("-m", "export.profile", *asked, *more), small=("--image-size", "64"), again=())


def dense(runtime: str, precision: str) -> Part:
    """Segmenters and detectors at the papers' sizes: gate, engine and its latency."""
    asked = ("tests/benchmarks/dense_exports.py", "--runtime", runtime, "--precision", precision)
    return Part(f"dense-{precision}-{runtime}", asked, small=("--size", "64x64"), again=("--again",))


def bench(runtime: str, models: str, batch: str, *more: str, precision: str = "fp16") -> Part:
    """All parts of the bench add to one store, and none measures what that holds."""
    label = "-".join(["bench", {CORE: "core"}.get(models, models), *more, precision, batch.replace(",", "-")])
    measured = ("--runtimes", runtime, "--precisions", precision, "--seconds", SECONDS)
    asked = ("--models", models, "--batch", batch, *measured, *more)
    name = f"{label.replace('---', '-')}-{runtime}"
    return Part(name, ("-m", "export.bench", *asked), folder="bench", torch=runtime in TWINS)


def planned(runtimes: Sequence[str]) -> list[Part]:
    """By importance, for the runtimes that are here: the studies on the first of them, then the others."""
    first, *others = runtimes
    engines = [name for name in runtimes if name.startswith("tensorrt")]
    return [
        study("t4_table", first, precisions="fp32,fp16"),
        bench(first, CORE, "8"),
        *(dense(name, "fp32") for name in engines[:1]),
        *(study(name, first) for name in STUDIES),
        *pictures(first, PROFILED),
        bench(first, CORE, "1,64"),
        bench(first, CORE, "1,8,64", precision="fp32"),
        *(study("t4_table", name, precisions="fp32,fp16") for name in others),
        *(bench(name, CORE, "8") for name in others),
        *(dense(name, "fp32") for name in engines[1:]),
        *(part for name in others for part in pictures(name, PROFILED[:1])),
        *(bench(name, CORE, "8") for name in TWINS),
        *(bench(name, CORE, "1", "--cuda-graph") for name in engines),
        bench(first, CORE, "8", "--transfers"),
        bench(first, "all", "8"),
        *(study(name, other) for other in others for name in STUDIES),
        bench(first, "all", "1,64"),
        *(bench(name, "all", "1,8,64", precision=how) for name in runtimes for how in ("fp16", "fp32")),
        *(dense(name, "fp16") for name in engines),  # its searches may outlast a call: nothing waits for them
        Part("bench-page", ("-m", "export.bench", "--redraw"), folder="bench"),
        Part("pareto", ("-m", "export.studies.pareto", "--stored", "--store", "OUT/bench/bench.jsonl")),
    ]


def pictures(runtime: str, models: Sequence[str]) -> list[Part]:
    """Where the time goes; nothing for a runtime that does not tell."""
    if runtime not in PROFILES:
        return []
    return [
        *(profile(model, runtime) for model in models),
        profile(",".join(ROOFLINE), runtime, "--roofline"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--seconds", type=float, default=570.0, help="of this call")
    parser.add_argument("--out", type=Path, default=Path("docs/results/gpu"))
    parser.add_argument("--torch-python", help="a Python with torch and timm")
    parser.add_argument("--only", help="names of parts, separated by commas")
    parser.add_argument("--again", action="store_true", help="also parts that are done, failed ones too")
    parser.add_argument("--list", action="store_true", help="print the commands and end")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the script")
    args = parser.parse_args(argv)
    begun = time.monotonic()
    reason = why_no_gpu()
    if reason is not None and not args.list:
        print(f"nothing to measure: {reason}")
        return 0
    runtimes = RUNTIMES if args.list else usable()
    if not runtimes:
        print("no runtime can use the GPU", file=sys.stderr)
        return 1
    every = planned(runtimes)
    known = [part.name for part in every]
    wanted = args.only.split(",") if args.only else known
    for name in wanted:
        if name not in known:
            parser.error(f"--only {name}: expected some of {','.join(known)}")
    parts = [part for part in every if part.name in wanted and (args.torch_python or not part.torch)]
    if args.list:
        for part in parts:
            print(f"{part.name}: {shlex.join(['python', *command(part, args)[1:]])}")
        return 0
    args.seconds -= time.monotonic() - begun
    return run_all(parts, args)


def usable() -> list[str]:
    """Those of RUNTIMES that can run here in float16; says why the others cannot. Each is asked in a
    process of its own: JAX holds on to a GPU once it has seen it, and what crashes takes no other with
    it."""
    ask = "import sys, json, gpu_lab; print(json.dumps(gpu_lab.why_not(sys.argv[1])))"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **NO_HOARD, "PYTHONPATH": path}
    asked = {
        name: subprocess.Popen(
            [sys.executable, "-c", ask, name], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        for name in RUNTIMES
    }
    found, until = [], time.monotonic() + TRIAL
    for name, process in asked.items():
        try:
            said, _ = process.communicate(timeout=max(0.0, until - time.monotonic()))
            lines = said.splitlines()
            reason = json.loads(lines[-1]) if lines and not process.returncode else "its trial crashed"
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            reason = f"its trial took longer than {TRIAL:.0f} s"
        if reason is None:
            found.append(name)
        else:
            print(f"left out: {name}: {reason}", flush=True)
    return found


def why_not(name: str) -> str | None:
    """Why a runtime cannot run here on a GPU in float16, by trying: an engine that builds may not load."""
    try:
        return tried(make(name))
    except (MissingExtra, BuildError) as error:
        return str(error).splitlines()[0]


def tried(runtime: Runtime) -> str | None:
    """Why it cannot run a network of a few channels. Raises BuildError for the same."""
    setting = Setting(precision="fp16")
    why = runtime.why_not(setting) if runtime.device == "gpu" else "it has no GPU here"
    if why is None:
        subject = network("resnet50", image_size=64, **TINY)
        ready = runtime.prepare(subject, setting, Files())
        ready.sample()
        ready.close()
    return why


def command(part: Part, args: argparse.Namespace) -> list[str]:
    """The command line, with this Python."""
    more = (*(part.small if args.small else ()), *(part.again if args.again else ()))
    torch = ("--torch-python", args.torch_python) if part.torch else ()
    given = (argument.replace("OUT", str(args.out)) for argument in part.arguments)
    return [sys.executable, *given, *more, *torch, "--out", str(args.out / (part.folder or part.name))]


def run_all(
    parts: Sequence[Part],
    args: argparse.Namespace,
    *,
    clock: Callable[[], float] = time.monotonic,
    conditions_now: Callable[[], dict[str, Any]] = conditions.now,
) -> int:
    """Runs what is not done yet, in order, until `args.seconds` are over; returns the exit status."""
    until = clock() + args.seconds
    (args.out / "logs").mkdir(parents=True, exist_ok=True)
    state = read(args.out)
    for part in parts if args.again else ():
        state.get(part.name, {})["done"] = False
    for number, part in enumerate(parts, 1):
        entry = state.get(part.name, {})
        if entry.get("done"):
            continue
        if until - clock() < LEAST:
            break
        print(f"[{number}/{len(parts)}, {until - clock():.0f} s left] {part.name}", flush=True)
        before = conditions_now()
        begun = clock()
        status, words = run(command(part, args), args.out / "logs" / f"{part.name}.txt", until - clock())
        state[part.name] = {
            "command": shlex.join(["python", *command(part, args)[1:]]),
            "done": status is not None,
            "status": status,
            "seconds": round(entry.get("seconds", 0.0) + clock() - begun, 1),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "conditions": [*entry.get("conditions", []), {"before": before, "after": conditions_now()}],
            "said": words,
        }
        write(args.out, state)
        said = "not done yet" if status is None else f"exit status {status}"
        print(f"  {said}" + "".join(f"\n  {line}" for line in words[-3:]), flush=True)
    return outcome(parts, state)


def outcome(parts: Sequence[Part], state: Mapping[str, Any]) -> int:
    """Prints what is left and what failed; the exit status."""
    left = [part.name for part in parts if not state.get(part.name, {}).get("done")]
    bad = [part.name for part in parts if state.get(part.name, {}).get("status") not in (0, None)]
    if bad:
        print(f"not all could be measured: {', '.join(bad)}")
    if left:
        print(f"time is up; the same command goes on with {', '.join(left)}")
        return TIME_IS_UP
    return 1 if bad else 0


def run(arguments: Sequence[str], log: Path, seconds: float) -> tuple[int | None, list[str]]:
    """(exit status, last words); the status is None if the time was up: then it was interrupted, as by
    Ctrl-C, and killed if that took too long. Its words are added to `log`."""
    environment = {**os.environ, **NO_HOARD}
    with log.open("a") as out:
        print(f"$ {shlex.join(arguments)}", file=out, flush=True)
        begin = out.tell()
        process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status: int | None = None
        try:
            status = process.wait(max(1.0, seconds - FAREWELL))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(FAREWELL)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    said = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    return status, [line for line in said if line.strip()][-WORDS:]


def read(out: Path) -> dict[str, Any]:
    path = out / STATE
    return json.loads(path.read_text()) if path.is_file() else {}


def write(out: Path, state: Mapping[str, Any]) -> None:
    """The whole new state or the whole old one, whatever happens in between."""
    new = out / (STATE + ".new")
    new.write_text(json.dumps(state, indent=2) + "\n")
    new.replace(out / STATE)


if __name__ == "__main__":
    sys.exit(main())
