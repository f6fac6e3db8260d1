"""`config.init`: a run that starts from weights instead of random numbers."""

from pathlib import Path

import numpy as np
import pytest

import hvjax
from train_tpu.errors import UserError
from train_tpu.learning.start import load_start
from train_tpu.train import run

NO_STEP = {"schedule.base_lr": 1e-12, "schedule.warmup_lr": 0.0, "schedule.end_lr": 0.0, "schedule.steps": 1}
# Weight decay and rate are 1e-12 or less: what a step changes is far below float32's spacing of the weights.
UNCHANGED = 1e-6


def test_a_fresh_run_starts_from_a_file(finished_run: Path, tiny_config, tmp_path: Path, capsys) -> None:
    file = finished_run / "weights.safetensors"
    config = tiny_config({"init": str(file), **NO_STEP, "ema.horizon": 0.0, "optimizer.eps": 1.0})
    assert run(config, tmp_path / "run") == 0
    assert f"starting from {file}" in capsys.readouterr().out
    _, before = hvjax.load_weights(file)
    _, after = hvjax.load_weights(tmp_path / "run" / "weights.safetensors")
    for layer in ("stem", "head"):
        assert layer in before["params"]
    old, new = before["params"]["stage4"]["block1"], after["params"]["stage4"]["block1"]
    np.testing.assert_allclose(new["conv1"]["kernel"], old["conv1"]["kernel"], atol=UNCHANGED)
    # goes on from its own checkpoint, whatever became of the file
    assert load_start("gone.safetensors", None, 0, tmp_path / "run") == (None, [])


def test_another_head_is_drawn_and_said(finished_run: Path, tiny_config) -> None:
    config = tiny_config()
    model = hvjax.create_model("resnet50", num_classes=3, **config.model.overrides.to_dict())
    variables, notes = load_start(str(finished_run / "weights.safetensors"), model, 0, Path("nowhere"))
    assert variables["params"]["head"]["bias"].shape == (3,)
    assert "head is drawn at random (10 classes in the weights, 3 in the model)" in notes[1]


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("nowhere.safetensors", "no weights file 'nowhere.safetensors'; expected one, or pretrained:TAG"),
        ("pretrained:best", "resnet50 has no published weights 'best'; it has tv_in1k"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_workdir(tiny_config, tmp_path, init: str, message: str) -> None:
    with pytest.raises(UserError, match=f"--config.init={init}: {message}") as failure:
        run(tiny_config({"init": init}), tmp_path / "run")
    assert len(str(failure.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_without_a_network_it_says_where_to_get_the_file(tiny_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    monkeypatch.setenv("HVJAX_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"resolve/main/model.safetensors .* put it at .*tv_in1k.safetensors"):
        run(tiny_config({"init": "pretrained"}), tmp_path / "run")
