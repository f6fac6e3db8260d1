"""What earlier releases wrote is still read: weights files, checkpoints, and runs that are not done.

tests/goldens/formats/<version>.tar.xz holds the workdir of a run of four steps, as that release left it
(tests/goldens/record_workdir.py packs one).
"""

import json
import shutil
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

import hvjax
from train_tpu.checkpointing import workdir
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.errors import UserError
from train_tpu.train import run

RELEASES = sorted((Path(__file__).parents[2] / "goldens" / "formats").glob("*.tar.xz"))
# float32 logits of order 1 through another version of the network's operators and of XLA
LOGITS = 1e-4


@pytest.fixture(params=RELEASES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The workdir of a released version."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "workdir"


def test_there_is_one_of_each_release(repository: Path) -> None:
    changelog = (repository / "CHANGELOG.md").read_text().splitlines()
    versions = [line.split("[")[1].split("]")[0] for line in changelog if line.startswith("## [")]
    assert {f"{version}.tar.xz" for version in versions if version != "Unreleased"} == {
        path.name for path in RELEASES
    }


def test_checkpoint_and_weights_file(released: Path) -> None:
    images = np.load(released / "gate.npz")["images"].astype(np.float32) / 255
    expected = np.array(json.loads((released / "logits.json").read_text()))
    last = load_inference(released, "last")
    assert last.info["step"] == 4 and last.info["ema"]
    np.testing.assert_allclose(last.model.apply(last.variables, images), expected, atol=LOGITS, rtol=0)
    model, variables = hvjax.load_weights(released / "weights.safetensors")
    np.testing.assert_allclose(model.apply(variables, images), expected, atol=LOGITS, rtol=0)
    jax.tree.map(np.testing.assert_array_equal, variables, last.variables)  # the only one is the best


def test_unfinished_run_goes_on(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With keys that did not exist then at their defaults, and two more steps to do."""
    config = workdir.read_config(released)
    workdir.claim(released, config).lock.release()  # no difference
    config.schedule.steps = 6
    assert run(config, released, allow_config_change=True) == 0
    said = capsys.readouterr().out
    assert "config changed: schedule.steps: 4 there, 6 now" in said and "resuming after step 4 of 6" in said
    assert load_inference(released, "last").info["step"] == 6


def test_a_newer_format_says_who_wrote_it(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    info = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**info, "format": 2, "hvjax": "7.1.0"}))
    message = "has format 2; this version reads 1; it was written by hvjax 7.1.0: upgrade"
    with pytest.raises(UserError, match=message):
        load_inference(copy)
