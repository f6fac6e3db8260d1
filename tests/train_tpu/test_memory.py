"""Out of device memory: what is predicted to fit does, and the run ends with one line that says so."""

import functools
import math
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from train_tpu import main, memory
from train_tpu.distributed import sharding
from train_tpu.errors import RunFailed
from train_tpu.learning.objective import make_objective
from train_tpu.learning.optim import make_optimizer
from train_tpu.model import build_model
from train_tpu.monitoring.metrics import read_metrics
from train_tpu.state import create_state
from train_tpu.step import train_step
from train_tpu.tasks.classification import Classification
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


def compiled(batch: int, parts: int) -> SimpleNamespace:
    """What XLA would say of a step: 1 GiB in any case, 1/16 an image, 1/4 for gradients that are added up."""
    temporary = memory.GIB * (batch / parts / 16 + (0.25 if parts > 1 else 0))
    sizes = {
        "argument_size_in_bytes": memory.GIB,
        "output_size_in_bytes": memory.GIB,
        "alias_size_in_bytes": memory.GIB,
        "temp_size_in_bytes": temporary,
        "generated_code_size_in_bytes": 0,
    }
    return SimpleNamespace(memory_analysis=lambda: SimpleNamespace(**sizes))


@pytest.mark.parametrize(
    ("limit", "changes", "devices", "expected"),
    [
        (
            2.0,
            {},
            1,
            "a step of 64 images needs about 5 GiB a device and 2.22 GiB are there; "
            "--config.data.batch_size=16 is predicted to fit (about 2 GiB), and so is "
            "--config.optimizer.accumulate=8, which keeps the batch as it is; --config.model.remat=full "
            "costs time instead of memory; the same workdir takes another config with --allow-config-change",
        ),
        (
            2.2,
            {"model.remat": "full"},
            8,
            "batch_size=16 is predicted to fit (about 2 GiB), and so is --config.",
        ),
        (1.4, {}, 8, "are there; not even 8 images would fit; --config.model.remat=full costs time"),
        (
            1.4,
            {"optimizer.accumulate": 8},
            1,
            "batch_size=16 is predicted to fit (about 1.38 GiB), and so is --",
        ),
        (
            None,
            {},
            1,
            "needs about 5 GiB a device; --config.data.batch_size=32 needs about 3 GiB; --config.model",
        ),
        (9.0, {}, 1, "needs about 5 GiB a device and 10 GiB are there: something else uses the rest of it"),
    ],
)
def test_the_message_names_what_fits(
    tiny_config,
    monkeypatch: pytest.MonkeyPatch,
    limit: float | None,
    changes: dict,
    devices: int,
    expected: str,
) -> None:
    monkeypatch.setattr(memory, "available", lambda: limit and limit / memory.USABLE * memory.GIB)
    said = []
    config = tiny_config({"data.batch_size": 64, **changes})
    text = memory.advice(config, devices, compiled, said.append)
    assert expected in text
    assert len(said) == 1 and len(text.splitlines()) == 1


def test_the_message_where_nothing_compiles(tiny_config) -> None:
    def exhausted(*_):
        raise EXHAUSTED

    text = memory.advice(tiny_config({"model.remat": "full"}), 1, exhausted, print)
    assert text.startswith("no step of 16 images or a part of them compiles here; the same workdir")


# Of the need of a batch, predicted from its half and its quarter. Measured on the tiny network, whose buffers
# are few: 7 %. What is proposed is compiled, so that the prediction only has to come near.
PREDICTION = 0.15


def test_prediction_is_what_the_step_needs(tiny_config) -> None:
    """Real programs: a line through two sizes gives the need of a third; a divided step needs less."""
    config = tiny_config()
    model = build_model(config.model, 10, 16)
    optimizer = make_optimizer(config.optimizer, lambda step: 1e-3)
    objective = make_objective(config, 10, (1,) * 10, (0.5,) * 3, (0.5,) * 3)
    mesh = sharding.make_mesh()
    step = functools.partial(train_step, model=model, optimizer=optimizer, objective=objective, ema_decay=0.5)
    state = sharding.abstract(functools.partial(create_state, model, optimizer, (16, 16, 3), 0, True), mesh)
    split = sharding.batch_sharding(mesh)
    shapes = functools.partial(Classification(config).batch_shapes, model)
    compile_for = memory.compiler(step, {"donate_argnums": 0}, state, None, shapes, split)
    fixed, per_image = memory.line_through(lambda size: memory.needed(compile_for(size, 1)), 64, 1)
    whole = memory.needed(compile_for(64, 1))
    assert fixed + per_image * 64 == pytest.approx(whole, rel=PREDICTION)
    assert memory.needed(compile_for(64, 4)) < 0.7 * whole


def test_a_run_that_is_out_of_memory_ends_with_one_line(
    tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def exhausted(*_):
        raise EXHAUSTED

    monkeypatch.setattr(
        "train_tpu.monitoring.watch.Watch.add", exhausted
    )  # where the failure of a step is first seen
    monkeypatch.setattr(memory, "available", lambda: None)
    with pytest.raises(RunFailed) as failure:
        run(tiny_config(), tmp_path / "run")
    text = str(failure.value)
    assert text.startswith("out of device memory: a step of 16 images needs about")
    assert "--config.data.batch_size=8 needs about" in text
    assert text.endswith("last good checkpoint: none yet") and len(text.splitlines()) == 1
    assert "compiling smaller steps to see what would fit into" in capsys.readouterr().out


def test_memory_is_checked_before_the_first_step_if_asked(
    tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """With too little of it, nothing is computed; with enough, the run says what a step needs and goes on."""
    config = tiny_config({"check_memory": True, "schedule.steps": 1, "eval_every": 1})
    monkeypatch.setattr(memory, "compiler", lambda *_: compiled)
    monkeypatch.setattr(memory, "available", lambda: 1.5 * memory.GIB)
    with pytest.raises(
        RunFailed, match=r"not enough device memory: a step of 16 images needs about 2 GiB a dev"
    ):
        run(config, tmp_path / "run")
    assert not read_metrics(tmp_path / "run")
    monkeypatch.setattr(memory, "available", lambda: 4 * memory.GIB)
    assert run(config, tmp_path / "run") == 0
    assert "a step of 16 images needs 2 GiB of 4 GiB on each device" in capsys.readouterr().out


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
