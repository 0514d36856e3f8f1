"""A fabric with one network and one VM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.fabric_doors import FIRST, Clock, Doors, make_instance
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import Instance
from vmstamp.timeline import Timeline


@pytest.fixture
def fabric() -> Iterator[Fabric]:
    made = Fabric(Clock())
    yield made
    made.close()


@pytest.fixture
def doors(fabric: Fabric) -> Doors:
    return Doors(fabric, "net1")


@pytest.fixture
def vm() -> Instance:
    return make_instance(FIRST, "vm1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
def timeline(fabric: Fabric, doors: Doors, vm: Instance) -> Timeline:
    """The VM's timeline; the VM is registered."""
    made = Timeline()
    fabric.register("net1", vm, made)
    return made
