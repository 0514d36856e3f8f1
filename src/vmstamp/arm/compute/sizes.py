"""The sizes of virtual machines: a selection of Azure's, with their own figures.

Source: the "Sizes for virtual machines in Azure" pages, per series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vmstamp.arm.faults import invalid_parameter
from vmstamp.arm.resource import Json
from vmstamp.errors import AzureError

MIB: Final = 2**20
OS_DISK_MIB: Final = 1047552  # what Azure says for every size


@dataclass(frozen=True)
class Size:
    """`memory` in MiB; `generations` are the Hyper-V generations that it can boot."""

    name: str
    vcpus: int
    memory_mib: int
    data_disks: int
    resource_disk_mib: int
    generations: tuple[int, ...] = (1, 2)

    @property
    def memory(self) -> int:
        return self.memory_mib * MIB

    def to_json(self) -> Json:
        """As the vmSizes lists show it."""
        return {
            "name": self.name,
            "numberOfCores": self.vcpus,
            "osDiskSizeInMB": OS_DISK_MIB,
            "resourceDiskSizeInMB": self.resource_disk_mib,
            "memoryInMB": self.memory_mib,
            "maxDataDiskCount": self.data_disks,
        }


SIZES: Final = (
    Size("Standard_B1ls", 1, 512, 2, 4096),
    Size("Standard_B1s", 1, 1024, 2, 4096),
    Size("Standard_B1ms", 1, 2048, 2, 4096),
    Size("Standard_B2s", 2, 4096, 4, 8192),
    Size("Standard_B2ms", 2, 8192, 4, 16384),
    Size("Standard_B4ms", 4, 16384, 8, 32768),
    Size("Standard_A1_v2", 1, 2048, 2, 10240, (1,)),
    Size("Standard_A2_v2", 2, 4096, 4, 20480, (1,)),
    Size("Standard_DS1_v2", 1, 3584, 4, 7168),
    Size("Standard_DS2_v2", 2, 7168, 8, 14336),
    Size("Standard_D2s_v3", 2, 8192, 4, 16384),
    Size("Standard_D4s_v3", 4, 16384, 8, 32768),
    Size("Standard_D2s_v5", 2, 8192, 4, 0),
    Size("Standard_D4s_v5", 4, 16384, 8, 0),
    Size("Standard_D8s_v5", 8, 32768, 16, 0),
    Size("Standard_DC2s_v3", 2, 16384, 8, 0, (2,)),
)
DEFAULT: Final = "Standard_DS1_v2"

_BY_NAME = {size.name.lower(): size for size in SIZES}


def vm_sizes() -> Json:
    """The body of the vmSizes lists."""
    return {"value": [size.to_json() for size in SIZES]}


def get_size(name: str) -> Size:
    """Raises Azure's answer to a size that it does not know."""
    found = _BY_NAME.get(name.lower())
    if found is None:
        known = ",".join(size.name for size in SIZES)
        raise invalid_parameter(
            f"The value {name} provided for the VM size is not valid. The valid sizes in the current region "
            f"are: {known}. Find out more on the valid VM sizes in each region at "
            "https://aka.ms/azure-regionservices.",
            "vmSize",
        )
    return found


def check_generation(size: Size, generation: int) -> None:
    """Raises when the size cannot boot this Hyper-V generation."""
    if generation not in size.generations:
        raise AzureError(
            400,
            "BadRequest",
            f"The selected VM size '{size.name}' cannot boot Hypervisor Generation '{generation}'. If this "
            "was a Create operation please check that the Hypervisor Generation of the Image matches the "
            "Hypervisor Generation of the selected VM Size. If this was an Update operation please select "
            f"a Hypervisor Generation '{generation}' VM Size.",
        )
