"""What fuzzing found once, again: fuzz/seeds. And that fuzzing finds, keeps and reduces."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from fuzz.bed import Bed
from fuzz.findings import count_since, keep, reduce
from fuzz.kinds import Kind
from fuzz.limits import Finding, find
from fuzz.looks import look_for
from fuzz.mutate import mutate
from fuzz.seals import leave, seal_vhd
from fuzz.sparse import SparseFile, parse_text, to_text
from vmstamp.disk.footer import checksum

SEEDS = sorted((Path(__file__).parents[3] / "fuzz/seeds").glob("*.txt"))
CHANCES = 40  # of what a look does; one in eight mends
MOST_SEED_SIZE = 16 * 1024  # bytes of text

KIND = Kind("raw", {"disk": SparseFile(4096, {0: b"head", 2048: b"middle"})}, ((0, 8), (2048, 2064)), leave)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.stem)
def test_what_was_found_once_is_found_no_more(tmp_path: Path, seed: Path) -> None:
    assert seed.stat().st_size <= MOST_SEED_SIZE
    kind, files = parse_text(seed.read_text())
    for name, file in files.items():
        file.write(tmp_path / name)
    path = tmp_path / next(iter(files))
    for number in range(CHANCES):
        chances = random.Random(number)
        assert find(lambda chances=chances: look_for(kind)(path, chances)) is None  # type: ignore[misc]


def test_files_are_the_same_after_they_were_text() -> None:
    data = b"abc" + bytes(100) + b"d\0e" + bytes(1000)
    files = {"disk": SparseFile.of(data), "parent": SparseFile(5, {})}
    assert sorted(files["disk"].pieces) == [0, 103]
    kind, again = parse_text(to_text("found\nthus", "vhd-child", files))
    assert kind == "vhd-child"
    assert [(name, bytes(file.data())) for name, file in again.items()] == [
        ("disk", data),
        ("parent", bytes(5)),
    ]


def test_a_sparse_file_is_written_with_its_holes(tmp_path: Path) -> None:
    SparseFile(1 << 30, {1 << 29: b"x"}).write(tmp_path / "disk")
    status = (tmp_path / "disk").stat()
    assert (status.st_size, status.st_blocks * 512 < 1 << 20) == (1 << 30, True)


def test_an_input_is_laid_over_the_ranges_and_taken_off(tmp_path: Path) -> None:
    bed = Bed(KIND, tmp_path)
    valid = bed.path.read_bytes()
    bed.lay(b"\0\0\0\0\0\0" + b"changed!" + b"M")
    assert bed.path.read_bytes() == b"changed!" + valid[8:2048] + b"M" + valid[2049:]
    bed.clear()
    assert bed.path.read_bytes() == valid
    bed.close()


@pytest.mark.parametrize(("mode", "sign"), [(240, -1), (248, 1)])
def test_a_file_that_was_cut_or_grew_is_the_valid_one_again(tmp_path: Path, mode: int, sign: int) -> None:
    bed = Bed(KIND, tmp_path)
    valid = bed.path.read_bytes()
    bed.lay(bytes([0, mode, 7, 0, 0, 0]))
    assert (bed.path.stat().st_size - len(valid)) * sign > 0
    bed.clear()
    assert bed.path.read_bytes() == valid
    bed.close()


def test_a_sealed_footer_has_its_checksum() -> None:
    data = bytearray(b"conectix".ljust(512, b"\7"))
    seal_vhd(data)
    assert int.from_bytes(data[64:68], "big") == checksum(bytes(data))


def test_mutations_are_repeatable_and_keep_the_length(tmp_path: Path) -> None:
    bed = Bed(KIND, tmp_path)
    valid = bed.valid_input()
    bed.close()
    made = [mutate(random.Random(number), valid, KIND) for number in range(200)]
    assert made == [mutate(random.Random(number), valid, KIND) for number in range(200)]
    assert {len(data) for data in made} == {len(valid)}
    assert len(set(made)) > 150


def test_reducing_leaves_only_what_is_needed() -> None:
    valid = bytes(100)
    data = bytes(range(1, 101))
    found = reduce(data, valid, lambda tried: tried[50] == 51 and tried[70] == 71, 1000)
    assert {at: byte for at, byte in enumerate(found[6:], 6) if byte} == {50: 51, 70: 71}


def test_of_findings_in_one_place_the_first_is_kept(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    bed, finding = Bed(KIND, tmp_path / "files"), Finding("ValueError: no", "ValueError-place")
    assert keep(bed, bed.valid_input(), finding, tmp_path / "findings")
    (kept,) = (tmp_path / "findings").iterdir()
    os.utime(kept, (1, 1))
    assert count_since(2, "raw", tmp_path / "findings") == 0
    assert not keep(bed, bed.valid_input(), finding, tmp_path / "findings")
    assert count_since(2, "raw", tmp_path / "findings") == 1
    bed.close()
    assert kept.read_text().startswith("# ValueError: no\nkind raw\nfile disk 4096\n0 68656164\n")


def test_a_foreign_exception_is_a_finding_and_its_place_is_told() -> None:
    def look() -> None:
        checksum(None)  # type: ignore[arg-type]

    finding = find(look)
    assert finding is not None
    assert finding.where == "TypeError-footer-checksum"


def test_much_memory_is_a_finding() -> None:
    def look() -> None:
        assert bytearray(b"x") * (250 << 20)

    finding = find(look)
    assert finding is not None
    assert finding.where == "memory"


def test_a_look_that_costs_nothing_is_none() -> None:
    assert find(lambda: None) is None
