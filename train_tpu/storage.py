"""Around orbax: its errors in one line, the shapes of what it stored, names that are free."""

import contextlib
import itertools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from train_tpu.errors import RunFailed, disk_trouble


@contextlib.contextmanager
def write_errors() -> Iterator[None]:
    """What the file system says, from whichever library, becomes the end of the run in one line."""
    try:
        with one_error():
            yield
    except RunFailed:
        raise
    except Exception as error:
        raise RunFailed(
            f"the checkpoint cannot be written: {disk_trouble(error) or first_line(error)}"
        ) from error


@contextlib.contextmanager
def one_error() -> Iterator[None]:
    """When an array cannot be read, or its description, those that are still being read end in an event loop
    that is closed, and Python would print a traceback for each of them, now or a little later."""
    before, log = sys.unraisablehook, logging.getLogger("asyncio")

    def print_others(event: Any) -> None:
        if "Event loop is closed" not in str(event.exc_value):
            before(event)

    def log_others(record: logging.LogRecord) -> bool:
        return "exception was never retrieved" not in record.getMessage()

    sys.unraisablehook = print_others
    log.addFilter(log_others)
    yield  # where it fails both stay: the others end after it
    sys.unraisablehook = before
    log.removeFilter(log_others)


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """{"params/head/bias": (10,), ...}: of arrays, of what stands for them, or of stored metadata."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: hasattr(node, "shape"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves
    }


def first_difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """The first name whose shapes differ, with both; None stands for an array that is not there."""
    name = min(n for n in {*found, *expected} if found.get(n) != expected.get(n))
    return f"{name} has shape {found.get(name)} in the checkpoint and {expected.get(name)} in the model"


def free_name(path: Path) -> Path:
    """`path`, or with a number behind it where an earlier one has the name."""
    names = (path if not n else path.with_name(f"{path.name}-{n}") for n in itertools.count())
    return next(name for name in names if not name.exists())


def first_line(error: BaseException) -> str:
    """What an error says, short enough for one line of ours; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
