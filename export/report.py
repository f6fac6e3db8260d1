"""report.json, report.html and report.png: one dictionary, written and drawn."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Mapping
from typing import Any

from export import provenance
from export.files import OutputFolder
from export.graph import INPUT
from export.outcome import Outcome
from export.proof import proof_data
from export.quantize.names import QUANTISED
from export.report_parts import finite
from export.runtimes.kernels import summary

#: Raised when a field changes its meaning or goes away; new fields do not raise it.
FORMAT = 1


def write_report(outcome: Outcome, folder: OutputFolder, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Stages report.json, report.html and report.png of an export in `folder`; returns the first."""
    from export.report_html import page
    from export.report_picture import png

    data = report_data(outcome, seconds)
    folder.write("report.json", json.dumps(data, indent=2, allow_nan=False) + "\n")
    picture = png(data)
    folder.write("report.png", picture)
    folder.write("report.html", page(data))
    return data


def report_data(outcome: Outcome, seconds: Mapping[str, float]) -> dict[str, Any]:
    """The report as plain JSON values; every number of the pictures is in it.

    Infinite and undefined errors (a file that answers NaN) are written as null.
    """
    data = {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", f"export.{outcome.request.command}", *outcome.request.argv]),
        "accepted": outcome.accepted,
        "reasons": outcome.reasons(),
        "notices": outcome.notices(),
        "model": _model(outcome),
        "gate": _gate(outcome),
        "graph": outcome.economy.as_dict(),
        "engine": _engine(outcome),
        "latency": [found.as_dict() for found in outcome.trial.latencies],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "files": _files(outcome),
        "proof": proof_data(outcome),
        "precision": outcome.precision.as_dict() if outcome.precision else None,
        "worth": outcome.worth.as_dict() if outcome.worth else None,
        **{name: None for name in QUANTISED},
        **({outcome.quantised.precision: outcome.quantised.as_dict()} if outcome.quantised else {}),
        "versions": {**provenance.versions(), **outcome.choice.runtime.versions()},
        "machine": provenance.machine(),
        "gpu": provenance.gpu(),
    }
    return finite(data)


def _model(outcome: Outcome) -> dict[str, Any]:
    source, request = outcome.source, outcome.request
    kind = outcome.kind
    height, width = outcome.size
    picture, _ = request.ends.picture(outcome.size, source.crop_pct)
    channels = source.model.config.in_channels
    batch = "batch" if request.batch.dynamic else request.batch.typical
    nchw = request.input_layout == "nchw"
    return {
        "name": source.name,
        "answers": kind.name,
        "outputs": list(kind.outputs),
        "source": source.described,
        "random_weights": source.random,
        "precision": request.precision,
        "via": request.via,
        "batch": {
            "minimum": request.batch.minimum,
            "typical": request.batch.typical,
            "maximum": request.batch.maximum,
        },
        "image_size": [height, width],
        **request.ends.as_dict(),
        "input_layout": request.input_layout,
        "input_dtype": request.ends.dtype,
        "input_shape": [batch, channels, *picture] if nchw else [batch, *picture, channels],
        "mean": list(source.mean),
        "std": list(source.std),
        "num_classes": source.model.config.num_classes,
        "class_names": list(source.class_names),
        "training": dict(source.training),
    }


def _gate(outcome: Outcome) -> dict[str, Any]:
    gate = outcome.gate
    begins = gate.begins_at
    return {
        "passed": gate.passed,
        "limit": gate.limit,
        "stage_limit": gate.inside,
        "behind": gate.behind,
        "emulated": gate.emulated,
        "images": {"count": len(outcome.images), "source": outcome.images.source},
        "skipped_images": list(outcome.images.skipped),
        "comparisons": [line.as_dict() for line in (*gate.comparisons, *outcome.trial.comparisons)],
        "stages": [stage.as_dict() for stage in gate.stages],
        "noise": dict(gate.noise),
        "begins_at": begins.stage if begins else None,
    }


def _engine(outcome: Outcome) -> dict[str, Any]:
    built = outcome.built
    data: dict[str, Any] = {
        "runtime": outcome.choice.runtime.name,
        "status": outcome.engine.status,
        "why_not_run": outcome.trial.why_not,
        "error": outcome.build_error,
        "tf32": outcome.request.tf32,
        "targets": list(outcome.request.targets),
        "options": outcome.engine.options(outcome.request.builder),
    }
    if built is not None and built.engine is not None:
        shape = _model(outcome)["input_shape"][1:]
        data |= {
            "profile": outcome.request.batch.profile(INPUT, shape),
            "build_seconds": round(built.seconds, 3),
            "bytes": len(built.engine),
            "layers_parsed": built.layers_parsed,
            "warnings": list(built.warnings),
        }
    if outcome.engine.kernels:
        data |= summary(outcome.engine.kernels)
    return data


def _files(outcome: Outcome) -> dict[str, dict[str, Any]]:
    contents = {"model.onnx": outcome.model}
    if outcome.built is not None and outcome.built.engine is not None:
        contents["model.engine"] = outcome.built.engine
    return {name: {"bytes": len(c), "sha256": provenance.sha256(c)} for name, c in contents.items()}
