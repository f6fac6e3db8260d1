"""The device mesh, and where state and batches live on it."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train_tpu.errors import UserError

AXES = ("data", "fsdp")
# Numbers of an array below which sharding it saves less than it costs to collect: biases, norms, statistics.
SMALL = 2**12


def make_mesh(fsdp: int = 1) -> Mesh:
    """A (data, fsdp) mesh over all devices of all hosts.

    The axes are Auto: with jax's default, Explicit, the convolutions of Linen modules do not trace.

    Raises:
      UserError: `fsdp` does not divide the number of devices.
    """
    count = jax.device_count()
    if count % fsdp:
        raise UserError(f"--config.mesh.fsdp={fsdp} does not divide the {count} devices")
    return jax.make_mesh((count // fsdp, fsdp), AXES, axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """A batch: split along its first dimension, over both axes."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def shard_like(tree: Any, mesh: Mesh) -> Any:
    """Where each array of a tree is stored: a tree of NamedSharding.

    The largest dimension that the axis `fsdp` divides is split over it, the last one among equals (output
    channels). Arrays with fewer than `SMALL` numbers, and those that cannot be split evenly, are on every
    device. Parameters, their average and the moments of the optimizer have the same shapes, so each number
    lies beside what updates it.

    Args:
      tree: of parameters, a whole state, a teacher's variables, ...: anything with shapes.
    """
    parts = mesh.shape["fsdp"]

    def place(leaf: Any) -> NamedSharding:
        shape = np.shape(leaf)
        fitting = [(size, axis) for axis, size in enumerate(shape) if size % parts == 0 and size]
        if parts == 1 or not fitting or math.prod(shape) < SMALL:
            return replicated(mesh)
        names: list[str | None] = [None] * len(shape)
        names[max(fitting)[1]] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*names))

    return jax.tree.map(place, tree)


def abstract(make: Callable[[], Any], mesh: Mesh) -> Any:
    """Shapes and types of what `make` returns, each with its sharding (`shard_like`); computes nothing."""
    shapes = jax.eval_shape(make)
    return jax.tree.map(
        lambda s, sharding: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding),
        shapes,
        shard_like(shapes, mesh),
    )


def of(tree: Any) -> Any:
    """The shardings of a tree of arrays or of what `abstract` returns."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def put(tree: Any, mesh: Mesh) -> Any:
    """A tree of arrays that every host has, stored by `shard_like`."""
    return jax.tree.map(
        lambda leaf, sharding: jax.make_array_from_callback(
            np.shape(leaf), sharding, np.asarray(leaf).__getitem__
        ),
        tree,
        shard_like(tree, mesh),
    )


def check_batch(name: str, batch_size: int, mesh: Mesh, parts: int = 1) -> int:
    """The share of a global batch that this host reads.

    Args:
      parts: the batch is computed one after the other in so many equal parts (`optimizer.accumulate`).

    Raises:
      UserError: the devices cannot share it evenly.
    """
    step = mesh.size * parts
    if batch_size % step:
        below = batch_size // step * step
        near = f"{below} or {below + step}" if below else f"{step}"
        each = f" in {parts} equal parts" if parts > 1 else ""
        raise UserError(
            f"--config.{name}={batch_size} cannot be split over {mesh.size} devices{each}; accepted: {near}"
        )
    return batch_size // jax.process_count()


def to_devices(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """One global array per entry out of every host's local part."""
    return {name: jax.make_array_from_process_local_data(sharding, part) for name, part in batch.items()}
