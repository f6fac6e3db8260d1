"""The rare options of TensorRT's builder: what each is called, which runtime has it, how it is set.

Sources: NVIDIA's "Refitting an Engine", "Engine Compatibility" and "Optimizing Builder Performance" for
TensorRT 10 and 11, the same pages for TensorRT for RTX, and the doc strings of both bindings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.runtimes.capabilities import Capabilities

#: --hardware-compatible -> (the name in `HardwareCompatibilityLevel`, the word of trtexec).
HARDWARE_LEVELS = {
    "ampere+": ("AMPERE_PLUS", "ampere+"),
    "same-compute-capability": ("SAME_COMPUTE_CAPABILITY", "sameComputeCapability"),
}
#: --optimization-level: 0 builds fastest, 3 is TensorRT's default, 5 searches longest.
OPTIMIZATION_LEVELS = range(6)


@dataclass(frozen=True)
class TimingCache:
    """A file of measured kernel times. `sha256`: what it must be (pinned), None for any content."""

    path: Path
    sha256: str | None = None


@dataclass(frozen=True)
class BuilderOptions:
    """What was asked of the builder beyond the ordinary.

    refit: the weights of the engine can be replaced later. strip_weights: the engine is written without
    them and gets them from model.onnx when it is loaded. version_compatible: later versions of TensorRT can
    load it. hardware_compatible: a key of `HARDWARE_LEVELS`. optimization_level: of `OPTIMIZATION_LEVELS`.
    """

    refit: bool = False
    strip_weights: bool = False
    version_compatible: bool = False
    hardware_compatible: str | None = None
    timing_cache: TimingCache | None = None
    optimization_level: int | None = None

    def flags(self) -> tuple[str, ...]:
        """The flags that were given, as on the command line."""
        return tuple(
            flag for flag, (field, _, _) in OPTIONS.items() if getattr(self, field) not in (False, None)
        )

    def as_dict(self) -> dict[str, Any]:
        """For report.json."""
        data = asdict(self)
        if self.timing_cache is not None:
            data["timing_cache"] = {"file": str(self.timing_cache.path), "pinned": self.timing_cache.sha256}
        return data


#: flag -> (field of `BuilderOptions`, field of `Capabilities` that decides, what to do in TensorRT for RTX).
OPTIONS: dict[str, tuple[str, str, str]] = {
    "--refit": ("refit", "refitting", ""),
    "--strip-weights": ("strip_weights", "refitting", ""),
    "--version-compatible": (
        "version_compatible",
        "version_compatibility",
        "its engines fit one release of it; build again for another",
    ),
    "--hardware-compatible": (
        "hardware_compatible",
        "hardware_compatibility",
        "its engines fit several GPU generations already; name them with --targets",
    ),
    "--timing-cache": ("timing_cache", "timing_cache", "it times no kernels while it builds"),
    "--optimization-level": (
        "optimization_level",
        "optimization_level",
        "its kernels are chosen where the engine runs",
    ),
}


#: flag -> a request for it alone.
EACH = {
    "--refit": BuilderOptions(refit=True),
    "--strip-weights": BuilderOptions(strip_weights=True),
    "--version-compatible": BuilderOptions(version_compatible=True),
    "--hardware-compatible": BuilderOptions(hardware_compatible=next(iter(HARDWARE_LEVELS))),
    "--timing-cache": BuilderOptions(timing_cache=TimingCache(Path("times.bin"))),
    "--optimization-level": BuilderOptions(optimization_level=OPTIMIZATION_LEVELS[-1]),
}
assert all(options.flags() == (flag,) for flag, options in EACH.items()) and set(EACH) == set(OPTIONS)


def refusal(name: str, options: BuilderOptions, can: Capabilities) -> str | None:
    """Why the runtime called `name` does not do what `options` ask; None if it does all of it."""
    known = [flag for flag, (_, capability, _) in OPTIONS.items() if getattr(can, capability)]
    for flag in options.flags():
        if flag in known:
            continue
        why = OPTIONS[flag][2] if can.builds_without_gpu else "this version of it is too old"
        accepted = f"of these options it takes {', '.join(known)}" if known else "it takes no such option"
        return f"{flag} is not known to {name}: {why}; {accepted}"
    return None


def configure(trt: Any, config: Any, options: BuilderOptions) -> tuple[str, ...]:
    """Sets everything but the timing cache on a builder configuration; returns the builder flags that were
    set. Raises ValueError for a level of hardware compatibility that this version does not know."""
    flags = []
    if options.refit:
        flags.append("REFIT")
    elif options.strip_weights:  # the weights that come back are those of model.onnx: kernels may rely on it
        flags.append("REFIT_IDENTICAL")
    if options.strip_weights:
        flags.append("STRIP_PLAN")
    if options.version_compatible:
        flags.append("VERSION_COMPATIBLE")
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if options.hardware_compatible is not None:
        level, _ = HARDWARE_LEVELS[options.hardware_compatible]
        known = getattr(trt.HardwareCompatibilityLevel, level, None)
        if known is None:
            names = [
                name
                for name, (member, _) in HARDWARE_LEVELS.items()
                if hasattr(trt.HardwareCompatibilityLevel, member)
            ]
            raise ValueError(
                f"--hardware-compatible {options.hardware_compatible}: this version knows {', '.join(names)}"
            )
        config.hardware_compatibility_level = known
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    return tuple(flags)


def trtexec(options: BuilderOptions) -> tuple[str, ...]:
    """The same as flags of `trtexec`, after its own help text and source."""
    flags = []
    if options.refit:
        flags.append("--refit")
    if options.strip_weights:
        flags.append("--stripWeights")
    if options.version_compatible:
        flags.append("--versionCompatible")
    if options.hardware_compatible is not None:
        flags.append(f"--hardwareCompatibilityLevel={HARDWARE_LEVELS[options.hardware_compatible][1]}")
    if options.timing_cache is not None:
        flags.append(f"--timingCacheFile={options.timing_cache.path.name}")
    if options.optimization_level is not None:
        flags.append(f"--builderOptimizationLevel={options.optimization_level}")
    return tuple(flags)


def line(options: BuilderOptions, used: dict[str, Any]) -> str:
    """`weights stripped, to be refitted from model.onnx; timing cache times.bin, 12ab34cd, written`

    Args:
      used: what `Built.options` says of the build; empty if there was none.
    """
    parts = []
    if options.strip_weights:
        parts.append("without weights: it is refitted from model.onnx when it is loaded")
    if options.refit:
        parts.append("its weights can be replaced")
    if options.version_compatible:
        parts.append("fits later versions of TensorRT")
    if options.hardware_compatible is not None:
        parts.append(f"fits other GPUs ({options.hardware_compatible})")
    if options.optimization_level is not None:
        parts.append(f"optimisation level {options.optimization_level}")
    if options.timing_cache is not None:
        found = used.get("timing_cache") or {}
        told = f", {found['state']}, SHA-256 {found['sha256'][:12]}" if found.get("sha256") else ""
        parts.append(f"timing cache {options.timing_cache.path}{told}")
    return "; ".join(parts)
