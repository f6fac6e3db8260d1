"""What every study must stand: contenders that fail, and heats that are split because memory is small."""

from __future__ import annotations

import csv
import importlib
import zlib
from pathlib import Path

import pytest
from made_up_lab import MadeUp, MadeUpRuntime

from export.lab import heat
from export.lab.files import Files
from export.lab.rounds import Ready
from export.lab.setting import Setting
from export.lab.study import Study, main
from export.lab.subject import Subject
from export.runtimes import BuildError

STUDIES = (
    "density", "depth_shift", "fastvit_claims", "hybrid_strategy", "large_kernel", "mixnet", "next_blocks",
    "repmixer", "t4_table",
)  # fmt: skip


class Pretended(MadeUpRuntime):
    """Made-up times from 1 to 8 ms for whatever it is given; of every three subjects, the one with the number
    `fails` does not build."""

    fails: int | None = None

    def prepare(self, subject: Subject, setting: Setting, files: Files) -> Ready:
        if subject.name not in self.prepared:
            self.prepared.append(subject.name)
        if self.prepared.index(subject.name) % 3 == self.fails:
            raise BuildError(f"{subject.name} does not build")
        ms = 1.0 + zlib.crc32(subject.name.encode()) % 700 / 100
        return MadeUp(ms, name=f"{subject.name} {setting.precision}", within=0.01)


def run(name: str, runtime: Pretended, out: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    study: Study = importlib.import_module(f"export.studies.{name}").STUDY
    monkeypatch.setattr("export.lab.options.make", lambda name, torch_python=None: runtime)
    monkeypatch.setattr("export.studies.t4_table.PROFILED", ())  # a made-up runtime has no profile
    argv = ["--small", "--runtimes", "onnxruntime", "--seconds", "0.005", "--out", str(out)]
    return main(study, argv)


@pytest.mark.parametrize("name", STUDIES)
def test_the_others_are_shown_where_one_fails(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heat, "MOST", 3)
    runtime = Pretended({}, precisions=("fp32", "fp16"))
    runtime.fails = 1
    assert run(name, runtime, tmp_path, monkeypatch) == 1
    assert "does not build" in capsys.readouterr().err
    page = (tmp_path / f"{name}.md").read_text()
    assert "## Not measured" in page and "does not build" in page
    assert {file.suffix for file in tmp_path.glob(f"{name}.*")} == {".csv", ".jsonl", ".md", ".png", ".svg"}


def test_ratios_are_there_where_heats_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat, "MOST", 2)
    assert run("density", Pretended({}, precisions=("fp32", "fp16")), tmp_path, monkeypatch) == 0
    with (tmp_path / "density.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(row["ratio"] for row in rows if row["reference"])
    assert sum(not row["reference"] for row in rows) < len(rows) / 2
