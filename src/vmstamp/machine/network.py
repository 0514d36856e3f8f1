"""A virtual network: one network namespace with a bridge, the fabric's addresses, DHCP, DNS and a way out.

    host                         namespace of one virtual network
    ----                         --------------------------------
    holder.py  ----------------  keeps it open, makes sockets and taps in it
    QEMU (tap descriptor)  ----  azt0, azt1, ...  \\
                                                   bridge az0: first address of each subnet (the gateway)
    sockets of this process  --  lo: 168.63.129.16, 169.254.169.254
    dnsmasq  ------------------  DHCP on az0 by MAC, DNS at 168.63.129.16
    slirp4netns  --------------  out0: the way out, behind nftables masquerade

As root the namespace is plain; a plain user gets it inside a user namespace of its own. Everything else
is the same: QEMU and this process stay outside and work through descriptors made inside.

Threads: the public methods may be called from any thread. When this process dies the holder ends; what
else runs is found by `end_leftovers` by the network's directory on its command line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import BinaryIO

from vmstamp.errors import MachineError, ProgramError, ProgramMissing
from vmstamp.machine import holder
from vmstamp.machine.dhcp import (
    BRIDGE,
    IMDS,
    WIRESERVER,
    NetworkSpec,
    Port,
    SubnetSpec,
    colon_mac,
    dnsmasq_config,
    hosts_file,
    internal_domain,
    names_file,
)
from vmstamp.run import Process, find_program, run, spawn

WAY_OUT = "out0"
# The way out's own network: from the range for benchmarks (RFC 2544), so that no subnet collides.
WAY_OUT_NETWORK = IPv4Network("198.18.0.0/24")
START_TIMEOUT = 10.0  # seconds
END_TIMEOUT = 5.0  # seconds that a helper may take to end
POLL = 0.2  # seconds between looks at the DHCP log


def nft_rules() -> str:
    return (
        "table ip vmstamp {\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority srcnat;\n"
        f'    oifname "{WAY_OUT}" masquerade\n'
        "  }\n"
        "}\n"
    )


class Network:
    """One virtual network that runs. Made by `Network.open`; the caller closes it."""

    def __init__(self, spec: NetworkSpec, directory: Path, control: socket.socket, keeper: Process) -> None:
        self.spec = spec
        self._directory = directory
        self._control = control
        self._keeper = keeper
        self._lock = threading.RLock()
        self._ports: dict[str, Port] = {}
        self._helpers: list[Process] = []
        self._dnsmasq: Process | None = None
        self._upstream: IPv4Address | None = None
        self._stale = False  # dnsmasq may hold leases of NICs that are gone
        self._watchers: dict[str, Callable[[], None]] = {}
        self._closed = threading.Event()
        self._log_lock = threading.Lock()
        self._log: BinaryIO | None = None
        self._log_rest = b""  # the beginning of a line
        self._log_reader: threading.Thread | None = None

    @classmethod
    def open(cls, spec: NetworkSpec, directory: Path, *, way_out: bool = True) -> Network:
        """Make the network. `directory` is made, and is its own: old files in it are replaced.

        Blocks for about a quarter of a second. `way_out`: let guests reach what this computer reaches,
        where slirp4netns is installed. Raises MachineError when namespaces are not to be had here.
        """
        directory.mkdir(parents=True, exist_ok=True)
        control, keeper = _start_holder(directory)
        network = cls(spec, directory, control, keeper)
        try:
            network._set_up(way_out)
        except BaseException:
            network.close()
            raise
        return network

    @property
    def enter_argv(self) -> list[str]:
        """The words that run a program inside the namespace."""
        user = ["--user", "--preserve-credentials"] if os.geteuid() != 0 else []
        return ["nsenter", "--target", str(self._keeper.pid), *user, "--net", "--"]

    def _set_up(self, way_out: bool) -> None:
        batch = ["link set lo up", f"link add {BRIDGE} type bridge forward_delay 0", f"link set {BRIDGE} up"]
        batch += [f"addr add {address}/32 dev lo" for address in (WIRESERVER, IMDS)]
        batch += [f"addr add {address} dev {BRIDGE}" for address in _gateways(self.spec)]
        self._ip(batch)
        self._upstream = self._find_way_out() if way_out else None
        self._write_hosts()
        log = self._directory / "dnsmasq.log"
        log.write_bytes(b"")
        self._dnsmasq = self._start_dnsmasq()
        self._log = log.open("rb")
        self._log_reader = threading.Thread(target=self._watch_log, name="dhcp-log", daemon=True)
        self._log_reader.start()

    def change(self, spec: NetworkSpec) -> None:
        """Take this network's subnets as they are now, while VMs run in it; none of theirs may go.

        Raises MachineError and ProgramError.
        """
        with self._lock:
            before, after = _gateways(self.spec), _gateways(spec)
            self._ip([f"addr del {address} dev {BRIDGE}" for address in before if address not in after])
            self._ip([f"addr add {address} dev {BRIDGE}" for address in after if address not in before])
            self.spec = spec
            self._restart_dnsmasq()

    def _restart_dnsmasq(self) -> None:
        if self._dnsmasq is not None:
            _end(self._dnsmasq)
        self._dnsmasq = self._start_dnsmasq()
        self._stale = False

    def _start_dnsmasq(self) -> Process:
        """Start dnsmasq and wait until it serves: a SIGHUP before that would end it."""
        errors, log = self._directory / "dnsmasq.err", self._directory / "dnsmasq.log"
        errors.unlink(missing_ok=True)
        before = log.stat().st_size
        config = self._directory / "dnsmasq.conf"
        config.write_text(dnsmasq_config(self.spec, self._directory, self._upstream))
        process = spawn([*self.enter_argv, find_program("dnsmasq"), f"--conf-file={config}"], output=errors)
        deadline = time.monotonic() + START_TIMEOUT
        while b": started, version" not in (said := log.read_bytes()[before:]):
            if process.poll() is not None or time.monotonic() > deadline:
                _end(process)
                words = (errors.read_bytes() + said).decode(errors="replace").strip()
                raise MachineError(f"virtual network {self.spec.name}: dnsmasq did not start: {words}")
            time.sleep(0.005)
        return process

    def _find_way_out(self) -> IPv4Address | None:
        """Start the way out; its name server, or None where there is none."""
        try:
            program, nft = find_program("slirp4netns"), find_program("nft")
        except ProgramMissing:
            return None
        try:
            self._start_slirp(program)
            run([*self.enter_argv, nft, "-f", "-"], input=nft_rules().encode())
        except (ProgramError, MachineError):
            return None
        return WAY_OUT_NETWORK.network_address + 3

    def _start_slirp(self, program: str) -> None:
        """Start slirp4netns and wait until its interface is up. Its network's path marks it as ours."""
        spaces = Path(f"/proc/{self._keeper.pid}/ns")
        argv = [program, "--configure", "--mtu=1500", f"--cidr={WAY_OUT_NETWORK}", "--disable-host-loopback"]
        argv += ["--netns-type=path"]
        if os.geteuid() != 0:
            argv.append(f"--userns-path={self._link('user', spaces)}")
        errors = self._directory / "slirp4netns.err"
        errors.unlink(missing_ok=True)
        ready_read, ready_write = os.pipe()
        with os.fdopen(ready_read, "rb") as ready:
            try:
                ends = [f"--ready-fd={ready_write}", str(self._link("net", spaces)), WAY_OUT]
                helper = spawn([*argv, *ends], output=errors, pass_fds=[ready_write])
            finally:
                os.close(ready_write)
            self._helpers.append(helper)
            if ready.read(1) != b"1":
                raise MachineError(f"slirp4netns did not start: {errors.read_text(errors='replace').strip()}")

    def _link(self, kind: str, spaces: Path) -> Path:
        link = self._directory / f"{kind}.ns"
        link.unlink(missing_ok=True)
        link.symlink_to(spaces / kind)
        return link

    def _ip(self, commands: Sequence[str]) -> None:
        batch = "\n".join(commands) + "\n"
        run([*self.enter_argv, find_program("ip"), "-batch", "-"], input=batch.encode())

    # Ports

    def add_port(self, mac: str, address: IPv4Address, hostname: str, on_lease: Callable[[], None]) -> int:
        """Give a NIC its place: its one address by DHCP. Returns a descriptor of its tap, the caller's own.

        `on_lease` is called, from a thread of this network, whenever DHCP acknowledged the address.
        """
        mac = colon_mac(mac)
        with self._lock:
            taken = {port.tap for port in self._ports.values()}
            tap = next(name for name in (f"azt{n}" for n in range(len(taken) + 1)) if name not in taken)
            descriptor = self._make(f"tap {tap}")
            try:
                self._ip([f"link set {tap} master {BRIDGE}", f"link set {tap} up"])
            except BaseException:
                os.close(descriptor)
                raise
            self._ports[mac] = Port(mac, address, hostname, tap)
            self._watchers[mac] = on_lease
            self._publish_hosts()
        return descriptor

    def remove_port(self, mac: str) -> None:
        """Forget a NIC; its tap went with its descriptor. No error when it is not there."""
        with self._lock:
            mac = colon_mac(mac)
            if self._ports.pop(mac, None) is None:
                return
            self._watchers.pop(mac, None)
            self._stale = True
            self._publish_hosts()

    @property
    def port_count(self) -> int:
        with self._lock:
            return len(self._ports)

    def _write_hosts(self) -> None:
        ports = list(self._ports.values())
        for name, text in (("hosts", hosts_file(ports)), ("names", names_file(ports, self.spec.domain))):
            beside = self._directory / f"{name}.new"
            beside.write_text(text)
            beside.replace(self._directory / name)

    def _publish_hosts(self) -> None:
        if self._closed.is_set() or self._dnsmasq is None:
            return
        self._write_hosts()
        if self._stale and self._ports:
            # dnsmasq would keep an address for the MAC that had it, and refuse it to the next owner.
            self._restart_dnsmasq()
        elif self._dnsmasq.poll() is None:
            self._dnsmasq.send_signal(signal.SIGHUP)

    def catch_up(self) -> None:
        """Tell the watchers of what DHCP acknowledged until now.

        dnsmasq writes it down before it answers, so a guest that uses its address is known to have it.
        """
        with self._log_lock:
            if self._log is None or self._log.closed:
                return
            *lines, self._log_rest = (self._log_rest + self._log.read()).split(b"\n")
            acknowledged = [line.decode(errors="replace") for line in lines if b" DHCPACK(" in line]
            for line in acknowledged:
                for mac, call in list(self._watchers.items()):
                    if mac in line:
                        call()

    def _watch_log(self) -> None:
        while not self._closed.wait(POLL):
            self.catch_up()

    # Sockets

    def _make(self, request: str) -> int:
        reply = b""
        descriptors: list[int] = []
        with self._lock, contextlib.suppress(OSError):
            self._control.send(request.encode())
            reply, descriptors, _, _ = socket.recv_fds(self._control, 1024, 1)
        if not descriptors:
            said = reply.decode(errors="replace").removeprefix("error ") or "its namespace is gone"
            raise MachineError(f"virtual network {self.spec.name}: {request}: {said}")
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]

    def listen(self, address: IPv4Address, port: int) -> socket.socket:
        """A TCP socket that listens inside the network; the caller owns it. Raises MachineError."""
        listener = socket.socket(fileno=self._make("tcp"))
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(address), port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise MachineError(
                f"virtual network {self.spec.name}: cannot listen on {address}:{port}: {error.strerror}"
            ) from error
        return listener

    def connect(self, address: IPv4Address, port: int, timeout: float) -> socket.socket:
        """A TCP connection from inside the network; OSError when nobody answers in `timeout` seconds."""
        connection = socket.socket(fileno=self._make("tcp"))
        try:
            connection.settimeout(timeout)
            connection.connect((str(address), port))
            connection.settimeout(None)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """End the helpers and the namespace. Guests must be off. Idempotent."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._control.close()
        with self._lock:
            helpers = [*self._helpers, self._keeper]
            if self._dnsmasq is not None:
                helpers.insert(0, self._dnsmasq)
        for helper in helpers:
            if helper.poll() is None:
                helper.terminate()
        for helper in helpers:
            _end(helper)
        if self._log_reader is not None:
            self._log_reader.join()
        with self._log_lock:
            if self._log is not None:
                self._log.close()


def _gateways(spec: NetworkSpec) -> list[str]:
    """The bridge's addresses, with their prefix lengths."""
    return [f"{subnet.gateway}/{subnet.prefix.prefixlen}" for subnet in spec.subnets]


