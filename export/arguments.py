"""Command lines whose mistakes are one line: what the flags of every command here have in common."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

T = TypeVar("T")


class UsageError(ValueError):
    """A mistake of the user: one line, exit status 2."""


class OneLineParser(argparse.ArgumentParser):
    """argparse with messages of one line that name what is near to a misspelt flag.

    `subject` is the flag that names what the command works on: a stray argument is probably its value.
    """

    subject = "--ckpt"

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def parse_known(self, argv: Sequence[str]) -> argparse.Namespace:
        """Raises `UsageError` for anything that is no flag of this command."""
        found, unknown = self.parse_known_args(argv)
        if unknown:
            raise UsageError(self._unknown(unknown[0]))
        return found

    def _unknown(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"unexpected argument {argument!r}; the model is given with {self.subject}"
        flags = [name for action in self._actions for name in action.option_strings if name != "-h"]
        flag = argument.split("=")[0]
        close = difflib.get_close_matches(flag, flags, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known flags: {', '.join(flags)}"
        return f"unknown flag {flag}; {hint}"


def choice(flag: str, value: str, known: Sequence[str], later: Sequence[str] = ()) -> str:
    """`value` if it is one of `known`; `later` are those a user may expect and this version has not."""
    if value in known:
        return value
    if value in later:
        raise UsageError(f"{flag} {value} comes in a later version; this one takes {' or '.join(known)}")
    close = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"{flag} {value}: {hint}accepted are {', '.join(known)}")


def positive(text: str) -> int:
    """For `checked`: a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a number above 0")
    return int(text)


def checked(parse: Callable[[str], T], text: str, flag: str) -> T:
    """`parse(text)`, its ValueError as a mistake in `flag`."""
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error
