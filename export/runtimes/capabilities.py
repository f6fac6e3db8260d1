"""What the TensorRT at hand can do: one table of checks, asked of the module itself, never of its version.

TensorRT 10.x, 11.x and TensorRT for RTX share most of their Python API. Where they differ, a row of
`CHECKS` asks for the attribute that decides; the rest of the code reads the answers.

==========================  =========  =======  ===============
capability                  10.x       11.x     TensorRT for RTX
==========================  =========  =======  ===============
strongly_typed_flag         yes        yes (1)  yes
weak_typing                 yes        no       no
builds_without_gpu          no         no       yes
compute_capability_targets  no         no       yes
tf32_flag                   yes        yes      yes
kernel_specialisation       no         no       yes
refitting                   yes        yes      yes (2)
version_compatibility       yes        yes      no (3)
hardware_compatibility      yes        yes      no (3)
timing_cache                yes        yes      no (3)
optimization_level          yes        yes      no (3)
==========================  =========  =======  ===============

(1) accepted and ignored: 11 knows typed networks only.
(2) 1.7 builds such an engine only where there is a GPU: without a driver it fails while it compiles.
(3) the attributes are there and do nothing: 1.7 warns of the level of hardware compatibility, documents that
    its timing cache has no effect and that an engine fits one release, and writes the same bytes at every
    optimisation level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Capabilities:
    """Answers of one TensorRT module; the meaning of each is in `CHECKS`."""

    strongly_typed_flag: bool
    weak_typing: bool
    builds_without_gpu: bool
    compute_capability_targets: bool
    tf32_flag: bool
    kernel_specialisation: bool
    refitting: bool
    version_compatibility: bool
    hardware_compatibility: bool
    timing_cache: bool
    optimization_level: bool


def _has(trt: Any, *path: str) -> bool:
    for name in path:
        trt = getattr(trt, name, None)
        if trt is None:
            return False
    return True


def _for_rtx(trt: Any) -> bool:
    """TensorRT for RTX has many attributes of TensorRT's builder that do nothing there."""
    return _has(trt, "ComputeCapability")


#: field of `Capabilities` -> (why it matters, the check).
CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "strongly_typed_flag": (
        "create_network must be given STRONGLY_TYPED, or precisions in the file are only hints (10.x)",
        lambda trt: _has(trt, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
    ),
    "weak_typing": (
        "networks may be weakly typed: precision builder flags exist, and must never be used",
        lambda trt: _has(trt, "BuilderFlag", "FP16"),
    ),
    "builds_without_gpu": (
        "Builder() works on a machine with no GPU and no driver",
        _for_rtx,
    ),
    "compute_capability_targets": (
        "the GPU generations an engine is built for can be named",
        lambda trt: _has(trt, "IBuilderConfig", "set_compute_capability"),
    ),
    "tf32_flag": (
        "float32 products may be rounded to 10 mantissa bits unless this flag, on by default, is cleared",
        lambda trt: _has(trt, "BuilderFlag", "TF32"),
    ),
    "kernel_specialisation": (
        "kernels for a dynamic shape are compiled while it runs, behind its back unless told otherwise",
        lambda trt: _has(trt, "DynamicShapesKernelSpecializationStrategy", "EAGER"),
    ),
    "refitting": (
        "weights can be left out of an engine and put in when it is loaded",
        lambda trt: _has(trt, "BuilderFlag", "STRIP_PLAN") and _has(trt, "OnnxParserRefitter"),
    ),
    "version_compatibility": (
        "an engine can be built that later versions load",
        lambda trt: _has(trt, "BuilderFlag", "VERSION_COMPATIBLE") and not _for_rtx(trt),
    ),
    "hardware_compatibility": (
        "an engine can be built that other GPUs than the one at hand run",
        lambda trt: _has(trt, "HardwareCompatibilityLevel", "AMPERE_PLUS") and not _for_rtx(trt),
    ),
    "timing_cache": (
        "measured times of kernels can be kept for the next build",
        lambda trt: _has(trt, "IBuilderConfig", "create_timing_cache") and not _for_rtx(trt),
    ),
    "optimization_level": (
        "how long the builder searches can be said",
        lambda trt: _has(trt, "IBuilderConfig", "builder_optimization_level") and not _for_rtx(trt),
    ),
}
assert set(CHECKS) == {field.name for field in fields(Capabilities)}, "one check for each capability"


def capabilities(trt: Any) -> Capabilities:
    """The answers of `trt`, a TensorRT module.

    Raises:
      ValueError: the module can only build weakly typed networks (TensorRT 9 and older); an engine of
        those may run in another precision than the file says.
    """
    found = Capabilities(**{name: check(trt) for name, (_, check) in CHECKS.items()})
    if found.weak_typing and not found.strongly_typed_flag:
        raise ValueError(
            f"{trt.__name__} {getattr(trt, '__version__', '')} has no strongly typed networks: "
            "TensorRT 10 or newer is needed"
        )
    return found


def network_flags(trt: Any, found: Capabilities) -> int:
    """The argument of `create_network` that makes the types of the file binding."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if found.strongly_typed_flag else 0
