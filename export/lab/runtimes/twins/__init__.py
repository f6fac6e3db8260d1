"""The twin of a registry model in PyTorch: timm's network of the same architecture, for reference.

Twins live in another environment (--torch-python), in a process for each contender.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export._optional import MissingExtra, available
from export.lab.files import Files
from export.lab.rounds import Ready, Sample
from export.lab.runtimes import not_on_cpu
from export.lab.runtimes.twins.process import Worker
from export.lab.setting import Setting
from export.lab.subject import Subject
from export.runtimes import BuildError
from hvjax.registry import get_spec

SCRIPT = Path(__file__).with_name("torch_script.py")
#: Seconds until torch has to be imported, a network prepared (torch.compile takes minutes for some), sampled.
IMPORT, PREPARE, SAMPLE = 120.0, 600.0, 120.0


def make_twins(name: str, python: Path | None = None) -> Twins:
    """The runtime called `name`: "torch", "torch_compile" or "torch_onnx".

    Args:
      python: an interpreter with torch and timm; None for this one.

    Raises:
      MissingExtra: it has them not.
    """
    if python is None:
        if not (available("torch") and available("timm")):
            raise MissingExtra(
                "this needs torch and timm: pip install torch timm, or name a Python that has them by "
                "--torch-python"
            )
        python = Path(sys.executable)
    try:
        about = _about((str(python), str(SCRIPT)))
    except BuildError as error:
        raise MissingExtra(str(error)) from error
    return Twins(name, (str(python), str(SCRIPT)), about)


@functools.cache
def _about(command: tuple[str, ...]) -> Mapping[str, Any]:
    worker = Worker(command, "torch")
    try:
        return worker.ask({"do": "about"}, IMPORT)
    finally:
        worker.close()


class Twins:
    """`torch`: eager. `torch_compile`: torch.compile's default mode, or "reduce-overhead" for
    `Setting.cuda_graph`. `torch_onnx`: exported by torch.onnx (its default exporter) and run in ONNX Runtime.

    Deployed subjects get timm's reparameterised form, where it has one; batch norms that timm leaves stay.
    On a GPU float32 means float32 (no TF32), memory is channels-last, and cuDNN chooses its kernels by
    measuring.

    Args:
      command: starts what `process.Worker` talks to.
      about: what it says of itself.
    """

    def __init__(self, name: str, command: tuple[str, ...], about: Mapping[str, Any]) -> None:
        self.name, self._command, self._about = name, command, about
        self.device: str = about["device"]

    def why_not(self, setting: Setting) -> str | None:
        if self.name == "torch_onnx":
            if not self._about["exports"]:
                return "torch.onnx needs onnx and onnxscript beside torch"
            return self._run_by().why_not(setting)
        if self.device == "cpu":
            if setting.precision != "fp32":
                return f"the lab measures twins in float32 on a CPU, not in {setting.precision}"
            return not_on_cpu(setting)
        if setting.cuda_graph and self.name == "torch":
            return "eager PyTorch launches kernel by kernel"
        return None

    def refuses(self, subject: Subject, setting: Setting) -> str | None:
        facts = subject.facts
        if "model" not in facts:
            return "it is no model of the registry and has no twin in timm"
        if get_spec(facts["model"]).timm is None:
            return f"timm has no twin of {facts['model']}"
        if facts["overrides"]:
            return f"the twin in timm is the published network, without {', '.join(facts['overrides'])}"
        return None if facts["part"] == "classifier" else "the twin in timm is the whole classifier"

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> Ready:
        asked = {
            "model": get_spec(subject.facts["model"]).timm,
            "shape": list(subject.shape),
            "batch": setting.batch,
            "precision": setting.precision,
            "fuse": subject.facts["form"] == "deploy",
        }
        worker = Worker(self._command, f"{self.name} {asked['model']}")
        if self.name == "torch_onnx":
            return self._prepare_file(worker, asked, subject, setting)
        asked |= {
            "threads": setting.threads,
            "compile": self.name == "torch_compile",
            "cuda_graph": setting.cuda_graph,
            "transfers": setting.transfers,
        }
        try:
            told = worker.ask({"do": "prepare", **asked}, PREPARE)
        except BaseException:
            worker.close()
            raise
        return TwinReady(worker, told["clock"], told["memory"])

    def versions(self) -> dict[str, str]:
        run_by = self._run_by().versions() if self.name == "torch_onnx" else {}
        return {**self._about["versions"], **run_by}

    def _run_by(self) -> Any:
        """The runtime of the exported file: that of the device that torch has."""
        if self.device == "gpu":
            from export.lab.runtimes.onnxruntime_cuda import OnnxRuntimeCuda

            return OnnxRuntimeCuda()
        from export.lab.runtimes.onnxruntime import OnnxRuntimeCpu

        return OnnxRuntimeCpu()

    def _prepare_file(
        self, worker: Worker, asked: dict[str, Any], subject: Subject, setting: Setting
    ) -> Ready:
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "twin.onnx"
                worker.ask({"do": "write", **asked, "file": str(file)}, PREPARE)
                model = file.read_bytes()
        finally:
            worker.close()
        return self._run_by().load(model, subject, setting)


class TwinReady:
    """Samples are taken in the other process; the pipe between is outside of them."""

    def __init__(self, worker: Worker, clock: str, memory: Mapping[str, int]) -> None:
        self._worker, self.clock, self.memory = worker, clock, memory

    def sample(self, count: int = 1) -> list[Sample]:
        found = self._worker.ask({"do": "sample", "count": count}, SAMPLE)
        return [Sample(ms, disturbed) for ms, disturbed in found]

    def reopen(self) -> None:
        self._worker.ask({"do": "reopen"}, SAMPLE)

    def close(self) -> None:
        self._worker.close()
