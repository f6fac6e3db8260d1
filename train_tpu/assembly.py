"""What a config stands for: the data, the model, how it is learned, and the compiled functions of a run."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from hvjax.registry import MODELS
from train_tpu import memory
from train_tpu.config import Config
from train_tpu.data.sources import Dataset
from train_tpu.distributed import sharding
from train_tpu.learning import groups, schedule
from train_tpu.learning.distill import Teacher, load_teacher
from train_tpu.learning.optim import make_optimizer
from train_tpu.model import count_parameters
from train_tpu.state import TrainState, create_state, ema_decay
from train_tpu.step import train_step
from train_tpu.tasks.choice import task_of
from train_tpu.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Assembly:
    """Nothing in it changes during a run.

    Attributes:
      image_shape: (h, w, c). parameters: how many numbers are learned or frozen.
      host_batch, host_eval_batch: images of a batch that this host reads.
      split: of a batch over the devices.
      rate: step -> learning rate. averaged: whether an average of the weights is kept.
      make_state: (start=None) -> a fresh state, compiled. shape_of_state: its shapes, types and shardings.
      take_step: (state, batch, teacher's variables) -> (state, metrics), compiled; the state is donated.
      score_batch: (variables, batch) -> answers for the task's meter, compiled.
      smaller_step: compiles the step for other batches, to see what memory they would need.
    """

    task: Task
    dataset: Dataset
    mesh: Mesh
    model: Any
    image_shape: tuple[int, int, int]
    parameters: int
    host_batch: int
    host_eval_batch: int
    split: NamedSharding
    length: schedule.Length
    rate: Callable
    averaged: bool
    teacher: Teacher
    make_state: Callable[..., TrainState]
    shape_of_state: TrainState
    take_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    score_batch: Callable[..., dict[str, Any]]
    smaller_step: Callable


def assemble(config: Config) -> Assembly:
    """Put it together; nothing is computed yet but the teacher's weights, which are read.

    Raises:
      UserError: the data, the model, the devices or the teacher do not fit each other or the config.
    """
    # What is learned, from what, on what.
    task = task_of(config)
    dataset = task.open()
    mesh = sharding.make_mesh(config.mesh.fsdp)
    host_batch = sharding.check_batch(
        "data.batch_size", config.data.batch_size, mesh, config.optimizer.accumulate
    )
    host_eval_batch = sharding.check_batch("data.eval_batch_size", config.data.eval_batch_size, mesh)
    model = task.build(dataset)
    image_shape = task.image_shape(model)
    parameters = count_parameters(model, image_shape)
    length = schedule.run_length(config, len(dataset.train))

    # How it is learned.
    rate = schedule.learning_rate(config, length)
    optimizer = make_optimizer(config.optimizer, rate)
    decay = ema_decay(config, length.total)
    make_state = functools.partial(create_state, model, optimizer, image_shape, config.seed, decay > 0)
    shape_of_state = sharding.abstract(make_state, mesh)
    groups.check_still_norms(config.optimizer.still_norms, shape_of_state.batch_stats)
    stored, everywhere = sharding.of(shape_of_state), sharding.replicated(mesh)
    split, gathered = sharding.batch_sharding(mesh), everywhere if config.mesh.fsdp > 1 else None
    spec = MODELS[config.model.name]
    teacher = load_teacher(config, dataset.class_names, spec, functools.partial(sharding.put, mesh=mesh))

    # The step and the evaluation, as compiled functions.
    step_of = functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        objective=task.objective(dataset),
        ema_decay=decay,
        ema_warmup=config.ema.warmup,
        teach=teacher.teach,
        accumulate=config.optimizer.accumulate,
        remat=config.model.remat,
        norm_groups=mesh.size if config.mesh.batch_norm == "device" else 1,
        frozen=functools.partial(groups.frozen, config.optimizer.freeze),
        still_norms=config.optimizer.still_norms,
        gathered=gathered,
    )

    def score_of(variables: Any, batch: dict[str, Any]) -> dict[str, Any]:
        if gathered is not None:
            variables = jax.lax.with_sharding_constraint(variables, gathered)
        return task.score(variables, batch, model=model)

    compiling = {"donate_argnums": 0, "out_shardings": (stored, everywhere)}
    shapes_of_batch = functools.partial(task.batch_shapes, model)
    return Assembly(
        task=task,
        dataset=dataset,
        mesh=mesh,
        model=model,
        image_shape=image_shape,
        parameters=parameters,
        host_batch=host_batch,
        host_eval_batch=host_eval_batch,
        split=split,
        length=length,
        rate=rate,
        averaged=decay > 0,
        teacher=teacher,
        make_state=jax.jit(make_state, out_shardings=stored),
        shape_of_state=shape_of_state,
        take_step=jax.jit(step_of, **compiling),
        score_batch=jax.jit(score_of, out_shardings=everywhere),
        smaller_step=memory.compiler(
            step_of, compiling, shape_of_state, teacher.variables, shapes_of_batch, split
        ),
    )
