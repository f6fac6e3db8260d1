"""The flags of `--precision int8`, and what they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.arguments import UsageError, checked, choice, positive
from export.quantize.names import CALIBRATORS, FLOATS, KEEP

#: Pictures that ranges are taken from. Histograms of activations hardly change beyond a hundred pictures.
CALIBRATION_IMAGES = 128


@dataclass(frozen=True)
class Int8Request:
    """calibration: folder of pictures, None for those of the checkpoint; images: how many at most;
    keep: layers that stay float (`place.plan`); rest: type of everything that is not int8."""

    calibration: Path | None = None
    calibrator: str = CALIBRATORS[0]
    images: int = CALIBRATION_IMAGES
    keep: tuple[str, ...] = KEEP
    rest: str = FLOATS[0]


def add_flags(add: Callable[..., Any]) -> None:
    """Adds them to a parser whose `add_argument` is `add`."""
    names = ", ".join(CALIBRATORS[1:])
    add("--calibration", metavar="DIR", help="int8: pictures to take ranges from (default: the run's own)")
    add("--calibrator", help=f"int8: {CALIBRATORS[0]} (default), {names}")
    add("--calibration-images", metavar="N", help=f"int8: how many ({CALIBRATION_IMAGES})")
    add(
        "--int8-keep",
        metavar="LAYER,...",
        help="int8: layers that stay float: first,last (default) or stage1.*",
    )
    add(
        "--int8-rest",
        help="int8: what is not int8 is fp16 (default; fp32 with --runtime onnxruntime) or fp32",
    )
    add(
        "--force-precision", action="store_true", help="accept a precision that misses its bound or is slower"
    )


def read(found: argparse.Namespace, precision: str, runtime: str | None) -> Int8Request | None:
    """What was asked for; None for another precision. `runtime`: as given, None where there is no choice.

    Raises:
      UsageError: a value that is not accepted, or one of these flags without int8.
    """
    given = {
        "--calibration": found.calibration,
        "--calibrator": found.calibrator,
        "--calibration-images": found.calibration_images,
        "--int8-keep": found.int8_keep,
        "--int8-rest": found.int8_rest,
    }
    if precision != "int8":
        for flag, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{flag} is about --precision int8, and --precision {precision} was asked for"
                )
        return None
    if found.keep_fp32:
        raise UsageError("--keep-fp32 is about half precision; --int8-keep names layers that stay float")
    # ONNX Runtime's CPU provider has float16 arithmetic for few operators and casts for the others
    rest = found.int8_rest or (FLOATS[1] if runtime == "onnxruntime" else FLOATS[0])
    keep = KEEP if found.int8_keep is None else _names(found.int8_keep)
    return Int8Request(
        calibration=Path(found.calibration).expanduser() if found.calibration else None,
        calibrator=choice("--calibrator", found.calibrator or CALIBRATORS[0], CALIBRATORS),
        images=checked(positive, found.calibration_images or str(CALIBRATION_IMAGES), "--calibration-images"),
        keep=keep,
        rest=choice("--int8-rest", rest, FLOATS),
    )


def _names(text: str) -> tuple[str, ...]:
    """`--int8-keep none` or an empty text: every layer."""
    return tuple(name.strip() for name in text.split(",") if name.strip() and name.strip() != "none")
