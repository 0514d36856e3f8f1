"""Every file and socket name under a stamp's home.

$VMSTAMP_HOME/
  stamp.db            resources, operations, page tables
  stamp.json          how to reach the running server: pid, ports, start time
  stamp.lock          held by the running server, with its pid
  server.log
  subscription.json   subscription, tenant and client ids, made once
  azure/              az's configuration for this stamp, its token
  bundle.pem          the authorities that clients of this stamp trust
  certs/              the stamp's own CA, its server certificate, its token key
  content/<id>        sparse files: the bytes of blobs
  machines/<vm id>/   overlays, provisioning DVD, serial log, QMP socket, timeline
  networks/<id>/      a virtual network's DHCP files and sockets
  recipes/            disks built from a distribution's packages, kept for the next time
  keys/               the SSH key pair that vmstamp makes for VMs it creates
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The directory of one stamp. Nothing is created here except by `make`."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "stamp.db"

    @property
    def endpoint(self) -> Path:
        return self.root / "stamp.json"

    @property
    def azure(self) -> Path:
        """az's configuration directory for this stamp."""
        return self.root / "azure"

    @property
    def bundle(self) -> Path:
        """The certificates that clients trust, with the stamp's own authority."""
        return self.root / "bundle.pem"

    @property
    def lock(self) -> Path:
        return self.root / "stamp.lock"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def subscription(self) -> Path:
        return self.root / "subscription.json"

    @property
    def certs(self) -> Path:
        return self.root / "certs"

    @property
    def content(self) -> Path:
        return self.root / "content"

    @property
    def machines(self) -> Path:
        return self.root / "machines"

    @property
    def networks(self) -> Path:
        return self.root / "networks"

    @property
    def recipes(self) -> Path:
        return self.root / "recipes"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    def machine(self, vm_id: str) -> Path:
        """The directory of one virtual machine, by its vmId."""
        return self.machines / vm_id

    def network(self, network_id: str) -> Path:
        """The directory of one virtual network, by its resourceGuid."""
        return self.networks / network_id

    def make(self) -> None:
        """Create the home and its directories, for the owner alone. Raises OSError."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.certs, self.content, self.machines, self.networks, self.recipes, self.keys):
            directory.mkdir(mode=0o700, exist_ok=True)
