"""Disk images: any file as a `Disk` that is read by position, and written as what Azure takes.

The door: `open` a file, `convert` a disk, `compare` two, `describe` one, `FixedVhd` to see one as Azure wants
it, `azure_findings` for what Azure would refuse. `partitions` reads and builds partition tables.

This room must not know: file systems, guests, Azure's services, networks.
"""

from vmstamp.disk.base import Disk
from vmstamp.disk.compare import compare
from vmstamp.disk.convert import convert
from vmstamp.disk.detect import open
from vmstamp.disk.fixed_vhd import FixedVhd
from vmstamp.disk.info import describe
from vmstamp.disk.verdict import azure_findings

__all__ = ["Disk", "FixedVhd", "azure_findings", "compare", "convert", "describe", "open"]
