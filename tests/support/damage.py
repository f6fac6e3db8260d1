"""Seeded damage to bytes, as bad disks, broken downloads and careless scripts do it."""

from __future__ import annotations

import random

#: Numbers that readers trip over: lengths and counts at the edges of their types.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to three changes; never equal to it."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(found, rng)
    return bytes(found) if bytes(found) != data else bytes(found) + b"\0"


def _change(data: bytearray, rng: random.Random) -> None:
    # headers say most, so half of the damage is there
    place = rng.randrange(min(len(data), 400) if rng.random() < 0.5 else len(data)) if data else 0
    kind = rng.randrange(8)
    if kind == 0:
        del data[place:]  # cut off
    elif kind == 1 and data:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == 2 and data:
        data[place] = rng.choice((0, 0xFF, 0x80, 0x7F, rng.randrange(256)))
    elif kind == 3:
        data[place : place + 8] = rng.choice(EDGES).to_bytes(8, "little")
    elif kind == 4:
        data[place : place + 4] = (rng.choice(EDGES) & 0xFFFFFFFF).to_bytes(4, "big")
    elif kind == 5:
        del data[place : place + rng.randrange(1, 9)]
    elif kind == 6:
        data[place:place] = rng.randbytes(rng.randrange(1, 9))
    else:
        other = rng.randrange(max(1, len(data)))
        data[place : place + 16] = data[other : other + 16]
