"""`uniqueString` and `guid`: names that depend on nothing but the texts they are made of."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

# The namespace of guid(), an RFC 4122 version 5 UUID of the arguments joined by '-'.
GUID_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
LENGTH = 13  # characters: 64 bits at 5 each
_WORD = 2**32 - 1


def unique_string(texts: Sequence[str]) -> str:
    """13 characters of base 32 for texts, whose order counts. Document: uniqueString."""
    wide = murmur_hash_64("-".join(texts).encode()) << 1  # 65 bits: 13 characters of 5
    return "".join(ALPHABET[wide >> 5 * (LENGTH - 1 - place) & 31] for place in range(LENGTH))


def name_guid(texts: Sequence[str]) -> str:
    """Document: guid."""
    return str(uuid.uuid5(GUID_NAMESPACE, "-".join(texts)))


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _WORD


def _first(k: int) -> int:
    return _rotate(k * 0x239B961B & _WORD, 15) * 0xAB0E9789 & _WORD


def _second(k: int) -> int:
    return _rotate(k * 0xAB0E9789 & _WORD, 17) * 0x239B961B & _WORD


def _avalanche(h: int) -> int:
    h = (h ^ h >> 16) * 0x85EBCA6B & _WORD
    h = (h ^ h >> 13) * 0xC2B2AE35 & _WORD
    return h ^ h >> 16


def murmur_hash_64(data: bytes) -> int:
    """Murmur 3 with two words of 32 bits, seed 0, as Azure's template engine has it."""
    h1 = h2 = 0
    end = len(data) - len(data) % 8
    for at in range(0, end, 8):
        h1 ^= _first(int.from_bytes(data[at : at + 4], "little"))
        h1 = ((_rotate(h1, 19) + h2) * 5 + 0x561CCD1B) & _WORD
        h2 ^= _second(int.from_bytes(data[at + 4 : at + 8], "little"))
        h2 = ((_rotate(h2, 13) + h1) * 5 + 0x0BCAA747) & _WORD
    h1 ^= _first(int.from_bytes(data[end : end + 4], "little"))
    h2 ^= _second(int.from_bytes(data[end + 4 :], "little"))
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _WORD
    h2 = (h2 + h1) & _WORD
    h1, h2 = _avalanche(h1), _avalanche(h2)
    h1 = (h1 + h2) & _WORD
    h2 = (h2 + h1) & _WORD
    return h2 << 32 | h1
