"""When a step does not fit into the devices' memory: which batch would, found by compiling, not by trying.

XLA plans all buffers of a program when it compiles it. So what a step of another batch size needs is read
from the compiled program, and nothing is allocated to learn it.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax

from train_tpu.checkpointing.workdir import ALLOW_CHANGE
from train_tpu.config import Config
from train_tpu.errors import RunFailed

# Share of a device's memory that a step may plan to use: the next batch, the evaluation's program and the
# gaps between buffers need the rest.
USABLE = 0.9
MIB, GIB = 2**20, 2**30
ATTEMPTS = 3  # at correcting what was predicted: each one compiles the step, which takes a minute or so

# (images in a batch, parts it is computed in) -> the compiled step.
Compile = Callable[[int, int], Any]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether XLA says that a device's memory is too small, while compiling or computing."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


@contextlib.contextmanager
def named(advise: Callable[[], str]) -> Iterator[None]:
    """End a run that is out of device memory with one line.

    Raises:
      RunFailed: with what `advise` says.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise RunFailed(f"out of device memory: {advise()}") from error


@contextlib.contextmanager
def watched(config: Config, devices: int, compile_for: Compile, say: Callable[[str], None]) -> Iterator[None]:
    """`named` for the steps of a run, whose memory is looked at first if `config.check_memory`.

    Args: as of `advice`.
    Raises:
      RunFailed: a step needs more memory than a device has.
    """
    with named(lambda: advice(config, devices, compile_for, say)):
        if config.check_memory:
            _check(config, devices, compile_for, say)
        yield


def _check(config: Config, devices: int, compile_for: Compile, say: Callable[[str], None]) -> None:
    asked = needed(compile_for(config.data.batch_size, config.optimizer.accumulate))
    limit = available()
    room = "" if limit is None else f" of {_bytes(limit)}"
    say(f"a step of {config.data.batch_size} images needs {_bytes(asked)}{room} on each device")
    if limit is not None and asked > limit:
        raise RunFailed(f"not enough device memory: {advice(config, devices, compile_for, say)}")


def of_evaluation(config: Config) -> contextlib.AbstractContextManager[None]:
    """`named` for an evaluation, which has a batch size of its own."""
    size = config.data.eval_batch_size
    return named(lambda: f"an evaluation needs more than there is; try less than data.eval_batch_size={size}")


def outside_of_steps(error: BaseException) -> RunFailed | None:
    """What to end with when the state alone does not fit; None if the error is another."""
    if not is_out_of_memory(error):
        return None
    return RunFailed(
        "out of device memory outside of the steps: parameters, optimizer state, average and teacher are too "
        "large together for a device; --config.mesh.fsdp splits them over several"
    )


def compiler(
    step: Callable[..., Any],
    options: dict[str, Any],
    state: Any,
    teacher: Any,
    batch_shapes: Callable[[int], dict[str, jax.ShapeDtypeStruct]],
    split: Any,
) -> Compile:
    """What compiles `step` for other batches; nothing is computed.

    Args:
      step: train_step with all but arrays and `accumulate` fixed. options: of jax.jit.
      state: a tree of jax.ShapeDtypeStruct. teacher: variables, on the devices.
      batch_shapes: images -> shapes and types of a batch of so many. split: sharding of a batch.
    """
    taught = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), teacher)

    def compile_for(batch_size: int, parts: int) -> Any:
        shapes = batch_shapes(batch_size)
        batch = {n: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=split) for n, s in shapes.items()}

        def divided(state: Any, batch: Any, teacher: Any) -> Any:
            return step(state, batch, teacher, accumulate=parts)

        return jax.jit(divided, **options).lower(state, batch, taught).compile()

    return compile_for


def needed(compiled: Any) -> float:
    """Bytes on each device while a compiled program runs: arguments, results, and what lies between."""
    stats = compiled.memory_analysis()
    return (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
        + stats.temp_size_in_bytes
        + stats.generated_code_size_in_bytes
    )


def available() -> float | None:
    """Bytes that a program may use on each device of this host; None if the platform does not say."""
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in jax.local_devices()]
    known = [float(limit) for limit in limits if limit]
    if known:
        return min(known)
    if jax.default_backend() != "cpu":
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / jax.local_device_count()


