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
is the same. dnsmasq answers by MAC address and ignores client ids: those change whenever a generalized
image boots. It sends Azure's options: 1, 3, 6, 15, 51, 121 (which makes clients ignore 3) and 245.

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
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from vmstamp.errors import MachineError, ProgramError, ProgramMissing
from vmstamp.machine import holder
from vmstamp.run import Process, find_program, run, spawn

WIRESERVER = IPv4Address("168.63.129.16")
IMDS = IPv4Address("169.254.169.254")
BRIDGE = "az0"
WAY_OUT = "out0"
# The way out's own network: from the range for benchmarks (RFC 2544), so that no subnet collides.
WAY_OUT_NETWORK = IPv4Network("198.18.0.0/24")
DOMAIN = "internal.cloudapp.net"
START_TIMEOUT = 10.0  # seconds
POLL = 0.2  # seconds between looks at the DHCP log


@dataclass(frozen=True)
class SubnetSpec:
    name: str
    prefix: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """Azure's: the first address of the subnet."""
        return self.prefix.network_address + 1


@dataclass(frozen=True)
class NetworkSpec:
    """A virtual network: `id` is its resourceGuid."""

    id: str
    name: str
    subnets: tuple[SubnetSpec, ...]


@dataclass(frozen=True)
class Port:
    """A NIC's place on the bridge: MAC as `00:0d:3a:01:02:03`, its one address, its host name."""

    mac: str
    address: IPv4Address
    hostname: str
    tap: str


def colon_mac(mac: str) -> str:
    """`00-0D-3A-01-02-03` or `000D3A010203` as `00:0d:3a:01:02:03`; ValueError for anything else."""
    digits = mac.replace("-", "").replace(":", "").lower()
    if len(digits) != 12 or any(digit not in "0123456789abcdef" for digit in digits):
        raise ValueError(f"not a MAC address: {mac!r}")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def dnsmasq_config(spec: NetworkSpec, directory: Path, upstream: IPv4Address | None) -> str:
    """The configuration of a network's dnsmasq (pure). Options: RFC 2132, RFC 3442 and Azure's 245."""
    lines = [
        "keep-in-foreground",
        "user=root",
        "group=root",
        "bind-dynamic",
        f"interface={BRIDGE}",
        "no-resolv",
        "no-hosts",
        "no-poll",
        f"domain={DOMAIN}",
        f"local=/{DOMAIN}/",
        "expand-hosts",
        f"listen-address={WIRESERVER}",
        "leasefile-ro",
        "dhcp-authoritative",
        "dhcp-ignore-clid",
        "no-ping",
        "log-dhcp",
        f"log-facility={directory / 'dnsmasq.log'}",
        f"pid-file={directory / 'dnsmasq.pid'}",
        f"dhcp-hostsfile={directory / 'hosts'}",
        f"dhcp-option=option:dns-server,{WIRESERVER}",
        f"dhcp-option=option:domain-name,{DOMAIN}",
        "dhcp-option-force=245,a8:3f:81:10",
    ]
    for number, subnet in enumerate(spec.subnets):
        tag, gateway = f"subnet{number}", subnet.gateway
        routes = f"0.0.0.0/0,{gateway},{WIRESERVER}/32,{gateway},{IMDS}/32,{gateway}"
        prefix = subnet.prefix
        lines += [
            f"dhcp-range=set:{tag},{prefix.network_address},static,{prefix.netmask},infinite",
            f"dhcp-option=tag:{tag},option:router,{gateway}",
            f"dhcp-option-force=tag:{tag},121,{routes}",
        ]
    if upstream is not None:
        lines.append(f"server={upstream}")
    return "\n".join(lines) + "\n"


