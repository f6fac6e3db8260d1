"""The flags of `--precision int8` and `fp8`, and what they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.arguments import UsageError, checked, choice, positive
from export.quantize.names import CALIBRATORS, FIRST_FP8, FLOATS, KEEP, QUANTISED

#: Pictures that ranges are taken from. Histograms of activations hardly change beyond a hundred pictures.
CALIBRATION_IMAGES = 128
_BOTH = " and ".join(QUANTISED)


@dataclass(frozen=True)
class QuantiseRequest:
    """precision: int8 or fp8; calibration: folder of pictures, None for those of the checkpoint; images: how
    many at most; keep: layers that stay float (`place.plan`); rest: type of everything that is not
    quantised."""

    precision: str = QUANTISED[0]
    calibration: Path | None = None
    calibrator: str = CALIBRATORS["int8"][0]
    images: int = CALIBRATION_IMAGES
    keep: tuple[str, ...] = KEEP
    rest: str = FLOATS[0]


def add_flags(add: Callable[..., Any]) -> None:
    """Adds them to a parser whose `add_argument` is `add`."""
    add(
        "--calibration", metavar="DIR", help=f"{_BOTH}: pictures to take ranges from (default: the run's own)"
    )
    add("--calibrator", help="; ".join(f"{name}: {_accepted(name)}" for name in QUANTISED))
    add("--calibration-images", metavar="N", help=f"{_BOTH}: how many ({CALIBRATION_IMAGES})")
    add(
        "--quant-keep",
        "--int8-keep",
        metavar="LAYER,...",
        help=f"{_BOTH}: layers that stay float: first,last (default) or stage1.*",
    )
    add(
        "--quant-rest",
        "--int8-rest",
        help=f"{_BOTH}: the rest is fp16 (default; fp32 with --runtime onnxruntime) or fp32",
    )
    add(
        "--force-precision", action="store_true", help="accept a precision that misses its bound or is slower"
    )


def read(found: argparse.Namespace, precision: str, runtime: str | None) -> QuantiseRequest | None:
    """What was asked for; None for another precision. `runtime`: as given, None where there is no choice.

    Raises:
      UsageError: a value that is not accepted, or one of these flags without int8 or fp8.
    """
    given = {
        "--calibration": found.calibration,
        "--calibrator": found.calibrator,
        "--calibration-images": found.calibration_images,
        "--quant-keep": found.quant_keep,
        "--quant-rest": found.quant_rest,
    }
    if precision not in QUANTISED:
        for flag, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{flag} is about --precision {' or '.join(QUANTISED)}, and --precision {precision} was "
                    "asked for"
                )
        return None
    if found.keep_fp32:
        raise UsageError("--keep-fp32 is about half precision; --quant-keep names layers that stay float")
    # ONNX Runtime's CPU provider has float16 arithmetic for few operators and casts for the others
    rest = found.quant_rest or (FLOATS[1] if runtime == "onnxruntime" else FLOATS[0])
    keep = KEEP if found.quant_keep is None else _names(found.quant_keep)
    accepted = CALIBRATORS[precision]
    if found.calibrator in CALIBRATORS["int8"] and found.calibrator not in accepted:
        raise UsageError(
            f"--calibrator {found.calibrator} chooses among equal steps, which {precision} does not have; "
            f"accepted are {', '.join(accepted)}"
        )
    return QuantiseRequest(
        precision=precision,
        calibration=Path(found.calibration).expanduser() if found.calibration else None,
        calibrator=choice("--calibrator", found.calibrator or accepted[0], accepted),
        images=checked(positive, found.calibration_images or str(CALIBRATION_IMAGES), "--calibration-images"),
        keep=keep,
        rest=choice("--quant-rest", rest, FLOATS),
    )


def check_targets(precision: str, targets: Sequence[str]) -> None:
    """Raises `UsageError` for a GPU generation, such as "SM86", that has no numbers of `precision`."""
    if precision != "fp8":
        return
    for target in targets:
        number = target.removeprefix("SM")
        if number.isdecimal() and int(number) < FIRST_FP8:
            raise UsageError(
                f"--targets {target}: fp8 needs compute capability {FIRST_FP8 / 10:g} or above (Ada, Hopper, "
                f"Blackwell); leave {target} out or choose --precision int8 or fp16"
            )


def _accepted(precision: str) -> str:
    first, *others = CALIBRATORS[precision]
    return f"{first} (default), {', '.join(others)}"


def _names(text: str) -> tuple[str, ...]:
    """`--quant-keep none` or an empty text: every layer."""
    return tuple(name.strip() for name in text.split(",") if name.strip() and name.strip() != "none")
