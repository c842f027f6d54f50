"""Bytes from outside: how many, and how good ones are spoiled.

@settings(max_examples=examples(60))      # a hundred times as many with --deep

for data in spoiled(good, 400, seed="chains"): ...
"""

from __future__ import annotations

import random
from collections.abc import Iterator

DEEP_TIMES = 100
is_deep = False  # set by conftest before any test module is read


def examples(sample: int) -> int:
    """How many examples a fuzz test draws."""
    return sample * DEEP_TIMES if is_deep else sample


def spoiled(good: bytes, sample: int, seed: str) -> Iterator[bytes]:
    """The same bytes for the same seed, each spoiled in one to three places."""
    dice = random.Random(seed)
    return (mutated(good, dice) for _ in range(examples(sample)))


def mutated(data: bytes, dice: random.Random) -> bytes:
    """One to three of: flip, cut, insert, copy a piece over another, another length, all ones."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at, size = dice.randrange(len(out) + 1), dice.choice((1, 1, 2, 8, 32, 64))
        match dice.randrange(7):
            case 0 | 1:
                if at < len(out):
                    out[at] ^= 1 << dice.randrange(8)
            case 2:
                del out[at : at + size]
            case 3:
                out[at:at] = dice.randbytes(size)
            case 4:
                start = dice.randrange(len(out) + 1)
                out[at : at + size] = out[start : start + size]
            case 5:
                out = out[:at]
            case _:
                out[at : at + size] = dice.choice((b"\0", b"\xff", b'"', b"{", b"=")) * size
    return bytes(out)
