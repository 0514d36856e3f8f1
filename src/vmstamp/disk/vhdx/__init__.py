"""VHDX: `Vhdx` reads a file; `write_dynamic`, `write_fixed`, `create_differencing` write. Spec: [MS-VHDX]."""

from vmstamp.disk.vhdx.reader import Vhdx
from vmstamp.disk.vhdx.writer import choose_block_size, create_differencing, write_dynamic, write_fixed

__all__ = ["Vhdx", "choose_block_size", "create_differencing", "write_dynamic", "write_fixed"]
