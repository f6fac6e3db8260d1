"""From a JAX callable or checkpoint to ONNX and TensorRT, with a proof on the file that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.bridge import convert

__all__ = ["convert"]


def __getattr__(name: str) -> Any:
    # onnx and JAX are imported when `convert` is first used, not by every command of the package
    if name == "convert":
        from export.bridge import convert

        return convert
    raise AttributeError(f"module 'export' has no attribute {name!r}")