def hosts_file(ports: Sequence[Port]) -> str:
    """dnsmasq's dhcp-hostsfile: who gets which address."""
    return "".join(f"{port.mac},{port.address},{port.hostname},infinite\n" for port in ports)


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
        self._watchers: dict[str, Callable[[], None]] = {}
        self._closed = threading.Event()
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
        batch += [f"addr add {s.gateway}/{s.prefix.prefixlen} dev {BRIDGE}" for s in self.spec.subnets]
        self._ip(batch)
        upstream = self._start_way_out() if way_out else None
        self._write_hosts()
        (self._directory / "dnsmasq.log").write_bytes(b"")
        config = self._directory / "dnsmasq.conf"
        config.write_text(dnsmasq_config(self.spec, self._directory, upstream))
        self._dnsmasq = self._start_dnsmasq(config)
        self._log_reader = threading.Thread(target=self._read_log, name="dhcp-log", daemon=True)
        self._log_reader.start()

    def _start_dnsmasq(self, config: Path) -> Process:
        """Start dnsmasq and wait until it serves: a SIGHUP before that would end it."""
        pid_file, errors = self._directory / "dnsmasq.pid", self._directory / "dnsmasq.err"
        for old in (pid_file, errors):
            old.unlink(missing_ok=True)
        process = self._spawn([find_program("dnsmasq"), f"--conf-file={config}"], errors)
        deadline = time.monotonic() + START_TIMEOUT
        while not pid_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                said = errors.read_text(errors="replace") + (self._directory / "dnsmasq.log").read_text()
                raise MachineError(f"virtual network {self.spec.name}: dnsmasq did not start: {said.strip()}")
            time.sleep(0.005)
        return process

    def _start_way_out(self) -> IPv4Address | None:
        """Start slirp4netns; its name server, or None where it is not installed."""
        try:
            program = find_program("slirp4netns")
        except ProgramMissing:
            return None
        user = [f"--userns-path=/proc/{self._keeper.pid}/ns/user"] if os.geteuid() != 0 else []
        ready_read, ready_write = os.pipe()
        argv = [program, "--configure", "--mtu=1500", f"--cidr={WAY_OUT_NETWORK}", "--disable-host-loopback"]
        argv += [f"--ready-fd={ready_write}", f"--api-socket={self._directory / 'slirp.sock'}", *user]
        (self._directory / "slirp.sock").unlink(missing_ok=True)
        with os.fdopen(ready_read, "rb") as ready:
            try:
                helper = spawn(
                    [*argv, str(self._keeper.pid), WAY_OUT],
                    output=self._directory / "slirp4netns.err",
                    pass_fds=[ready_write],
                )
            finally:
                os.close(ready_write)
            self._helpers.append(helper)
            if ready.read(1) != b"1":
                return None
        run([*self.enter_argv, find_program("nft"), "-f", "-"], input=nft_rules().encode())
        return WAY_OUT_NETWORK.network_address + 3

    def _spawn(self, argv: Sequence[str], output: Path) -> Process:
        process = spawn([*self.enter_argv, *argv], output=output)
        self._helpers.append(process)
        return process

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
            if self._ports.pop(colon_mac(mac), None) is not None:
                self._watchers.pop(colon_mac(mac), None)
                self._publish_hosts()

    @property
    def port_count(self) -> int:
        with self._lock:
            return len(self._ports)

    def _write_hosts(self) -> None:
        beside = self._directory / "hosts.new"
        beside.write_text(hosts_file(list(self._ports.values())))
        beside.replace(self._directory / "hosts")

    def _publish_hosts(self) -> None:
        self._write_hosts()
        if self._dnsmasq is not None and self._dnsmasq.poll() is None:
            self._dnsmasq.send_signal(signal.SIGHUP)

    def _read_log(self) -> None:
        """Tell the watchers of DHCP acknowledgements; runs until the network is closed."""
        with (self._directory / "dnsmasq.log").open(errors="replace") as log:
            while not self._closed.wait(POLL):
                for line in log:
                    if "DHCPACK(" not in line:
                        continue
                    with self._lock:
                        watchers = [call for mac, call in self._watchers.items() if mac in line]
                    for call in watchers:
                        call()

    # Sockets

    def _make(self, request: str) -> int:
        with self._lock:
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
        for helper in (*self._helpers, self._keeper):
            if helper.poll() is None:
                helper.terminate()
        for helper in (*self._helpers, self._keeper):
            _end(helper)
        if self._log_reader is not None:
            self._log_reader.join()


def _end(process: Process) -> None:
    """Wait for a terminated process, killing it when it does not go."""
    try:
        process.wait(5)
    except Exception:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


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


__all__ = ["IMDS", "WIRESERVER", "Network", "NetworkSpec", "Port", "ProgramError", "SubnetSpec", "colon_mac"]
