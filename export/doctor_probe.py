"""One thing the doctor tries, in a process of its own: a runtime that crashes takes only this with it.

`python -m export.doctor_probe cuda | jax | about RUNTIME | try RUNTIME PRECISION` prints one line of JSON,
the last on its standard output. Everything that goes wrong without a crash is in that line.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from export import doctor_net, runtimes
from export._optional import MissingExtra
from export.batch import BatchRange
from export.report_parts import in_short
from export.runtimes import BuildError, BuildOptions, Built
from export.runtimes.builder import EACH
from export.runtimes.providers import PROVIDERS

#: Before the JSON, so that whatever libraries print is not taken for it.
MARK = "doctor_probe: "


def cuda() -> dict[str, Any]:
    """The GPUs and versions as CUDA itself tells them."""
    from export.runtimes.cuda import runtime_api, why_no_gpu

    reason = why_no_gpu()
    if reason is not None:
        return {"why_not": reason}
    api = runtime_api()
    found: dict[str, Any] = {"runtime": _cuda_version(api.cudaRuntimeGetVersion())}
    found["driver_supports"] = _cuda_version(api.cudaDriverGetVersion())
    _, count = api.cudaGetDeviceCount()
    found["gpus"] = [_gpu(api, index) for index in range(count)]
    return found


def jax() -> dict[str, Any]:
    """The backend that JAX would use."""
    import jax

    devices = jax.devices()
    return {"backend": jax.default_backend(), "devices": sorted({device.device_kind for device in devices})}


def about(name: str) -> dict[str, Any]:
    """Versions of a runtime and what it can do on this machine."""
    runtime = runtimes.make(name)
    found = {
        "versions": runtime.versions(),
        "builds_engine": runtime.builds_engine,
        "why_not_build": runtime.why_not_build(),
        "why_not_run": runtime.why_not_run(),
        "options": [flag for flag, asked in EACH.items() if runtime.refuses(asked) is None],
    }
    if name == "onnxruntime":
        found["providers"] = [one for one in PROVIDERS if _offers(one)]
    return found


def _offers(provider: str) -> bool:
    from export.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime(provider).why_not_build() is None


def attempt(name: str, precision: str) -> dict[str, Any]:
    """Builds the doctor's network with a runtime and, where that can be, runs it and compares with NumPy.

    The result has "parse", "build" and "run", each "ok", the error, or "not tried", and what was measured.
    """
    runtime, model = runtimes.make(name), doctor_net.make(precision)
    start = time.perf_counter()
    size = doctor_net.BATCH
    try:
        built = runtime.build(model, BuildOptions(BatchRange(size, size, size), tf32=precision == "tf32"))
    except BuildError as error:
        unread = any(words in str(error) for words in ("does not read the file", "does not load the file"))
        said = {"parse": str(error), "build": "not tried"} if unread else {"parse": "ok", "build": str(error)}
        return {**said, "run": "not tried"}
    found: dict[str, Any] = {
        "parse": "ok",
        "build": "ok",
        "build_seconds": round(time.perf_counter() - start, 3),
    }
    if built.kernels:
        found["types"] = dict(Counter(kind for kernel in built.kernels for kind in kernel.writes))
    why_not = runtime.why_not_run()
    if why_not is not None:
        return {**found, "run": "not tried", "why_not": why_not}
    try:
        return {**found, **_run(runtime, built, precision)}
    except (BuildError, RuntimeError) as error:
        return {**found, "run": str(error)}


def _run(runtime: runtimes.Runtime, built: Built, precision: str) -> dict[str, Any]:
    import numpy as np

    session = runtime.open(built)
    try:
        logits = session.run(doctor_net.images())["logits"].astype(np.float64)
    finally:
        session.close()
    want = doctor_net.answers()["logits"]
    error = float(np.abs(logits - want).max() / np.abs(want).max())
    limit = doctor_net.LIMITS[precision]
    right = error <= limit  # False for NaN too
    told = "ok" if right else f"its answers are off by {error:.1e} of the largest (limit {in_short(limit)})"
    return {"run": told, "error": error if np.isfinite(error) else None, "limit": limit}


def _gpu(api: Any, index: int) -> dict[str, Any]:
    _, properties = api.cudaGetDeviceProperties(index)
    name = properties.name
    return {
        "name": (name.decode(errors="replace") if isinstance(name, bytes) else str(name)).rstrip("\0"),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": int(properties.totalGlobalMem),
    }


def _cuda_version(answer: tuple[Any, int]) -> str:
    _, number = answer
    return f"{number // 1000}.{number % 1000 // 10}"


def main(argv: Sequence[str]) -> int:
    probes = {"cuda": cuda, "jax": jax, "about": about, "try": attempt}
    try:
        found = probes[argv[0]](*argv[1:])
    except MissingExtra as error:
        found = {"missing": str(error)}
    except Exception as error:  # the line is the report of a process made to fail
        found = {"error": f"{type(error).__name__}: {error}".strip()}
    print(MARK + json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
