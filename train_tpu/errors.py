"""Ends of a run that are not bugs: each carries the exit status of the command."""

import difflib
import errno
import os
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what was asked for; the message is one line that says what would be accepted."""

    exit_code = 2


class RunFailed(RuntimeError):
    """Training cannot go on (non-finite loss, too many unreadable images); checkpoints are intact."""

    exit_code = 1


class NotFinite(RunFailed):
    """Loss, gradients or new weights of a step are not finite.

    Args:
      step: the step.
    """

    def __init__(self, step: int, message: str):
        super().__init__(message)
        self.step = step


def disk_trouble(error: BaseException) -> str | None:
    """What the system said of a disk, in words; None where the error is another.

    Libraries put it at the end of a long line of their own, with or without a number.
    """
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
        words = os.strerror(number)
        if words in str(error):
            full = number in (errno.ENOSPC, errno.EDQUOT)
            return f"{words}{'; make space, and the same command goes on' if full else ''}"
    return None


def missing_extra(error: ModuleNotFoundError) -> str:
    """The message for a package that is not installed; raises the error again if it is one of ours."""
    package = (error.name or "").split(".")[0]
    if package in ("hvjax", "train_tpu", ""):
        raise error
    return f"training needs the package {package}, which is not installed: pip install 'hvjax[train]'"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean a or b?' with the closest of `known`, or '' when nothing is close."""
    known = list(known)
    # one that is nearly right makes the others noise
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    close = close or difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def choose(kind: str, name: str, table: dict):
    """`table[name]`, or a UserError that lists the choices."""
    if name not in table:
        raise UserError(
            f"unknown {kind} {name!r}{did_you_mean(name, list(table))} (one of {', '.join(table)})"
        )
    return table[name]