def advice(config: Config, devices: int, compile_for: Compile, say: Callable[[str], None]) -> str:
    """What a step needs, what there is, and what would fit: one line.

    Args:
      devices: that share a batch. say: told that this takes a while.
    """
    batch, parts = config.data.batch_size, config.optimizer.accumulate
    say("compiling smaller steps to see what would fit into the device's memory ...")
    need = _needs(compile_for)
    part = batch // parts

    def need_of(size: int) -> float:  # of a step whose parts have this size
        return need(size * parts, parts)

    line, limit = line_through(need_of, part, devices), available()
    asked = line[0] + line[1] * part
    if not math.isfinite(asked):
        return f"no step of {batch} images or a part of them compiles here{_more(config)}"
    message = f"a step of {batch} images needs about {_bytes(asked)} a device"
    if limit is None:
        half = max(devices, _round_down(part // 2, devices))
        then = _bytes(line[0] + line[1] * half)
        return f"{message}; --config.data.batch_size={half * parts} needs about {then}{_more(config)}"
    message += f" and {_bytes(limit)} are there"
    if asked <= USABLE * limit:
        return f"{message}: something else uses the rest of it{_more(config)}"
    fits = largest_batch(need_of, line, part, devices, USABLE * limit)
    if not fits:
        return f"{message}; not even {devices} image{'s' * (devices > 1)} would fit{_more(config)}"
    size, then = fits * parts, _bytes(need_of(fits))
    proposals = f"--config.data.batch_size={size} is predicted to fit (about {then})"
    divided = _parts_that_fit(need, batch, parts, devices, fits, USABLE * limit)
    if divided:
        proposals += f", and so is --config.optimizer.accumulate={divided}, which keeps the batch as it is"
    return f"{message}; {proposals}{_more(config)}"


def line_through(need: Callable[[int], float], batch: int, unit: int) -> tuple[float, float]:
    """Bytes a device that a step needs in any case, and those for each image of the batch.

    Taken from the two largest of batch / 2, / 4, / 8, ... that compile.

    Args:
      need: images -> bytes a device, infinite where the program does not compile.
      unit: images in a batch are a multiple of this.
    Returns:
      (0, infinite) if nothing compiles.
    """
    halves = [_round_down(batch // 2**i, unit) for i in range(1, batch.bit_length())]
    known: list[tuple[int, float]] = []
    for size in dict.fromkeys(filter(None, [*halves, unit])):
        if math.isfinite(bytes_ := need(size)):
            known.append((size, bytes_))
        if len(known) == 2:
            (large, most), (small, least) = known
            per_image = (most - least) / (large - small)
            return most - per_image * large, per_image
    return (0.0, known[0][1] / known[0][0]) if known else (0.0, math.inf)


def largest_batch(
    need: Callable[[int], float], line: tuple[float, float], batch: int, unit: int, room: float
) -> int:
    """The largest multiple of `unit` below `batch` whose step needs at most `room` bytes; 0 if none does.

    It is predicted from the line, and compiled before it is believed.
    """
    fixed, per_image = line
    most = _round_down(batch - 1, unit)
    size = most if per_image <= 0 else min(most, _round_down(int(max(0, room - fixed) / per_image), unit))
    for _ in range(ATTEMPTS):
        if size < unit or need(size) <= room:
            break
        size -= max(unit, _round_down(size // 8, unit))
    size = max(size, unit)
    return size if size < batch and need(size) <= room else 0


def _parts_that_fit(
    need: Callable[[int, int], float], batch: int, parts: int, devices: int, fits: int, room: float
) -> int | None:
    """The fewest parts of the same batch that are predicted to fit."""
    candidates = (n for n in range(parts + 1, batch // devices + 1) if batch % (n * devices) == 0)
    small_enough = [n for n in candidates if batch // n <= fits][:ATTEMPTS]
    return next((n for n in small_enough if need(batch, n) <= room), None)


def _needs(compile_for: Compile) -> Callable[[int, int], float]:
    known: dict[tuple[int, int], float] = {}

    def need(batch_size: int, parts: int) -> float:
        if (batch_size, parts) not in known:
            try:
                known[batch_size, parts] = needed(compile_for(batch_size, parts))
            # too few images for batch statistics; memory, where the compiler itself counts it (TPU) or
            # measures kernels (GPU)
            except (ValueError, jax.errors.JaxRuntimeError):
                known[batch_size, parts] = math.inf
        return known[batch_size, parts]

    return need


def _more(config: Config) -> str:
    """What else costs less memory, as far as it is not used yet; and how to go on."""
    full = config.model.remat == "full"
    remat = "" if full else "; --config.model.remat=full costs time instead of memory"
    return f"{remat}; the same workdir takes another config with {ALLOW_CHANGE}"


def _round_down(number: int, unit: int) -> int:
    return number // unit * unit


def _bytes(size: float) -> str:
    return f"{size / GIB:.3g} GiB" if size >= GIB else f"{size / MIB:.3g} MiB"
