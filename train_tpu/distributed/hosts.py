"""Several hosts, one run: how a process finds the others, and what all of them must agree on.

jax.distributed does the work. What is here makes its failures one clear line: it ends the process by an abort
where it cannot join the others, and waits for ever where they do not compute the same program.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from train_tpu.errors import RunFailed, UserError

T = TypeVar("T")

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
WAIT = "HVJAX_JOIN_SECONDS"
DEFAULT_WAIT = 300.0
LEAVE_SECONDS = 10.0  # to take leave of the others, before going without
TOKEN = ".hosts"  # written into the workdir by the first host, read by all
SHARED_SECONDS = 60.0  # a network file system may take so long to show a new file
# of a host whose neighbour died in the middle of a step, in the messages of gloo, NCCL and jax's coordination
LOST = ("gloo", "nccl", "connection", "coordination", "heartbeat", "unavailable")


class Plan(NamedTuple):
    """What to tell jax.distributed.initialize; None: it finds out by itself."""

    address: str | None = None
    count: int | None = None
    index: int | None = None
    device: int | None = None  # of this host's GPUs, the one for this process; None: all


def plan(environment: Mapping[str, str]) -> Plan | None:
    """How to join the others by the environment's variables; None for a run of one process.

    On plain hosts the user sets JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    SLURM (srun), Open MPI 4 and TPU pods whose environment names the workers tell jax themselves; under Open
    MPI 5 the address is needed, the numbers are not. JAX_COORDINATOR_ADDRESS=auto asks jax in any case.

    Raises:
      UserError: variables that are missing, or no numbers, or out of range.
    """
    address = environment.get(ADDRESS)
    count = environment.get(COUNT) or environment.get("OMPI_COMM_WORLD_SIZE")
    index = environment.get(INDEX) or environment.get("OMPI_COMM_WORLD_RANK")
    if address == "auto":
        return Plan()
    if not (address or environment.get(COUNT) or environment.get(INDEX)):
        return Plan() if _launched(environment) else None
    if not (address and count and index):
        raise UserError(
            f"several hosts need all of {ADDRESS}, {COUNT}, {INDEX} (host:port, how many, which one)"
        )
    if not address.rpartition(":")[2].isdigit():
        raise UserError(f"{ADDRESS}={address}: expected host:port")
    if not count.isdigit() or not index.isdigit() or int(index) >= int(count):
        raise UserError(f"{COUNT}={count}, {INDEX}={index}: expected a number of hosts, and which one from 0")
    by_mpi = not environment.get(INDEX) and not environment.get("JAX_LOCAL_DEVICE_IDS")
    device = environment.get("OMPI_COMM_WORLD_LOCAL_RANK") if by_mpi else None
    return Plan(address, int(count), int(index), None if device is None else int(device))


def _launched(environment: Mapping[str, str]) -> bool:
    """Whether a launcher that jax knows started this process beside others."""
    if environment.get("SLURM_NTASKS", "1") != "1":
        if "SLURM_STEP_NODELIST" in environment:
            return True
        print(f"note: a SLURM job of {environment['SLURM_NTASKS']} tasks, but this command was started "
              "without srun: it trains alone", file=sys.stderr)  # fmt: skip
    if environment.get("OMPI_COMM_WORLD_SIZE", "1") != "1":
        return True
    return "," in environment.get("TPU_WORKER_HOSTNAMES", "") or "MEGASCALE_NUM_SLICES" in environment


def join() -> None:
    """Join the other hosts, where there are some; call it before any computation of jax.

    Raises:
      UserError: the environment's variables are wrong, or the coordinator's port is taken.
    Where the others do not come within HVJAX_JOIN_SECONDS the process ends with a message and status 2: jax
    would abort it.
    """
    found = plan(os.environ)
    if found is None:
        return
    seconds = _seconds()
    import jax

    if os.environ.get(ADDRESS) == "auto":
        del os.environ[ADDRESS]  # jax would take it for a name
    port = int(found.address.rpartition(":")[2]) if found.address else 0
    if found.index == 0 and not _is_free(port):
        raise UserError(f"port {port} of {ADDRESS} is taken on this host")  # newer jax would crash
    with _bounded(found, seconds):
        try:
            jax.distributed.initialize(
                found.address,
                found.count,
                found.index,
                None if found.device is None else [found.device],
                # where all is known, a launcher that jax cannot ask must not stop it
                cluster_detection_method="deactivate" if found.address else None,
                initialization_timeout=int(seconds) + 60,
            )
        except (ValueError, RuntimeError) as error:
            raise UserError(f"cannot join the other hosts: {_explain(error)}") from error
    if found.count and jax.process_count() != found.count:
        raise UserError(
            f"{COUNT}={found.count} on this host, but the coordinator has {jax.process_count()} processes"
        )


def _explain(error: Exception) -> str:
    first = str(error).splitlines()[0]
    if "coordinator_address should be defined" in first:
        return f"this launcher does not tell jax who they are; set {ADDRESS}, {COUNT} and {INDEX}"
    return first


def _seconds() -> float:
    text = os.environ.get(WAIT, str(DEFAULT_WAIT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UserError(f"{WAIT}={text}: expected seconds, more than 0")
    return seconds


@contextlib.contextmanager
def _bounded(found: Plan, seconds: float) -> Iterator[None]:
    """End the process with a message if what is inside takes longer."""
    done = threading.Event()

    def wait() -> None:
        if not done.wait(seconds):
            print(f"error: {_who_is_missing(found, seconds)}", file=sys.stderr, flush=True)
            os._exit(UserError.exit_code)

    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _who_is_missing(found: Plan, seconds: float) -> str:
    waited = f"after {seconds:g} s ({WAIT})"
    if found.address is None:
        return f"the other hosts did not come {waited}"
    if found.index != 0 and not _answers(found.address):
        return f"nothing answers at {ADDRESS}={found.address} {waited}: is process 0 there, the port open?"
    return (
        f"not all of {found.count} processes came to {found.address} {waited}: {COUNT} must be the same on "
        f"every host and each {INDEX} from 0 to {(found.count or 1) - 1} given once"
    )


def _is_free(port: int) -> bool:
    family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections that are closing do not count
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False


def leave(status: int) -> None:
    """Before ending with an error: take leave of the other hosts, but do not wait long for them.

    They may be in the middle of a step that this host will never enter. Then this process ends at once with
    `status`; the coordinator misses it after a while and ends the others.
    """
    if not _several():
        return
    import jax

    goodbye = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    goodbye.start()
    goodbye.join(LEAVE_SECONDS)
    if goodbye.is_alive():
        sys.stdout.flush()
        os._exit(status)


def lost(error: BaseException) -> RunFailed | None:
    """What to say of an error that comes from another host's end; None for any other."""
    if not _several() or not any(word in str(error).lower() for word in LOST):
        return None
    first = str(error).splitlines()[0][:200]
    return RunFailed(
        f"another host ended or cannot be reached; the same command on all hosts goes on from the last "
        f"checkpoint ({first})"
    )


