"""What building from a bundle found out: its verdict, the lines the user reads, and report.json."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import detections, provenance
from export.batch import BatchRange
from export.bundle.flags import BundleRequest
from export.bundle.read import Bundle
from export.bundle.trial import why_no_tf32, why_not_gated
from export.engine_state import EngineState
from export.gate import amount
from export.parity import Comparison
from export.precision.tf32_gate import TF32, line_of
from export.proof import engine_proof
from export.report_parts import finite, in_bytes
from export.runtimes import Built, Choice
from export.runtimes.kernels import summary
from export.trial import Trial

#: As of `export.report`: the fields of both reports are the same.
REPORT_FORMAT = 1


@dataclass(frozen=True)
class Result:
    """`compared`: model.onnx against the expected outputs, None if it was not run here."""

    request: BundleRequest
    bundle: Bundle
    batch: BatchRange
    choice: Choice
    compared: list[Comparison] | None
    built: Built | None
    build_error: str | None
    trial: Trial

    @property
    def onnx_passed(self) -> bool:
        return all(line.passed for line in self.compared or ())

    @property
    def accepted(self) -> bool:
        return self.onnx_passed and self.build_error is None and self.trial.passed

    @property
    def engine(self) -> EngineState:
        return EngineState(self.choice, self.built, self.trial)

    def reasons(self) -> list[str]:
        """Why it was not accepted; empty if it was."""
        lines = [*(self.compared or ()), *self.trial.comparisons]
        found = [line.sentence() for line in lines if not line.passed]
        return found + ([self.build_error] if self.build_error else []) + list(self.trial.errors)

    def notices(self) -> list[str]:
        """What a reader should know although it is no failure."""
        found = [self.choice.notice] if self.choice.notice else []
        here, there = (
            known.get("onnxruntime") for known in (provenance.versions(), self.bundle.manifest["versions"])
        )
        if not self.onnx_passed and here != there:  # 1.23 rounds float16 quantisation worse than 1.31 does
            found.append(f"model.onnx passed in ONNX Runtime {there}, and failed in {here} here")
        if self.request.tf32 and (reason := why_no_tf32(self.bundle)) is not None:
            found.append(f"{reason}; what it costs shows where the engine runs")
        gate = self.bundle.gate
        if gate.answers == "detections":
            held_to = ["onnx", "engine", *(["engine_tf32"] if self.request.tf32 else [])]
            said = (detections.caution(gate.expected, gate.tolerances[key]) for key in held_to)
            found += dict.fromkeys(text for text in said if text)
        return found + ([why_not_gated(self.bundle) or ""] if self.compared is None else [])

    def lines(self, paths: Sequence[Path]) -> str:
        """The verdict in a few lines."""
        bundle = self.bundle
        lines = [
            f"{'accepted' if self.accepted else 'REJECTED'}: {bundle.name}, {bundle.precision}, "
            f"batch {self.batch}, from {bundle.folder}"
            + (", RANDOM WEIGHTS" if bundle.manifest["model"].get("random_weights") else "")
        ]
        lines += [f"  reason   {reason}" for reason in self.reasons()]
        lines += [f"  notice   {notice}" for notice in self.notices()]
        ends = bundle.ends.line(str(bundle.manifest["model"].get("input_layout")))
        lines += [f"  ends     {ends}"] if ends else []
        plain = [line for line in self.compared or () if line.candidate != TF32]
        for candidate, compared in (("ONNX Runtime", plain), ("the engine", self.trial.comparisons)):
            if compared:
                worst = max(compared, key=lambda line: line.share)
                verdict = "passed" if all(line.passed for line in compared) else "FAILED"
                lines.append(f"  gate     {verdict}: {candidate} {amount(worst)} on {worst.images} images")
        tf32 = line_of(self.compared or ())
        lines += [f"  tf32     {tf32}"] if tf32 else []
        lines.append(f"  engine   {self.engine.line()}")
        lines += self.engine.options_lines(self.request.builder)
        lines += [f"  latency  {latency.line()}" for latency in self.trial.latencies]
        lines += [f"  wrote    {path}  ({in_bytes(path.stat().st_size)})" for path in paths]
        return "\n".join(lines)

    def report(self, seconds: Mapping[str, float]) -> dict[str, Any]:
        """report.json, with the fields of an export's report; `bundle` says where it was built from.

        What only JAX can tell (the training form, errors by stage) is taken from the bundle's manifest.
        """
        manifest, recorded = self.bundle.manifest, self.bundle.manifest["report"]
        now = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017 - datetime.UTC is of Python 3.11
        sizes = {"minimum": self.batch.minimum, "typical": self.batch.typical, "maximum": self.batch.maximum}
        contents = {"model.onnx": self.bundle.model}
        if self.built is not None and self.built.engine is not None:
            contents["model.engine"] = self.built.engine
        files = {name: {"bytes": len(c), "sha256": provenance.sha256(c)} for name, c in contents.items()}
        return finite(
            {
                **recorded,
                "format": REPORT_FORMAT,
                "created": now.isoformat(timespec="seconds"),
                "command": shlex.join(["python", "-m", "export.to_trt", *self.request.argv]),
                "accepted": self.accepted,
                "reasons": self.reasons(),
                "notices": [*self.notices(), *self.engine.notices],
                "model": {**manifest["model"], "batch": sizes},
                "bundle": {
                    "folder": str(self.bundle.folder),
                    "checkpoint": manifest.get("checkpoint"),
                    "created": manifest.get("created"),
                    "command": manifest.get("command"),
                    "versions": manifest["versions"],
                    "onnx_run_here": self.compared is not None,
                },
                "gate": self._gate(),
                "engine": self._engine(),
                "latency": [one.as_dict() for one in self.trial.latencies],
                "seconds": {name: round(value, 3) for name, value in seconds.items()},
                "files": files,
                "proof": {**recorded["proof"], **engine_proof(self.engine.kernels or (), manifest["nodes"])},
                "versions": {**provenance.versions(), **self.choice.runtime.versions()},
                "machine": provenance.machine(),
                "gpu": provenance.gpu(),
            }
        )

    def _gate(self) -> dict[str, Any]:
        recorded = self.bundle.manifest["report"]["gate"]
        ours = [*(self.compared or ()), *self.trial.comparisons]
        keeps_tf32 = self.request.tf32 and why_no_tf32(self.bundle) is not None
        theirs = [
            line
            for line in recorded["comparisons"]
            if line.get("candidate") not in ("model.engine", *(() if keeps_tf32 else (TF32,)))
            and (self.compared is None or not str(line.get("candidate")).startswith("model.onnx"))
        ]
        return {
            **recorded,
            "passed": self.onnx_passed and all(line.passed for line in self.trial.comparisons),
            "comparisons": theirs + [line.as_dict() for line in ours],
        }

    def _engine(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "runtime": self.choice.runtime.name,
            "status": self.engine.status,
            "why_not_run": self.trial.why_not,
            "error": self.build_error,
            "tf32": self.request.tf32,
            "targets": list(self.request.targets),
            "options": self.engine.options(self.request.builder),
        }
        if self.built is not None and self.built.engine is not None:
            gate = self.bundle.gate
            data |= {
                "profile": self.batch.profile(gate.input, gate.inputs.shape[1:]),
                "build_seconds": round(self.built.seconds, 3),
                "bytes": len(self.built.engine),
                "layers_parsed": self.built.layers_parsed,
                "warnings": list(self.built.warnings),
            }
        return data | (summary(self.engine.kernels) if self.engine.kernels else {})
