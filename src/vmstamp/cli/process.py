"""Starting and stopping the stamp's server process."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from vmstamp import settings
from vmstamp.cli.endpoint import SERVER_MODULE, Endpoint, find_endpoint, find_server, is_ours
from vmstamp.cli.render import Reporter
from vmstamp.errors import StampError
from vmstamp.paths import Home
from vmstamp.run import Process, spawn

START_TIMEOUT = 60.0  # seconds until stamp.json must show the server
STOP_TIMEOUT = 300.0  # seconds for the VMs' shutdown under software emulation
SAY_AFTER = 2.0  # seconds of stopping, after which it is said who is waited for
GUEST = b"guest=vmstamp-"  # QEMU's -name
LONGEST = (
    f"{settings.shutdown_seconds('tcg'):.0f} s at most ({settings.shutdown_seconds('kvm'):.0f} s under KVM)"
)
WAITING = f": {LONGEST}, then the plug is pulled; vmstamp down --force pulls it now"
LOG_TAIL = 4096  # bytes of server.log that an error shows the end of
LEAST_ROOM = 1 << 20  # bytes; with less of them free a server cannot begin


def start(home: Home, ports: dict[str, int] | None = None) -> tuple[Endpoint, bool]:
    """The running stamp of `home`, started when none runs; True with it when it was started now.

    `ports` overrides the settings: {"VMSTAMP_ARM_PORT": 0}. Blocks until ARM answers over HTTPS. Raises
    StampError: a port taken, the home unusable, the server ended or silent (with the end of its log).
    """
    found = find_endpoint(home)
    if found is not None:
        return found, False
    if (busy := find_server(home)) is not None:
        raise StampError(
            f"the stamp of {home.root} (pid {busy}) is starting or stopping at this moment",
            hint="vmstamp down waits for its end, vmstamp down --force waits for no guest",
        )
    numbers = {
        settings.ARM_PORT.variable: settings.arm_port(),
        settings.BLOB_PORT.variable: settings.blob_port(),
        **(ports or {}),
    }
    for variable, port in numbers.items():
        check_port(port, variable)
    try:
        home.make()
    except OSError as error:
        raise StampError(
            f"{home.root}: the stamp's home cannot be made: {error.strerror}",
            hint="set VMSTAMP_HOME to a directory that you may write",
        ) from error
    env = {"VMSTAMP_HOME": str(home.root), **{name: str(port) for name, port in numbers.items()}}
    logged = home.log.stat().st_size if home.log.exists() else 0
    # glibc's malloc gives each thread a heap, and what bodies of requests leave in each stays taken.
    env["MALLOC_ARENA_MAX"] = os.environ.get("MALLOC_ARENA_MAX", "2")
    server = spawn([sys.executable, "-m", SERVER_MODULE], output=home.log, env=env)
    try:
        return _wait_ready(home, server, logged), True
    except BaseException:
        _end(server)
        raise


def check_port(port: int, variable: str) -> None:
    """Refuse a loopback port that something else listens on; 0 is always fine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            said = "is taken by another program" if error.errno == errno.EADDRINUSE else str(error.strerror)
            raise StampError(
                f"port {port} on 127.0.0.1 {said}",
                hint=f"set {variable} to another port, or to 0 for any free one (who has it: ss -ltnp)",
            ) from error


def answers(endpoint: Endpoint) -> bool:
    """Whether ARM answers HTTPS requests now, with a certificate of this stamp's own CA."""
    import ssl
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        context = ssl.create_default_context(cafile=str(endpoint.ca))
        with urlopen(f"{endpoint.arm}/metadata/endpoints?api-version=2022-09-01", timeout=5, context=context):
            return True
    except HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def _wait_ready(home: Home, server: Process, logged: int) -> Endpoint:
    import ssl  # noqa: F401 - what `answers` needs is read in while the server does its own reading
    import urllib.request  # noqa: F401

    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if (status := server.poll()) is not None:
            raise StampError(
                f"the stamp's server ended at its start (exit status {status}): {_log_end(home.log, logged)}",
                hint=full_hint(home.root) or f"its log: {home.log}",
            )
        endpoint = find_endpoint(home)
        if endpoint is not None and endpoint.pid == server.pid and answers(endpoint):
            return endpoint
        time.sleep(0.05)
    raise StampError(
        f"the stamp's server did not answer within {START_TIMEOUT:.0f} s", hint=f"its log: {home.log}"
    )


def full_hint(root: Path, least: int = LEAST_ROOM) -> str:
    """What to do about a file system that is full, which no log can tell; '' when it has room."""
    if shutil.disk_usage(root).free >= least:
        return ""
    return f"the file system of {root} is full: free some space, or set VMSTAMP_HOME to another one"


def _log_end(log: Path, start: int) -> str:
    """The last line that the server wrote to its log after byte `start`."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - LOG_TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "no log"
    return lines[-1].strip() if lines else "it logged nothing"


def _end(server: Process) -> None:
    """Ask our own server to stop and wait; kill it when it does not."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(STOP_TIMEOUT)
        finally:
            server.kill()


def stop(home: Home, report: Reporter, timeout: float = STOP_TIMEOUT, *, force: bool = False) -> int | None:
    """Stop the stamp of `home` and its VMs, and wait; the pid of what was running, or None when none was.

    Its guests are asked to shut down, and whom is waited for is said; with `force` their plugs are pulled.
    One that is stopping already is waited for. Raises StampError when it is still there after `timeout`
    seconds.
    """
    endpoint = find_endpoint(home)
    pid = endpoint.pid if endpoint else find_server(home)
    if pid is None:
        return None
    try:
        if force:
            os.kill(pid, signal.SIGUSR1)
        if endpoint:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return pid
    report.say(f"asked the stamp (pid {pid}) to stop" if endpoint else f"the stamp (pid {pid}) is stopping")
    try:
        _wait_end(home, pid, report, timeout)
    except KeyboardInterrupt as error:
        error.add_note(
            "the stamp goes on stopping: vmstamp down waits again, vmstamp down --force pulls the plugs"
        )
        raise
    return pid


def _wait_end(home: Home, pid: int, report: Reporter, timeout: float) -> None:
    said: list[str] = []
    began = time.monotonic()
    while is_ours(pid, home):
        waited = time.monotonic() - began
        if waited > timeout:
            raise StampError(
                f"the stamp (pid {pid}) still runs {timeout:.0f} s after it was asked to stop",
                hint=f"its log: {home.log}; kill -9 {pid} is safe, the next vmstamp up cleans up",
            )
        if waited > SAY_AFTER and (guests := running_guests(home)) != said:
            said = guests
            if guests:
                report.say(f"waiting for {', '.join(guests)} to shut down{WAITING}")
        time.sleep(0.1)


def running_guests(home: Home) -> list[str]:
    """The names of the VMs of a home whose QEMU runs, by the command lines of processes."""
    mark, found = os.fsencode(home.machines) + b"/", []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = entry.joinpath("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"/qemu-system-" in b"/" + words[0] and any(mark in word for word in words):
            found += [word.removeprefix(GUEST).decode() for word in words if word.startswith(GUEST)]
    return sorted(found)
