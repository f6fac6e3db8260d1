"""Giving an engine that was built without weights its weights back, from the ONNX file it was built from."""

from __future__ import annotations

from typing import Any

from export.runtimes import BuildError

#: How many names of missing weights an error tells.
_NAMED = 3


def refit(trt: Any, engine: Any, model: bytes, log: Any) -> None:
    """Refits `engine`, loaded and without an execution context yet, from the ONNX file `model`.

    Raises:
      BuildError: the file is not the one that the engine was built from, or weights are still missing.
    """
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_bytes(model):
        said = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BuildError(
            f"the engine does not take its weights from model.onnx: {said or 'it gave no reason'}"
        )
    missing = list(refitter.get_missing_weights())
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise BuildError(f"model.onnx lacks weights of the engine: {', '.join(missing[:_NAMED])}{more}")
    if not refitter.refit_cuda_engine():
        said = "; ".join(log.at(trt.ILogger.ERROR)) or "it gave no reason"
        raise BuildError(f"the engine could not be refitted from model.onnx: {said}")