def _several() -> bool:
    if "jax" not in sys.modules:
        return False
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


# --- once they have met -------------------------------------------------------------------------------


def wait_for_all(name: str) -> None:
    """Return when every host has come here."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def on_first(action: Callable[[], T]) -> T | None:
    """`action()` on the first host, while the others wait; None on those.

    Raises:
      UserError: on every host, if it was raised on the first.
    """
    import jax

    if jax.process_count() == 1:
        return action()
    result, problem = None, ""
    if jax.process_index() == 0:
        try:
            result = action()
        except UserError as error:
            problem = str(error)
    if heard := _gather(problem)[0]:
        raise UserError(heard)
    return result


def is_first() -> bool:
    """Whether this is the host that writes what is written once."""
    import jax

    return jax.process_index() == 0


def first_to_complain(problem: str | None) -> str | None:
    """The problem of the first host that has one, on every host; None if none has."""
    import jax

    if jax.process_count() == 1:
        return problem
    return next((heard for heard in _gather(problem or "") if heard), None)


def check_config(config: Any) -> None:
    """Check that all hosts run the same config.

    Raises:
      UserError: on every host.
    """
    import jax

    from train_tpu.config import flatten

    if jax.process_count() == 1:
        return
    configs = [json.loads(text) for text in _gather(json.dumps(flatten(config), sort_keys=True))]
    for host, other in enumerate(configs):
        differing = sorted(key for key in {*configs[0], *other} if configs[0].get(key) != other.get(key))
        if differing:
            key = differing[0]
            more = f" and {len(differing) - 1} more keys" if len(differing) > 1 else ""
            raise UserError(
                f"the hosts run different configs: {key} is {configs[0].get(key)!r} on host 0 and "
                f"{other.get(key)!r} on host {host}{more}"
            )


def check_workdir(workdir: Path) -> None:
    """Check that all hosts see the same workdir, which the first has made.

    Raises:
      UserError: on every host.
    """
    import jax

    if jax.process_count() == 1:
        return
    token = _gather(secrets.token_hex(8))[0]
    file = workdir / TOKEN
    if jax.process_index() == 0:
        file.write_text(token)
    sees = _gather("yes" if _comes_to_hold(file, token) else socket.gethostname())
    if jax.process_index() == 0:
        file.unlink()
    blind = [f"{host} ({name})" for host, name in enumerate(sees) if name != "yes"]
    if blind:
        raise UserError(
            f"--workdir {workdir} of host 0 is not seen on host {', '.join(blind[:4])}: all hosts need the "
            "same directory, on a file system that they share"
        )


def _comes_to_hold(file: Path, token: str) -> bool:
    deadline = time.monotonic() + min(SHARED_SECONDS, _seconds())
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if file.read_text() == token:
                return True
        time.sleep(0.2)
    return False


def _gather(text: str) -> list[str]:
    """Every host's text, in the order of the hosts."""
    import numpy as np
    from jax.experimental import multihost_utils

    mine = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([len(mine)], np.int32)).reshape(-1)
    padded = np.zeros(max(1, lengths.max()), np.uint8)
    padded[: len(mine)] = mine
    everyone = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
    return [bytes(row[:length]).decode() for row, length in zip(everyone, lengths, strict=True)]