def _end(process: Process) -> None:
    """Terminate a process and wait for it, killing it when it does not go."""
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + END_TIMEOUT
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            return
        time.sleep(0.002)


def _start_holder(directory: Path) -> tuple[socket.socket, Process]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    user = ["--user", "--map-root-user"] if os.geteuid() != 0 else []
    code = str(Path(holder.__file__))
    error_log = directory / "holder.err"
    error_log.unlink(missing_ok=True)
    with theirs:
        keeper = spawn(
            [
                "unshare",
                *user,
                "--net",
                "--",
                sys.executable,
                "-I",
                "-S",
                code,
                str(theirs.fileno()),
                str(directory),
            ],
            output=error_log,
            pass_fds=[theirs.fileno()],
        )
    ours.settimeout(START_TIMEOUT)
    said = b""
    with contextlib.suppress(OSError):
        said = ours.recv(1024)
    if said != b"ok":
        ours.close()
        keeper.kill()
        keeper.wait()
        detail = said.decode(errors="replace") or error_log.read_text(errors="replace").strip()
        raise MachineError(
            f"a network namespace cannot be made: {detail.removeprefix('error ') or 'no answer'}",
            hint="run as root, or allow user namespaces (kernel.unprivileged_userns_clone=1, "
            "kernel.apparmor_restrict_unprivileged_userns=0)",
        )
    ours.settimeout(None)
    return ours, keeper


__all__ = [
    "IMDS",
    "WIRESERVER",
    "Network",
    "NetworkSpec",
    "Port",
    "SubnetSpec",
    "colon_mac",
    "internal_domain",
]
