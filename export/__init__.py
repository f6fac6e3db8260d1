"""From a JAX callable or checkpoint to ONNX and TensorRT, with a proof on the file that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.bridge import convert, convert_stablehlo
    from export.tf_around import convert_tf

__all__ = ["convert", "convert_stablehlo", "convert_tf"]


def __getattr__(name: str) -> Any:
    # onnx and JAX are imported when one of them is first used, not by every command of the package
    if name == "convert_tf":
        from export import tf_around

        return tf_around.convert_tf
    if name in __all__:
        from export import bridge

        return getattr(bridge, name)
    raise AttributeError(f"module 'export' has no attribute {name!r}")
