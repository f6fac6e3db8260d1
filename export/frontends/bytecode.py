"""The strings of an MLIR bytecode file, checked before MLIR reads it.

MLIR's Python bindings end the process when a name or an error message is not UTF-8, which damaged bytes
easily bring about. Format: https://mlir.llvm.org/docs/BytecodeFormat/
"""

from __future__ import annotations

MAGIC = b"ML\xefR"
_STRINGS = 0  # number of the string section
_ALIGNED = 0x80  # flag in the byte before a section


def check_strings(data: bytes) -> None:
    """Walk the sections and decode every string.

    Raises:
      ValueError: a string is not UTF-8 or a length leads out of the file.
    """
    try:
        _, at = _number(data, len(MAGIC))
        end = data.index(0, at)
        data[at:end].decode()
        at = end + 1
        while at < len(data):
            kind = data[at]
            length, at = _number(data, at + 1)
            if kind & _ALIGNED:
                alignment, at = _number(data, at)
                at += -at % alignment
            if at + length > len(data):
                raise ValueError("it ends inside a section")
            if kind & ~_ALIGNED == _STRINGS:
                _decode(data[at : at + length])
            at += length
    except (IndexError, ZeroDivisionError) as error:
        raise ValueError("it ends too early") from error
    except UnicodeDecodeError as error:
        raise ValueError("a name in it is not UTF-8") from error


def _decode(section: bytes) -> None:
    """Their number, their lengths with the closing zero (the last string's first), the strings themselves."""
    count, at = _number(section, 0)
    if count > len(section):
        raise ValueError(f"{count} strings are more than it holds")
    lengths = []
    for _ in range(count):
        length, at = _number(section, at)
        lengths.append(length)
    for length in reversed(lengths):
        section[at : at + length].decode()
        at += length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer (the zeros at the end of its first byte count the bytes that follow) and what
    is behind it."""
    first = data[at]
    if first == 0:
        size, shift = 8, 0
        return int.from_bytes(_exactly(data, at + 1, size), "little"), at + 9
    more = (first & -first).bit_length() - 1
    size, shift = more + 1, more + 1
    return int.from_bytes(_exactly(data, at, size), "little") >> shift, at + size


def _exactly(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ValueError("it ends too early")
    return data[at : at + size]
