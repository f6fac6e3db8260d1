"""What the doctor looks at, and what it concludes."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from export import doctor_net, provenance, runtimes
from export._optional import EXTRA_OF
from export.quantize.names import FIRST_FP8
from export.report_parts import in_short

OK, MISSING, FAILED = "ok", "missing", "failed"
#: Package -> the extra of hvjax that installs it; None comes with hvjax itself.
PACKAGES: dict[str, str | None] = {
    "hvjax": None,
    "jax": None,
    "jaxlib": None,
    "flax": None,
    "numpy": None,
    "onnx": "export",
    "onnxruntime": "export",
    "tensorflow": "export",
    "tf2onnx": "export",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "cuda-bindings": "tensorrt-rtx",
}
#: Names under which a package may be installed: TensorRT's carry the version of CUDA.
DISTRIBUTIONS = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx"),
}
#: What an engine of this precision writes somewhere, in the builder's words: builders have built float32
#: engines in silence when asked for less.
EXPECTED_TYPES = {"fp16": "Half", "bf16": "BFloat16", "int8": "Int8", "fp8": "FP8"}
QUICK = ("fp32", "fp16")
Probe = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Check:
    """One line of the report; `todo` is what to do about it, empty if nothing."""

    status: str
    name: str
    detail: str
    todo: str = ""

    def line(self) -> str:
        todo = f" -> {self.todo}" if self.todo else ""
        return f"{self.status:<8}{self.name:<22}{self.detail}{todo}"


@dataclass
class Report:
    """All checks in order; `measured` is what the probes answered: "cuda", and by runtime and precision."""

    checks: list[Check] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""
    exit_status: int = 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": 1,
            "checks": [asdict(check) for check in self.checks],
            "measured": self.measured,
            "verdict": self.verdict,
            "exit_status": self.exit_status,
        }


def examine(probe: Probe, *, quick: bool = False, say: Callable[[str], None] | None = None) -> Report:
    """Looks at everything; `say` gets each line when it is known. Raises nothing for what is broken."""
    report = Report()

    def add(check: Check) -> None:
        report.checks.append(check)
        if say is not None:
            say(check.line())

    add(_system())
    for name, extra in PACKAGES.items():
        add(_package(name, extra))
    report.measured["jax"] = probe("jax")
    add(_jax(report.measured["jax"]))
    report.measured["cuda"] = probe("cuda")
    add(_gpu(report.measured["cuda"], provenance.gpu()))
    precisions = QUICK if quick else doctor_net.PRECISIONS
    for runtime in reversed(runtimes.NAMES):  # ONNX Runtime first: the gate of everything else
        found = report.measured[runtime] = {"about": probe("about", runtime), "precisions": {}}
        add(_runtime(runtime, found["about"]))
        if not _usable(found["about"]):
            continue
        for precision in precisions:
            if precision == "tf32" and not found["about"]["builds_engine"]:
                continue  # a way of rounding on GPUs
            answer = found["precisions"][precision] = probe("try", runtime, precision)
            add(_precision(runtime, precision, answer, report.measured["cuda"]))
    report.exit_status, report.verdict = conclude(report.measured)
    return report


def conclude(measured: Mapping[str, Any]) -> tuple[int, str]:
    """Exit status and verdict: the main road is the gate in ONNX Runtime, engines if a builder is here."""
    if not _works(measured["onnxruntime"]):
        return 1, "failed: ONNX Runtime does not run a small float32 network, so that no export can be gated"
    builders = [name for name in runtimes.NAMES if name != "onnxruntime" and _usable(measured[name]["about"])]
    good = [name for name in builders if _works(measured[name])]
    if good:
        ran = [name for name in good if measured[name]["precisions"]["fp32"].get("run") == OK]
        where = f"{', '.join(ran)} runs them here" if ran else "they cannot be run on this machine"
        return 0, f"ok: models can be exported and gated; {', '.join(good)} builds engines; {where}"
    if builders:
        return 1, f"failed: {', '.join(builders)} is here but does not build and run a small float32 network"
    broken = [name for name in runtimes.NAMES if {"error", "crash"} & set(measured[name]["about"])]
    if broken:
        return 1, f"failed: {', '.join(broken)} is installed and does not work; ONNX files can be exported"
    return 0, "ok: ONNX only: models can be exported and gated; nothing here builds engines"


def _works(found: Mapping[str, Any]) -> bool:
    answer = found["precisions"].get("fp32", {})
    return answer.get("build") == OK and answer.get("run") in (OK, "not tried")


def _usable(about: Mapping[str, Any]) -> bool:
    return "versions" in about and about["why_not_build"] is None


def _system() -> Check:
    machine = provenance.machine()
    memory = _memory()
    detail = (
        f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}, "
        f"{machine['processor']}, {machine['cpus']} CPUs{memory}"
    )
    return Check(OK, "system", detail)


def _memory() -> str:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # no such question on this system
        return ""
    return f", {total / 2**30:.0f} GiB memory"


def _package(name: str, extra: str | None) -> Check:
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        try:
            return Check(OK, name, version(distribution))
        except PackageNotFoundError:
            continue
    install = f"pip install 'hvjax[{extra}]'" if extra else "pip install hvjax"
    return Check(MISSING, name, "not installed", install)


def _jax(answer: Mapping[str, Any]) -> Check:
    if "backend" in answer:
        return Check(OK, "jax backend", f"{answer['backend']} ({', '.join(answer['devices'])})")
    trouble = _trouble(answer)
    return Check(FAILED, "jax backend", trouble, "reinstall jax and jaxlib in the same version")


def _gpu(answer: Mapping[str, Any], smi: Mapping[str, str] | None) -> Check:
    told = f"; nvidia-smi: {smi['name']}, driver {smi['driver_version']}" if smi else ""
    if answer.get("gpus"):
        gpus = "; ".join(
            f"{gpu['name']}, compute capability {gpu['compute_capability']}, "
            f"{gpu['memory_bytes'] / 2**30:.0f} GiB"
            for gpu in answer["gpus"]
        )
        versions = f"CUDA {answer['runtime']}, driver supports {answer['driver_supports']}"
        return Check(OK, "gpu", f"{gpus}; {versions}{told}")
    if "why_not" in answer:
        if smi:
            todo = "nvidia-smi sees a GPU that CUDA does not: update the driver, or install cuda-bindings"
            return Check(FAILED, "gpu", answer["why_not"] + told, todo)
        return Check(MISSING, "gpu", answer["why_not"], "engines can be built for a GPU elsewhere, not run")
    if "missing" in answer:
        return Check(MISSING, "gpu", _trouble(answer) + told)
    return Check(FAILED, "gpu", _trouble(answer) + told, "reinstall cuda-bindings; check the driver")


def _runtime(name: str, about: Mapping[str, Any]) -> Check:
    line = f"runtime {name}"
    if "versions" not in about:
        if "missing" in about:
            extra = EXTRA_OF[runtimes.MODULE_OF[name]]
            return Check(MISSING, line, "not installed", f"pip install 'hvjax[{extra}]'")
        if "skipped" in about:
            return Check(MISSING, line, f"not tried: {about['skipped']}", "run the doctor again")
        return Check(FAILED, line, _trouble(about), "reinstall it; its libraries do not load")
    told = about["versions"].get(name, "")
    if about["why_not_build"] is not None:
        return Check(MISSING, line, f"{told}, cannot build here: {about['why_not_build']}", "needs a GPU")
    if not about["builds_engine"]:
        more = [f"--provider {one}" for one in about.get("providers", ()) if one != "cpu"]
        return Check(OK, line, f"{told}, runs ONNX files on the CPU: the gate{_also(more)}")
    rare = _also(about.get("options", ()))
    if about["why_not_run"] is not None:
        return Check(OK, line, f"{told}, builds engines{rare}; cannot run them here: {about['why_not_run']}")
    return Check(OK, line, f"{told}, builds and runs engines{rare}")


def _also(flags: Sequence[str]) -> str:
    """What else the runtime takes here."""
    return f"; takes {', '.join(flags)}" if flags else ""


def _precision(
    runtime: str, precision: str, answer: Mapping[str, Any], cuda: Mapping[str, Any] | None = None
) -> Check:
    name = f"{runtime} {precision}"
    if "build" not in answer:
        if "skipped" in answer:
            return Check(MISSING, name, f"not tried: {answer['skipped']}", "run the doctor again")
        return Check(FAILED, name, _trouble(answer), "report it with this line; other precisions may work")
    parts = [_step("parses", answer["parse"])]
    if answer["parse"] == OK:
        seconds = answer.get("build_seconds")
        parts.append(
            _step("builds" + (f" in {seconds:.2f} s" if seconds is not None else ""), answer["build"])
        )
    if answer["build"] == OK:
        if answer["run"] == OK:
            parts.append(f"runs, off by {answer['error']:.1e} (limit {in_short(answer['limit'])})")
        elif answer["run"] == "not tried":
            parts.append(f"not run: {answer['why_not']}")
        else:
            parts.append(_step("runs", answer["run"]))
    if "types" in answer:
        parts.append("writes " + " ".join(f"{count} {kind}" for kind, count in answer["types"].items()))
    expected = EXPECTED_TYPES.get(precision)
    if expected and answer.get("types") and expected not in answer["types"]:
        parts.append(f"no layer writes {expected}: the engine is not in {precision}")
        return Check(FAILED, name, ", ".join(parts), _advice("build"))
    failed = [step for step in ("parse", "build", "run") if answer[step] not in (OK, "not tried")]
    if not failed:
        return Check(OK, name, ", ".join(parts))
    if runtime == "onnxruntime" and precision == "bf16":  # its CPU provider has no such operators
        todo = "the gate emulates it: a float32 copy that rounds wherever the file does"
        return Check(MISSING, name, ", ".join(parts), todo)
    if runtime != "onnxruntime" and precision == "fp8" and (older := _without_fp8(cuda or {})):
        todo = f"{older} has no fp8, which begins with {FIRST_FP8 / 10:g}: use --precision int8 or fp16"
        return Check(MISSING, name, ", ".join(parts), todo)
    return Check(FAILED, name, ", ".join(parts), _advice(failed[0]))


def _without_fp8(cuda: Mapping[str, Any]) -> str | None:
    """The GPU with its compute capability, if it is older than fp8: not a fault of this machine."""
    for gpu in cuda.get("gpus", ()):
        major, _, minor = str(gpu["compute_capability"]).partition(".")
        if 10 * int(major) + int(minor or 0) < FIRST_FP8:
            return f"{gpu['name']} ({gpu['compute_capability']})"
    return None


def _advice(step: str) -> str:
    if step == "run":
        return "do not use this precision here: export with another --precision"
    return "this version does not take it: update it, or export with another --precision"


def _step(name: str, told: str) -> str:
    return name if told == OK else f"{name.split()[0]}: no ({told})"


def _trouble(answer: Mapping[str, Any]) -> str:
    return str(
        next((answer[key] for key in ("missing", "crash", "error", "skipped") if key in answer), answer)
    )
