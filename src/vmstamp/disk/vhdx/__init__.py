"""VHDX: `Vhdx` reads fixed and dynamic files; `write_dynamic` and `write_fixed` write. Spec: [MS-VHDX]."""

from vmstamp.disk.vhdx.reader import Vhdx
from vmstamp.disk.vhdx.writer import choose_block_size, write_dynamic, write_fixed

__all__ = ["Vhdx", "choose_block_size", "write_dynamic", "write_fixed"]
