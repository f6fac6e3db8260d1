"""What the README says is true: its Python runs, its commands and links exist, its table is current."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def test_python_block_runs(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block, names)
    import numpy as np

    reference = names["model"].apply(names["variables"], names["images"])
    np.testing.assert_allclose(names["logits"], reference, atol=1e-5 * float(abs(reference).max()))
    assert (tmp_path / "next_vit_s.safetensors").is_file()
    nodes = [node.op_type for node in names["onnx_model"].graph.node]
    assert nodes.count("Conv") > 90 and len(nodes) < 293  # one node a convolution; the twin has 293


def test_links_lead_somewhere(readme: str, repository: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert targets
    assert not [t for t in targets if not (repository / t).exists()]


def test_make_targets_and_modules_exist(readme: str, repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", readme, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for module in re.findall(r"python -m ([\w.]+)", readme):
        assert (repository / (module.replace(".", "/") + ".py")).is_file(), module


def test_model_table_is_that_of_the_registry(repository: Path) -> None:
    """`make readme` writes the table; this fails when the registry has changed since."""
    script = repository / "docs" / "write_model_table.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
