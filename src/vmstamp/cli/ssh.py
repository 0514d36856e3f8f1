"""SSH into a VM: own keys, own known_hosts per VM, the user's SSH configuration untouched and unread."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.keys import PRIVATE
from vmstamp.cli.network import SSH_PORT, public_address
from vmstamp.errors import MachineError
from vmstamp.paths import Home
from vmstamp.run import Completed, call, run

# A stamp offers a port below 1024 at this much more, and at itself only where this computer lets it; there
# may be another server's.
OFFERED_HIGHER = 10_000
BANNER = b"SSH-2.0-"
CONNECT_TIMEOUT = 15  # seconds
# Seconds for a guest that is Ready to answer: sshd comes up later, in software emulation a minute later.
UP_TIMEOUT = 300
TRIES = 10
PAUSE = 3  # seconds
BEFORE_LOGIN = (
    "kex_exchange_identification",
    "Connection refused",
    "Connection timed out",
    "banner exchange",
    "System is booting up",
)
SSH_FAILED = 255  # ssh's own exit status: no connection; anything else is the command's


@dataclass(frozen=True)
class Target:
    """Where and how to log in to one VM; host keys are kept per vmId."""

    vm: str
    user: str
    address: str
    key: Path
    known_hosts: Path

    def argv(self, port: int, *options: str) -> list[str]:
        """`ssh` up to the destination, without a command."""
        settings = {
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "accept-new",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "LogLevel": "ERROR",
            "ConnectTimeout": str(CONNECT_TIMEOUT),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "8",
        }
        words = ["ssh", "-F", "/dev/null", "-i", str(self.key), "-p", str(port)]
        for name, value in settings.items():
            words += ["-o", f"{name}={value}"]
        return [*words, *options, f"{self.user}@{self.address}"]


def target_of(arm: ArmClient, home: Home, vm: Document, *, key: Path | None = None, user: str = "") -> Target:
    """How to log in to a VM. Raises MachineError when it has no public address or no user is known."""
    address = public_address(arm, vm)
    if address is None:
        raise MachineError(
            f"VM {vm['name']} has no public IP address", hint="vm create makes one with each VM"
        )
    user = user or str(vm["properties"].get("osProfile", {}).get("adminUsername") or "")
    if not user:
        raise MachineError(f"VM {vm['name']} was deployed without a user", hint="pass --user")
    known_hosts = home.keys / "known_hosts" / str(vm["properties"]["vmId"])
    known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Target(str(vm["name"]), user, address, key or home.keys / PRIVATE, known_hosts)


def find_port(address: str) -> int | None:
    """The port on which the VM's SSH server greets now: 22, or 10022 of a stamp's loopback address.

    None when it does not greet.
    """
    port = _port_of(address)
    try:
        with socket.create_connection((address, port), timeout=CONNECT_TIMEOUT) as connection:
            return port if connection.recv(len(BANNER)) == BANNER else None
    except OSError:
        return None


def _port_of(address: str) -> int:
    return SSH_PORT + OFFERED_HIGHER if ip_address(address).is_loopback else SSH_PORT


def require_offered(target: Target) -> None:
    """Raises MachineError where the stamp of a running VM does not offer its port 22: waiting is in vain.

    A stamp listens at a VM's public address for as long as the VM runs. Of a cloud nothing is known.
    """
    if not ip_address(target.address).is_loopback:
        return
    try:
        socket.create_connection((target.address, _port_of(target.address)), CONNECT_TIMEOUT).close()
    except ConnectionRefusedError as error:
        raise MachineError(
            f"VM {target.vm} runs, but its port {SSH_PORT} is not offered at {target.address}",
            hint="no security group lets it through, or another program has the port: az vm open-port -n "
            f"{target.vm} --port {SSH_PORT}",
        ) from error
    except OSError:
        return


def wait_port(target: Target, timeout: float, each: Callable[[], None] = lambda: None) -> int:
    """Wait for the VM's SSH server; its port. MachineError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (port := find_port(target.address)) is None:
        if time.monotonic() > deadline:
            raise MachineError(
                f"SSH of VM {target.vm} does not answer at {target.address} within {timeout:.0f} s",
                hint=f"look at its console: vmstamp vm log {target.vm}",
            )
        each()
        time.sleep(1)
    return port


def run_in(
    target: Target, command: str, *, port: int, timeout: float = 600, check: bool = True, stdin: bytes = b""
) -> Completed:
    """Run a shell command in the VM; MachineError when SSH or (with `check`) the command fails.

    `timeout` is in seconds. Nothing is asked: no password, no passphrase.
    """
    words = [*target.argv(port, "-o", "BatchMode=yes"), "--", command]
    for _ in range(TRIES):
        done = run(words, input=stdin, check=False, timeout=timeout)
        if not _never_began(done):
            break
        time.sleep(PAUSE)
    if done.status == SSH_FAILED or (check and done.status != 0):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        what = (
            "SSH failed" if done.status == SSH_FAILED else f"exit status {done.status} of {_short(command)}"
        )
        raise MachineError(
            f"VM {target.vm} ({target.user}@{target.address}): {what}: {said[-1] if said else 'no message'}"
        )
    return done


def log_in_here(target: Target, *words: str, port: int, pause: float = PAUSE) -> int:
    """`ssh` on this terminal, with `words` as its command; its exit status.

    What ssh itself has to say goes to a file meanwhile, apart from what the command says: so a login that
    ended before it began can be tried again. Nothing of standard input is used up by then.
    """
    with tempfile.TemporaryDirectory(prefix="vmstamp-ssh-") as directory:
        log = Path(directory) / "log"
        for left in reversed(range(TRIES)):
            log.write_bytes(b"")
            status = call([*target.argv(port, "-E", str(log)), *words])
            said = log.read_text(errors="replace")
            if not left or not _ended_before_login(status, said):
                break
            time.sleep(pause)
    sys.stderr.write(said)
    return status


def _never_began(done: Completed) -> bool:
    return _ended_before_login(done.status, done.stderr.decode(errors="replace"))


def _ended_before_login(status: int, said: str) -> bool:
    """Whether a login ended before the command: a guest that is still starting restarts its SSH server."""
    return status == SSH_FAILED and any(words in said for words in BEFORE_LOGIN)


def _short(command: str) -> str:
    line = command.strip().splitlines()[0] if command.strip() else "(nothing)"
    return line if len(line) <= 60 else line[:57] + "..."
