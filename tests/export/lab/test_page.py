"""docs/latency.md: built from the committed stores, and from none, few and many."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest
from made_up_records import record

from export.lab.page import Results, StudyPage, page
from export.lab.record import Record


def heat(name: str, seed: int = 0, device: str = "cpu", **times: float) -> list[Record]:
    where = {"runtime": "tensorrt", "device": "gpu", "gpu": "A GPU"} if device == "gpu" else {}
    made = [record(one, ms, heat=name, seed=seed, **where) for one, ms in {"resnet50": 10.0, **times}.items()]
    return [replace(one, reference="resnet50") for one in made]


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_committed_page_is_what_its_writer_makes(repository: Path) -> None:
    """`python docs/write_latency_page.py` writes it."""
    script = repository / "docs" / "write_latency_page.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_measured_is_said() -> None:
    text = page(Results(studies=[StudyPage("density", "Blocks", None)]))
    assert "Nothing has been measured yet." in section(text, "Where it was measured")
    assert "has not been run for this page yet" in section(text, "Models on a CPU")
    assert "**No figure of a GPU has been measured yet.**" in section(text, "Models on a GPU")
    assert "`python -m export.studies.density`" in section(text, "What was published, and what came of it")
    assert "has not been run twice" in section(text, "Two full runs")


def test_models_of_cpu_and_gpu() -> None:
    bench = [*heat("a", swin_t=20.0, fastvit_t8=5.0), *heat("g", device="gpu", swin_t=1.0)]
    text = page(Results(bench=bench, every=bench))
    cpu, gpu = section(text, "Models on a CPU"), section(text, "Models on a GPU")
    assert "### onnxruntime, fp32, batch 1: A Processor, 2 CPUs" in cpu and "A GPU" not in cpu
    rows = [line.split(" | ") for line in cpu.splitlines() if line.startswith(("| swin", "| fast", "| res"))]
    assert [row[0] for row in rows] == ["| fastvit_t8", "| resnet50", "| swin_t"]  # from fast to slow
    assert [row[8] for row in rows] == ["faster", "(reference)", "slower"]
    assert "### tensorrt, fp32, batch 1: A GPU (A Processor, 2 CPUs)" in gpu
    assert "No figure of a GPU" not in text


def test_studies_on_a_gpu_are_no_bench_on_a_gpu() -> None:
    text = page(Results(every=heat("g", device="gpu", swin_t=1.0)))
    assert "The studies have been run on a GPU, `python -m export.bench` has not." in text


def test_claims_are_counted_and_shown() -> None:
    claim = {
        "claim": "V3 takes longer than V5", "source": "a paper, section 3", "runtime": "xla", "device": "cpu",
        "precision": "fp32", "batch": "1", "published": "2.3", "ratio": "1.5", "ratio_low": "1.4",
        "ratio_high": "1.6", "outcome": "reproduced",
    }  # fmt: skip
    missing = {
        **claim,
        "ratio": "",
        "ratio_low": "",
        "ratio_high": "",
        "published": "",
        "outcome": "not measured",
    }
    studies = [
        StudyPage("large_kernel", "Kernels", "results/lab/large_kernel.md", [claim, claim, missing]),
        StudyPage("mixnet", "A path", None),
    ]
    found = section(page(Results(studies=studies)), "What was published, and what came of it")
    assert "| [large_kernel](results/lab/large_kernel.md) | Kernels | 2 | 0 | 0 | 1 |" in found
    assert "| mixnet | A path | - | - | - | - |" in found
    assert "| xla, fp32, batch 1 | 2.3 | 1.500 (1.400 to 1.600) | reproduced |" in found
    assert "| xla, fp32, batch 1 |  |  | not measured |" in found
    assert "On a GPU nothing has been measured yet." in found
    studies = [StudyPage("large_kernel", "Kernels", None, [{**claim, "device": "gpu"}])]
    found = section(page(Results(studies=studies)), "What was published, and what came of it")
    assert "| xla, fp32, batch 1, on a GPU | 2.3 |" in found and "On a GPU nothing" not in found


@pytest.mark.parametrize(
    ("times", "line"),
    [
        # 4 verdicts, of which one is of two that are equal
        ({"a": 5.0, "b": 20.0, "c": 30.0, "d": 10.0}, "| 4 | 1 | 25% | 1 | 0% | without the equal ones |"),
        ({"a": 5.0, "b": 20.0}, "| 2 | 0 | 0% | 0 | 0% | yes |"),
    ],
)
def test_indecision(times: dict[str, float], line: str) -> None:
    records = heat("h", **times)
    probes = [replace(one, study="calibrate") for one in heat("p", a=10.0, b=10.0)]
    assert line in section(page(Results(every=[*records, *probes])), "How often the method cannot tell")


def test_two_runs() -> None:
    text = page(Results(bench=heat("a", 1, swin_t=20.0), again=heat("b", 2, swin_t=20.0)))
    assert "| onnxruntime | 2 | 100% |" in section(text, "Two full runs")
    text = page(Results(bench=heat("a", 1, swin_t=20.0), again=heat("a", 1, swin_t=20.0)))
    assert "The two runs cannot be compared: the two stores hold the same heats" in text


@pytest.fixture
def writer(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("writer", repository / "docs" / "write_latency_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_writer_finds_what_is_committed(writer: ModuleType, tmp_path: Path) -> None:
    def put(name: str, records: list[Record]) -> None:
        path = tmp_path / "lab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in records))

    put("bench.jsonl", [*heat("a", swin_t=20.0), replace(record("tiny", 1.0), small=True)])
    put("bench_again.jsonl", heat("b", 1, swin_t=20.0))
    put("density.jsonl", [replace(one, study="density") for one in heat("c", block=2.0)])
    put("gpu/bench.jsonl", heat("g", device="gpu", swin_t=1.0))
    (tmp_path / "lab" / "density.md").write_text("# Density")
    (tmp_path / "lab" / "density.claims.csv").write_text("claim,outcome\nit is dense,reproduced\n")
    (tmp_path / "lab" / "bench.png").write_bytes(b"")
    found = writer.results([tmp_path / "lab"], tmp_path)
    assert [len(found.bench), len(found.again), len(found.every)] == [4, 2, 8]  # none of the small ones
    density = next(one for one in found.studies if one.name == "density")
    assert density.link == "lab/density.md" and density.claims == [
        {"claim": "it is dense", "outcome": "reproduced"}
    ]
    assert {one.name for one in found.studies} >= {
        "t4_table",
        "mixnet",
        "repmixer",
        "hybrid_strategy",
        "pareto",
    }
    assert all("python -m" not in one.title for one in found.studies)
    assert found.pictures == {"Latency of all models": "lab/bench.png"}
