"""Training a model that has parameters and no running statistics."""

import functools
import signal
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

import hvjax
from train_tpu import train
from train_tpu.checkpointing.checkpoint import load_inference
from train_tpu.checkpointing.interrupt import StopRequest
from train_tpu.learning.objective import Objective
from train_tpu.learning.scoring import eval_step
from train_tpu.state import create_state
from train_tpu.step import train_step
from train_tpu.train import run

TINY_SWIN = {"embed_dim": 4, "depths": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "window_size": 2}
PREPROCESSING = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_step() -> None:
    """Ten steps on one batch learn it; variables and their average are as the model makes them."""
    model = hvjax.create_model("swin_t", num_classes=10, drop_path_rate=0.0, **TINY_SWIN)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, size=(12, 16, 16, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, size=12).astype(np.int32),
    }
    optimizer = optax.adam(1e-2)
    state = create_state(model, optimizer, (16, 16, 3), seed=0, ema=True)
    step = functools.partial(
        train_step, model=model, optimizer=optimizer, objective=Objective(10, **PREPROCESSING), ema_decay=0.9
    )
    step, losses = jax.jit(step), []
    for _ in range(10):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    assert state.batch_stats == {}
    assert set(state.variables(ema=False)) == set(state.variables(ema=True)) == {"params"}
    score = jax.jit(functools.partial(eval_step, model=model, **PREPROCESSING))
    assert float(score(state.variables(ema=True), batch)["count"]) == 12


def test_run_resume_and_inference(tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped goes on; what it leaves is the model, which is the same in either form."""
    config = {
        "model.name": "swin_t",
        "model.overrides": ConfigDict(TINY_SWIN),
        "schedule.steps": 4,
        "schedule.warmup_epochs": 1.0,
        "eval_every": 2,
    }

    class Stopping(StopRequest):
        def agreed(self, step: int) -> bool:
            if step == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().agreed(step)

    with monkeypatch.context() as patched:
        patched.setattr(train, "StopRequest", Stopping)
        assert run(tiny_config(config), tmp_path / "run") == 143
    assert run(tiny_config(config), tmp_path / "run") == 0
    last = load_inference(tmp_path / "run", "last")
    assert last.info["step"] == 4 and last.info["ema"] is True

    model, variables = hvjax.load_weights(tmp_path / "run" / "weights.safetensors")
    assert set(variables) == set(last.variables) == {"params"} and not model.deploy
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.shape, b.shape), variables, last.variables)
    deploy_model, deploy_variables = hvjax.reparameterize(model, variables)
    assert deploy_model.deploy
    jax.tree.map(np.testing.assert_array_equal, deploy_variables, variables)
