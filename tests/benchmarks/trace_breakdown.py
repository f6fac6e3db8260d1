"""Where the time of a step goes: the kernels of a trace of jax.profiler, by kind."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

# The first kind one of whose words is in a kernel's name, or in that of the operation it computes.
KINDS = {
    "convolutions": ("conv", "wgrad", "dgrad", "fprop", "implicit_gemm", "winograd"),
    "matrix products": ("gemm", "dot", "cutlass", "matmul", "nvjet", "xmma"),
    "communication": ("nccl", "all-reduce", "all-gather", "reduce-scatter"),
    "copies": ("memcpy", "memset", "copy", "transpose"),
    "reductions": ("reduce",),
    "elementwise": ("fusion", "loop_", "wrapped_", "triton", "add", "multiply", "select", "convert"),
}
REST = "other"
# Lines of a plane that repeat what another one has, by module, step or name of the source.
SUMMARIES = (
    "XLA Modules",
    "Steps",
    "Framework Ops",
    "Framework Name Scope",
    "Source",
    "Launch Stats",
    "XLA TraceMe",
)


def kind_of(name: str) -> str:
    """Which of `KINDS` a kernel belongs to, or "other"."""
    name = name.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), REST)


def breakdown(folder: Path, steps: int) -> dict[str, float]:
    """Milliseconds of a step by kind, the largest first; of the devices' kernels, on a CPU of its threads.

    Args:
      folder: given to jax.profiler.trace. steps: how many it saw.
    """
    import jax

    (file,) = folder.rglob("*.xplane.pb")
    planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    found: dict[str, float] = defaultdict(float)
    for plane in devices or [plane for plane in planes if plane.name.startswith("/host:CPU")]:
        for line in plane.lines:
            if line.name in SUMMARIES or (not devices and not line.name.startswith("tf_XLA")):
                continue
            for event in line.events:
                operation = next((str(value) for key, value in event.stats if key == "hlo_op"), "")
                if devices or operation:
                    found[kind_of(f"{operation} {event.name}")] += event.duration_ns / 1e6 / steps
    return {kind: round(ms, 3) for kind, ms in sorted(found.items(), key=lambda pair: -pair[1])}
