"""Seeded mutations of an input (bed.py): bytes, numbers at their alignment, pieces copied elsewhere."""

from __future__ import annotations

import random
from typing import Literal

from fuzz.bed import CONTROL, CUT, GROW
from fuzz.kinds import Kind

NUMBERS: tuple[int, ...] = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
NUMBERS += (0x40000000, 0xFFF00000, 1 << 40, (1 << 62) + 512, (1 << 63) - 1, 1 << 63)
NUMBERS += ((1 << 64) - 512, (1 << 64) - 1)


def mutate(rng: random.Random, data: bytes, kind: Kind) -> bytes:
    """One to five changes. The same `rng` and `data` give the same."""
    changed = bytearray(data.ljust(CONTROL.size + sum(high - low for low, high in kind.ranges), b"\0"))
    _mutate_control(rng, changed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        _mutate_range(rng, changed, *_choose_range(rng, kind), kind)
    return bytes(changed)


def _mutate_control(rng: random.Random, data: bytearray) -> None:
    mode = rng.choices((0, CUT, GROW), (90, 3, 7))[0]
    CONTROL.pack_into(data, 0, rng.randrange(2), mode, rng.randrange(1 << 32))


def _choose_range(rng: random.Random, kind: Kind) -> tuple[int, int]:
    """A range's place in the input; all are as likely, whatever their length."""
    chosen = rng.randrange(len(kind.ranges))
    start = CONTROL.size + sum(high - low for low, high in kind.ranges[:chosen])
    return start, start + kind.ranges[chosen][1] - kind.ranges[chosen][0]


def _mutate_range(rng: random.Random, data: bytearray, low: int, high: int, kind: Kind) -> None:
    at = rng.randrange(low, high)
    width = rng.choice((1, 2, 4, 8))
    place = low + (at - low) // width * width
    match rng.randrange(6):
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            _put(data, place, width, _number(rng, kind), rng.choice(("big", "little")), high)
        case 2:
            order: Literal["big", "little"] = rng.choice(("big", "little"))
            value = int.from_bytes(data[place : place + width], order)
            _put(data, place, width, value + rng.choice((-1, 1, -8, 8, 512, 1 << 20)), order, high)
        case 3:
            new = rng.randbytes(rng.randrange(1, 16))[: high - at]
            data[at : at + len(new)] = new
        case 4:
            length = min(rng.choice((4, 8, 16, 32)), high - at)
            source = rng.randrange(CONTROL.size, len(data) - length + 1)
            data[at : at + length] = data[source : source + length]
        case _:
            length = min(rng.randrange(1, 33), high - at)
            data[at : at + length] = rng.choice((b"\0", b"\xff")) * length


def _put(
    data: bytearray, at: int, width: int, value: int, order: Literal["big", "little"], high: int
) -> None:
    packed = (value & ((1 << 8 * width) - 1)).to_bytes(width, order)[: high - at]
    data[at : at + len(packed)] = packed


def _number(rng: random.Random, kind: Kind) -> int:
    """One that is often at a limit: a power of two, whole MiB, or a place in the file, bytes or sectors."""
    size = next(iter(kind.files.values())).size
    place = rng.choice((size, *(low for low, _ in kind.ranges)))
    mib = rng.randrange(1 << rng.randrange(1, 20)) << 20
    return rng.choice((*NUMBERS, mib, mib, place, place // 512, size - place, place | 6, place | 7))
