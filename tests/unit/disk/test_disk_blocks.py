"""A disk of blocks over its parent, without a file format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmstamp.disk.blocks import HOLE, ZERO, BlockDisk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.memory import MemoryDisk
from vmstamp.extents import Extent

BLOCK, UNIT = 64, 8  # bytes of a block, and of what a bit of `present` stands for
Block = int | None | tuple[bool, ...]


class Child(BlockDisk):
    """Blocks are HOLE, ZERO, or which of their units the file decides; block n's data lies at n * BLOCK."""

    format = "test"
    block_size = BLOCK

    def __init__(self, file: ImageFile, size: int, blocks: Sequence[Block], parent: MemoryDisk) -> None:
        self.file, self.size, self.blocks, self.parent = file, size, blocks, parent

    def _locate(self, first: int, count: int) -> Sequence[int | None]:
        return [
            block * BLOCK if isinstance(it := self.blocks[block], tuple) else it
            for block in range(first, first + count)
        ]

    def allocated(self) -> Iterator[tuple[int, int]]:
        for block, position in enumerate(self._locate(0, len(self.blocks))):
            if position is not HOLE:
                yield block, position

    def _present(self, block: int, position: int, start: int, end: int) -> Iterator[Extent]:
        units = self.blocks[block]
        assert isinstance(units, tuple)
        for unit, own in enumerate(units):
            low, high = max(start, unit * UNIT), min(end, (unit + 1) * UNIT)
            if own and low < high:
                yield Extent(low, high)


@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(
        st.sampled_from([HOLE, ZERO]) | st.tuples(*[st.booleans()] * (BLOCK // UNIT)), min_size=1, max_size=6
    ),
    short=st.integers(0, BLOCK - 1),
    parent=st.binary(min_size=1, max_size=6 * BLOCK),
    span=st.tuples(st.integers(0, 400), st.integers(0, 400)),
)
def test_a_child_reads_its_own_parts_and_else_its_parents(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[Block],
    short: int,
    parent: bytes,
    span: tuple[int, int],
) -> None:
    size = len(blocks) * BLOCK - short
    expected = bytearray(parent[:size].ljust(size, b"\0"))
    own = bytes(200 + at % 50 for at in range(len(blocks) * BLOCK))
    for number, block in enumerate(blocks):
        for unit in range(BLOCK // UNIT):
            low, high = number * BLOCK + unit * UNIT, min(size, number * BLOCK + (unit + 1) * UNIT)
            if low < high and block == ZERO:
                expected[low:high] = bytes(high - low)
            elif low < high and isinstance(block, tuple) and block[unit]:
                expected[low:high] = own[low:high]
    path = tmp_path_factory.mktemp("child") / "file"
    path.write_bytes(own)
    with Child(ImageFile(path), size, blocks, MemoryDisk(len(parent), {0: parent})) as child:
        start, end = min(span[0], size), min(sum(span), size)
        assert child.read(start, end - start) == expected[start:end]
        rebuilt, last = bytearray(size), -1
        for low, high in child.extents():
            assert last < low < high <= size
            rebuilt[low:high], last = child.read(low, high - low), high
        assert rebuilt == expected
