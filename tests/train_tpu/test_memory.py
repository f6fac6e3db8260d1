"""Out of device memory: what is predicted to fit does, and the run ends with one line that says so."""

import functools
import math
from pathlib import Path

import jax
import pytest

from train_tpu import main, memory, sharding
from train_tpu.errors import RunFailed
from train_tpu.model import build_model
from train_tpu.objective import make_objective
from train_tpu.optim import make_optimizer
from train_tpu.state import create_state
from train_tpu.step import train_step
from train_tpu.train import run

EXHAUSTED = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")


def line(size: int) -> float:
    return 100.0 + 10.0 * size


@pytest.mark.parametrize(
    ("room", "unit", "expected"),
    [(500, 1, 40), (500, 8, 40), (499, 8, 32), (115, 1, 1), (109, 1, 0), (1e9, 8, 56)],
)
def test_largest_batch_where_the_need_is_a_line(room: float, unit: int, expected: int) -> None:
    found = memory.line_through(line, 64, unit)
    assert found == pytest.approx((100, 10))
    assert memory.largest_batch(line, found, 64, unit, room) == expected


def test_largest_batch_is_compiled_before_it_is_believed() -> None:
    """Beyond 30 images a buffer more is needed than small sizes show: 35 are predicted, and do not fit."""

    def need(size: int) -> float:
        return line(size) + (500 if size > 30 else 0)

    found = memory.largest_batch(need, (100, 10), 64, 1, 450)
    assert found and need(found) <= 450


def test_sizes_that_do_not_compile_are_passed_over() -> None:
    def need(size: int) -> float:
        return line(size) if size <= 20 else math.inf

    assert memory.line_through(need, 64, 4) == pytest.approx((100, 10))


@pytest.fixture(scope="module")
def compile_for(tiny_config):
    """The tiny network's own step, for other batches; each is compiled once."""
    config = tiny_config()
    model = build_model(config.model, 10, 16)
    optimizer = make_optimizer(config.optimizer, lambda step: 1e-3)
    objective = make_objective(config, 10, (1,) * 10, (0.5,) * 3, (0.5,) * 3)
    mesh = sharding.make_mesh()
    step = functools.partial(train_step, model=model, optimizer=optimizer, objective=objective, ema_decay=0.5)
    state = sharding.abstract(functools.partial(create_state, model, optimizer, (16, 16, 3), 0, True), mesh)
    compiling = {"donate_argnums": 0}
    split = sharding.batch_sharding(mesh)
    return functools.cache(memory.compiler(step, compiling, state, None, (16, 16, 3), split))


def test_the_message_names_what_fits(compile_for, tiny_config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated limit lies between what batches of 16 and of 17 images need."""
    room = sum(memory.needed(compile_for(size, 1)) for size in (16, 17)) / 2
    monkeypatch.setattr(memory, "available", lambda: room / memory.USABLE)
    said = []
    config = tiny_config({"data.batch_size": 32})
    text = memory.advice(config, 1, compile_for, said.append)
    assert "--config.data.batch_size=16 is predicted to fit" in text
    assert "--config.optimizer.accumulate=4, which keeps the batch as it is" in text
    assert memory.needed(compile_for(32, 4)) <= room < memory.needed(compile_for(32, 2))
    assert "a step of 32 images needs about" in text and "--config.model.remat=full" in text
    assert len(said) == 1 and len(text.splitlines()) == 1

    monkeypatch.setattr(memory, "available", lambda: None)
    assert "--config.data.batch_size=16 needs about" in memory.advice(config, 1, compile_for, print)

    monkeypatch.setattr(memory, "available", lambda: room / 100)
    text = memory.advice(tiny_config({"data.batch_size": 32, "model.remat": "full"}), 8, compile_for, print)
    assert text.endswith("not even 8 images would fit")


def test_a_run_that_is_out_of_memory_ends_with_one_line(
    tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def exhausted(*_):
        raise EXHAUSTED

    monkeypatch.setattr("train_tpu.watch.Watch.add", exhausted)  # where the failure of a step is first seen
    monkeypatch.setattr(memory, "available", lambda: None)
    with pytest.raises(RunFailed) as failure:
        run(tiny_config(), tmp_path / "run")
    text = str(failure.value)
    assert text.startswith("out of device memory: a step of 16 images needs about")
    assert "--config.data.batch_size=8 needs about" in text
    assert text.endswith("last good checkpoint: none yet") and len(text.splitlines()) == 1
    assert "compiling smaller steps to see what would fit" in capsys.readouterr().out


def test_evaluation_names_its_own_batch(tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_):
        raise EXHAUSTED

    monkeypatch.setattr("train_tpu.train.evaluate", exhausted)
    with pytest.raises(
        RunFailed, match=r"out of device memory: .*try less than data.eval_batch_size=180; last good"
    ):
        run(tiny_config(), tmp_path / "run")


def test_a_state_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def exhausted(*_):
        raise EXHAUSTED

    monkeypatch.setattr(main, "_run", exhausted)
    assert main.main([]) == 1
    assert capsys.readouterr().err.startswith("error: out of device memory outside of the steps: parameters,")


def test_other_failures_stay_what_they_are() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory.named(lambda: "smaller"):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_what_is_there_is_known_on_this_machine() -> None:
    found = memory.available()
    assert found is not None and found > 2**28
