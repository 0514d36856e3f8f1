"""Runs the measurements and prints a table; exit status 1 when a figure is over its limit.

`python -m bench [NAME...] [--list] [--json] [--quick] [--disk-mib=N]`: `--quick` takes a third of the runs of
`convert`, `read` and `blob`. With a disk of N MiB these only show that they work: their limits are meant for
the whole one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from compileall import compile_dir
from dataclasses import asdict
from pathlib import Path

import vmstamp
from bench import blob, boot, command, control, convert, disks, doctor, read, upload
from bench.figure import Figure
from bench.scale import Scale, parse_scale

BENCHES: dict[str, Callable[[Scale], Iterator[Figure]]] = {
    "command": lambda _: command.measure(),
    "control": control.measure,
    "disks": lambda _: disks.measure(),
    "doctor": doctor.measure,
    "convert": convert.measure,
    "read": read.measure,
    "blob": blob.measure,
    "upload": lambda _: upload.measure(),
    "boot": lambda _: boot.measure(),
}


def main(words: list[str]) -> int:
    if "--list" in words:
        print("\n".join(BENCHES))
        return 0
    as_json = "--json" in words
    names = [word for word in words if not word.startswith("--")] or list(BENCHES)
    if unknown := set(names) - set(BENCHES):
        print(
            f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}",
            file=sys.stderr,
        )
        return 2
    try:
        scale = parse_scale(words)
    except ValueError as error:
        print(f"--disk-mib=N wants a number: {error}", file=sys.stderr)
        return 2
    compile_dir(Path(vmstamp.__file__).parent, quiet=2)  # as pip does when it installs
    figures = []
    for name in names:
        for figure in BENCHES[name](scale):
            figures.append(figure)
            if not as_json:
                print(line(figure), flush=True)
    if as_json:
        print(json.dumps([asdict(figure) | {"holds": figure.holds} for figure in figures], indent=2))
    return 0 if all(figure.holds for figure in figures) else 1


def line(figure: Figure) -> str:
    limit = "" if figure.limit is None else f"(at most {figure.limit:g}{'' if figure.holds else ': MISSED'})"
    return f"{figure.name:<58} {figure.value:>10.3f} {figure.unit:<6} {limit:<18} {figure.how}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
