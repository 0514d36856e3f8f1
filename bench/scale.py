"""How much is measured: all, a third of the runs, or a small disk to see that a measurement works."""

from __future__ import annotations

from dataclasses import dataclass, replace

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True)
class Scale:
    """A disk of `size` bytes with about `data` bytes in it; `runs` pairs for each figure."""

    size: int = 10 * GIB
    data: int = 2 * GIB
    runs: int = 3


WHOLE = Scale()
QUICK_RUNS = 1


def parse_scale(words: list[str]) -> Scale:
    """The scale that `--quick` and `--disk-mib N` ask for (a fifth of it data); ValueError when N is none."""
    scale = replace(WHOLE, runs=QUICK_RUNS) if "--quick" in words else WHOLE
    for word in words:
        if word.startswith("--disk-mib="):
            size = int(word.partition("=")[2]) * MIB
            if size < 64 * MIB:
                raise ValueError(f"{word}: at least 64")
            scale = replace(scale, size=size, data=size // 5)
    return scale
