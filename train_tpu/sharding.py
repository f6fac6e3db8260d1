"""The device mesh, and where state and batches live on it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train_tpu.errors import UserError

AXES = ("data", "fsdp")


def make_mesh(fsdp: int = 1) -> Mesh:
    """A (data, fsdp) mesh over all devices of all hosts.

    The axes are Auto: with jax's default, Explicit, the convolutions of Linen modules do not trace.
    """
    count = jax.device_count()
    if count % fsdp:
        raise UserError(f"mesh.fsdp={fsdp} does not divide the {count} devices")
    return jax.make_mesh((count // fsdp, fsdp), AXES, axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Split along the first dimension, over both axes."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def abstract(make: Callable[[], Any], sharding: NamedSharding) -> Any:
    """Shapes and types of what `make` returns, each with the sharding; computes nothing."""
    shapes = jax.eval_shape(make)
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), shapes)


def wait_for_all_hosts(name: str) -> None:
    """Return when every host has come here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def check_batch(name: str, batch_size: int, mesh: Mesh) -> int:
    """The part of a global batch that this host reads; UserError if the devices cannot share it evenly."""
    if batch_size % mesh.size:
        raise UserError(f"--config.{name}={batch_size} cannot be split over {mesh.size} devices")
    return batch_size // jax.process_count()


def to_devices(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """One global array per entry out of every host's local part."""
    return {name: jax.make_array_from_process_local_data(sharding, part) for name, part in batch.items()}
