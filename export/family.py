"""Several sizes in `--image-size`: one export a size, side by side in one folder, and a summary of them all.

    --image-size 224,256,384   ->   OUT/224x224  OUT/256x256  OUT/384x384  OUT/family.json  OUT/family.html

An ONNX file and its engine are for one image size: dimensions that are known let the builder choose and fuse,
and tables of positions have one size anyway. Each size is an export like any other, with a gate and a report
of its own. The summary is read from these reports, so that it is right whatever happened between two of them,
and a size can be added later.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from export.arguments import UsageError
from export.at_size import at_size, model_at
from export.family_page import page
from export.family_table import text
from export.files import PRODUCTS, REJECTED
from export.flags import Request
from export.image_size import Size, shown
from export.interrupt import Interrupted
from export.kind import Kind, kind_of, outputs
from export.load import Source
from export.parity import BrokenReference
from export.report_lines import worst_line
from hvjax.facts import count_macs
from hvjax.structure import abstract_variables

FORMAT = 1
JSON, HTML = "family.json", "family.html"
_FOLDER = re.compile(r"(\d+)x(\d+)")
_REPORT = "report.json"

Row = dict[str, Any]


def export_family(request: Request, source: Source, one: Callable[[Request], int], say: str) -> int:
    """Exports each of `request.family` with `one`; returns the exit status: 0 if all were accepted.

    A size that fails leaves the others as they are. What was finished before an interruption is kept.

    Args:
      source: what `request` is about; asked which sizes it takes before any work is done.
      one: exports one size; returns 0 or 1, or raises RuntimeError or BrokenReference where there is not even
        a report.
      say: the beginning of messages, "python -m export.to_trt: ".

    Raises:
      UsageError: a size that the model cannot take, or results that are there already.
    """
    for size in request.family:
        at_size(source, size, adapt_positions=request.adapt_positions)
    root = request.family_folder(source.name)
    _check_folder(root, request, source)
    try:
        data = _export_all(request, source, root, one, say)
    except Interrupted as interrupted:
        finished = [size for size in request.family if (root / shown(size) / _REPORT).is_file()]
        if finished:  # perhaps one more than the summary has
            _write(root, summary(root, request, source, {}))
        print(f"\n{say}{_interrupted(root, request, finished)}", file=sys.stderr)
        return interrupted.exit_status
    print(text(data))
    print(f"  wrote    {root / JSON}, {root / HTML}")
    ours = [row for row in data["sizes"] if tuple(row["image_size"]) in request.family]
    return 0 if all(row["accepted"] for row in ours) else 1


def _export_all(
    request: Request, source: Source, root: Path, one: Callable[[Request], int], say: str
) -> dict[str, Any]:
    """Exports one size after the other, the summary up to date after each; returns the last."""
    broken: dict[Size, str] = {}
    data: dict[str, Any] = {}
    for number, size in enumerate(request.family, 1):
        print(f"size {number} of {len(request.family)}: {shown(size)}", file=sys.stderr)
        try:
            one(dataclasses.replace(request, image_size=size, family=(), out=root / shown(size)))
        except (RuntimeError, BrokenReference) as error:
            broken[size] = str(error)
            print(f"{say}failed: {shown(size)}: {error}", file=sys.stderr)
        data = summary(root, request, source, broken)
        _write(root, data)
    return data


def summary(root: Path, request: Request, source: Source, broken: Mapping[Size, str]) -> dict[str, Any]:
    """What family.json says: the sizes in `root`, smallest first, and those that gave no report."""
    kind = kind_of(source.model, backbone=request.backbone)
    rows = [_row(folder, report, source, kind) for folder, report in _reports(root)]
    rows = [row for row in rows if tuple(row["image_size"]) not in broken]
    rows += [_broken(size, reason) for size, reason in broken.items()]
    rows.sort(key=lambda row: (row["pixels"], row["image_size"]))
    return {
        "format": FORMAT,
        "model": source.name,
        "answers": kind.name,
        "source": source.described,
        "random_weights": source.random,
        "precision": request.precision,
        "batch": dataclasses.asdict(request.batch),
        "accepted": all(row["accepted"] for row in rows),
        "sizes": rows,
    }


def _row(folder: Path, report: Mapping[str, Any], source: Source, kind: Kind) -> Row:
    height, width = report["model"]["image_size"]
    worst = worst_line(report["gate"])
    engine, latency = report["engine"], report["latency"]
    return {
        "image_size": [height, width],
        "folder": str(folder),
        "accepted": report["accepted"],
        "reasons": report["reasons"],
        "notices": report["notices"],
        "pixels": height * width,
        "macs": _macs(kind, model_at(source.model, (height, width)), (height, width)),
        "error": worst["relative"],
        "limit": worst["limit"],
        "nodes": report["graph"]["nodes"],
        "transposes": report["graph"]["transposes"],
        "onnx_bytes": report["graph"]["bytes"],
        "engine": engine["status"],
        "kernels": engine.get("kernels"),
        "data_movements": engine.get("data_movements"),
        "engine_bytes": engine.get("bytes"),
        "latency": latency[-1] if latency else None,  # of the typical batch
        "seconds": round(sum(report["seconds"].values()), 1),
    }


def _broken(size: Size, reason: str) -> Row:
    nothing = dict.fromkeys(
        ("error", "limit", "nodes", "transposes", "onnx_bytes", "kernels", "data_movements", "engine_bytes",
         "latency", "macs", "seconds", "folder")
    )  # fmt: skip
    found = {
        "image_size": list(size),
        "accepted": False,
        "reasons": [reason],
        "notices": [],
        "engine": "none",
    }
    return {**nothing, **found, "pixels": size[0] * size[1]}


@lru_cache(maxsize=32)
def _macs(kind: Kind, model: Any, size: Size) -> int:
    """Multiply-adds of convolutions and matrix products for one image, of what the file computes."""
    deploy = model.clone(deploy=True)
    images = jax.ShapeDtypeStruct((1, *size, deploy.config.in_channels), np.float32)

    def answer(variables: Any, pictures: Any) -> Any:
        return outputs(kind, deploy, variables, pictures)

    return count_macs(answer, abstract_variables(deploy), images)


def _reports(root: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    """(folder below `root`, report) of each size that has one."""
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not _FOLDER.fullmatch(folder.name):
            continue
        places = [place for place in (folder, folder / REJECTED) if (place / _REPORT).is_file()]
        if places:
            # what was rejected now lies beside what was accepted before: the newer one is the answer
            newest = max(places, key=lambda place: (place / _REPORT).stat().st_mtime_ns)
            found.append((newest.relative_to(root), json.loads((newest / _REPORT).read_text())))
    return found


def _check_folder(root: Path, request: Request, source: Source) -> None:
    there = [s for s in request.family if any((root / shown(s) / name).exists() for name in PRODUCTS)]
    if there and not request.overwrite:
        names = ", ".join(map(shown, there))
        raise UsageError(
            f"{root} already holds {names}: add --overwrite to replace, leave these out of --image-size, "
            "or choose another --out"
        )
    kind = kind_of(source.model, backbone=request.backbone)
    wanted = (source.name, kind.name, request.precision, dataclasses.asdict(request.batch))
    try:
        for folder, report in _reports(root):
            model = report["model"]
            answers = model.get("answers", "classes")
            if (model["name"], answers, model["precision"], model["batch"]) != wanted:
                what = model["name"] + (f" ({answers})" if answers != kind.name else "")
                raise UsageError(
                    f"{root / folder} is of {what}, {model['precision']}, batch "
                    f"{_batch(model['batch'])}, not of this family: choose another --out"
                )
            _row(folder, report, source, kind)  # what is not an export's report shows now, not after an hour
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--out {root} holds a {_REPORT} that is not of an export: {error}") from error


def _batch(batch: Mapping[str, int]) -> str:
    smallest, typical, largest = batch["minimum"], batch["typical"], batch["maximum"]
    return str(typical) if smallest == largest else f"{smallest}:{typical}:{largest}"


def _interrupted(root: Path, request: Request, finished: Sequence[Size]) -> str:
    kept = ", ".join(map(shown, finished)) or "nothing"
    missing = ", ".join(shown(size) for size in request.family if size not in finished) or "nothing"
    return f"interrupted; kept {kept} in {root}; not made: {missing}"


def _write(root: Path, data: Mapping[str, Any]) -> None:
    """Replaces the two files one after the other, each in one step."""
    root.mkdir(parents=True, exist_ok=True)
    contents: Sequence[tuple[str, str]] = ((JSON, json.dumps(data, indent=2) + "\n"), (HTML, page(data)))
    for name, content in contents:
        partial = root / f".partial-{name}"
        partial.write_text(content)
        os.replace(partial, root / name)
