"""Fuzzes one kind, guided by coverage: `python -m fuzz.guided KIND RUNS SEED DIRECTORY`. Needs atheris.

Half of the mutations are ours (mutate.py), the others libFuzzer's. All files are made in DIRECTORY.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vmstamp.disk", "vmstamp.extents"]):
    from fuzz.bed import Bed
    from fuzz.findings import execute, keep
    from fuzz.kinds import make_kind
    from fuzz.limits import limit_process
    from fuzz.mutate import mutate

QUIET = ["-timeout=600", "-rss_limit_mb=0", "-len_control=0", "-verbosity=0", "-print_final_stats=0"]


def main(name: str, runs: int, seed: int, directory: Path) -> None:
    """Does not return: libFuzzer ends the process."""
    corpus, files = directory / "corpus", directory / "files"
    corpus.mkdir()
    files.mkdir()
    bed = Bed(make_kind(name), files)
    for number, sealed in enumerate((False, True)):
        (corpus / f"valid-{number}").write_bytes(bed.valid_input(seal=sealed))

    def one_input(data: bytes) -> None:
        finding = execute(bed, data)
        if finding is not None and keep(bed, data, finding):
            print(f"{name}: {finding.what}", flush=True)

    def mutator(data: bytes, max_size: int, number: int) -> bytes:
        rng = random.Random(number)
        return mutate(rng, data, bed.kind) if rng.randrange(2) else atheris.Mutate(data, max_size)

    limit_process()
    longest = f"-max_len={len(bed.valid_input())}"
    argv = [sys.argv[0], f"-runs={runs}", f"-seed={seed}", longest, *QUIET, str(corpus)]
    atheris.Setup(argv, one_input, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
