"""A trace of some steps: which ones, and where it lies."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from train_tpu.checks import profile_window
from train_tpu.config import base_config, resolve
from train_tpu.errors import UserError
from train_tpu.monitoring.tracing import Tracer


@pytest.mark.parametrize("text", ["10", "10:", ":20", "20:10", "0:5", "a:b", "1:2:3", "-1:4", "1.5:3"])
def test_windows_that_are_none(text: str) -> None:
    config = base_config()
    config.profile.steps = text
    with pytest.raises(UserError, match=r"--config\.profile\.steps=.*: expected FIRST:LAST"):
        resolve(config)


def test_window() -> None:
    assert profile_window("10:20") == (10, 20) and profile_window("3:3") == (3, 3)
    assert profile_window("") is None


def test_run_that_is_too_short_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"profile\.steps=10:20: the run has 12 steps"):
        Tracer("10:20", tmp_path, 12, 0, print)


@pytest.fixture
def profiler(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of jax's profiler."""
    asked: list[str] = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: asked.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: asked.append("stop"))
    return asked


def walk(tracer: Tracer, steps: range, asked: list[str]) -> list[str]:
    with tracer:
        for step in steps:
            tracer.before(step)
            asked.append(str(step))
            tracer.after(step, jnp.zeros(()))
    return asked


def test_traces_first_to_last(profiler: list[str], tmp_path: Path) -> None:
    said: list[str] = []
    tracer = Tracer("2:3", tmp_path, 5, 0, said.append)
    assert walk(tracer, range(1, 6), profiler) == ["1", "start", "2", "3", "stop", "4", "5"]
    assert len(said) == 1 and said[0].startswith(f"trace of steps 2 to 3: {tmp_path}/profile")


def test_resumed_in_the_window_traces_the_rest(profiler: list[str], tmp_path: Path) -> None:
    tracer = Tracer("2:4", tmp_path, 5, 2, lambda _: None)
    assert walk(tracer, range(3, 6), profiler) == ["start", "3", "4", "stop", "5"]


def test_resumed_after_the_window_does_nothing(profiler: list[str], tmp_path: Path) -> None:
    assert walk(Tracer("2:4", tmp_path, 9, 4, print), range(5, 10), profiler) == ["5", "6", "7", "8", "9"]


def test_other_hosts_do_nothing(profiler: list[str]) -> None:
    assert walk(Tracer("1:2", None, 3, 0, print), range(1, 4), profiler) == ["1", "2", "3"]


def test_run_that_ends_in_the_window_keeps_its_trace(profiler: list[str], tmp_path: Path) -> None:
    tracer = Tracer("2:4", tmp_path, 9, 0, lambda _: None)
    assert walk(tracer, range(1, 4), profiler) == ["1", "start", "2", "3", "stop"]


def test_real_trace_can_be_opened(tmp_path: Path, capsys) -> None:
    double = jax.jit(lambda x: 2 * x)
    with Tracer("1:2", tmp_path, 2, 0, print) as tracer:
        for step in (1, 2):
            tracer.before(step)
            tracer.after(step, double(jnp.ones(4)))
    folder = next((tmp_path / "profile" / "plugins" / "profile").iterdir())
    assert (folder / "perfetto_trace.json.gz").stat().st_size > 0 and list(folder.glob("*.xplane.pb"))
    assert "perfetto_trace.json.gz in https://ui.perfetto.dev" in capsys.readouterr().out
