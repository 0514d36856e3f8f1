"""The ports of this computer that lead to one machine, changed while it runs.

A machine's doors are opened and closed until they are those that are wanted. Once they are shut, as the
machine has left, none is opened again: an order that comes late opens nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from vmstamp.errors import MachineError
from vmstamp.machine.forward import Forward, Inside


@dataclass(frozen=True)
class Door:
    """A port of this computer and the one of a guest, inside its network, that it leads to.

    `sure`: that it cannot be had is an error.
    """

    address: IPv4Address
    port: int
    guest: IPv4Address
    guest_port: int
    network: Inside = field(compare=False)
    sure: bool = field(default=True, compare=False)


class Doors:
    """The doors of one machine. Any thread may call; each call holds the lock to its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Door, Forward] = {}
        self._shut = False

    def keep(self, wanted: Iterable[Door]) -> None:
        """Close those that are not wanted, with their connections, and open those that are missing.

        Raises MachineError for a sure one that cannot be had, after all others were opened.
        """
        doors = list(wanted)
        refused: list[MachineError] = []
        with self._lock:
            for door in [door for door in self._open if door not in doors]:
                self._open.pop(door).close()
            for door in doors:
                if self._shut or door in self._open:
                    continue
                try:
                    self._open[door] = Forward.open(
                        door.address, door.port, door.network, door.guest, door.guest_port
                    )
                except MachineError as error:
                    refused += [error] if door.sure else []
        if refused:
            raise refused[0]

    def shut(self) -> None:
        """Close all, for good. Idempotent."""
        with self._lock:
            self._shut = True
            for forward in self._open.values():
                forward.close()
            self._open.clear()
