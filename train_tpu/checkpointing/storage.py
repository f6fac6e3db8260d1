"""Around orbax: its errors in one line, the shapes of what it stored, names that are free."""

import contextlib
import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from train_tpu.errors import RunFailed, disk_trouble


@contextlib.contextmanager
def write_errors() -> Iterator[None]:
    """What the file system says, from whichever library, becomes the end of the run in one line."""
    try:
        yield
    except RunFailed:
        raise
    except Exception as error:
        raise RunFailed(
            f"the checkpoint cannot be written: {disk_trouble(error) or first_line(error)}"
        ) from error


def hush_orphans() -> None:
    """From now on, keep what comes after the first error of orbax out of the terminal; once is enough.

    Orbax gives up at the first array that cannot be read or written and closes its event loop. Those that are
    still under way then end in a closed loop, or were never begun, and Python would print a traceback for
    each: pages that bury the one line that says what is wrong, in threads that no `except` of ours sees.
    """
    if getattr(sys.unraisablehook, "hushed", False):
        return
    sys.unraisablehook = _but_orphans(sys.unraisablehook, lambda event: event.exc_value)
    sys.excepthook = _but_orphans(
        sys.excepthook, lambda kind, error, traceback: error
    )  # of tensorstore's threads
    logging.getLogger("asyncio").addFilter(
        lambda record: "exception was never retrieved" not in record.getMessage()
    )


def _but_orphans(hook: Callable[..., None], error_of: Callable[..., object]) -> Callable[..., None]:
    def hushed(*arguments: Any) -> None:
        said = str(error_of(*arguments))
        if "Event loop is closed" not in said and "write_fragment' was never awaited" not in said:
            hook(*arguments)

    vars(hushed)["hushed"] = True
    return hushed


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
