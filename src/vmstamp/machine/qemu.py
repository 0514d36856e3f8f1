"""A running machine: one QEMU process, watched from its start to its end.

A thread per machine holds the QMP connection and looks, a few times a second, at the serial console and
at block statistics; it marks the stages of the timeline that can be seen from outside the guest:

- started   QEMU answers on its monitor
- firmware  the first byte on the serial console, or the first read of the OS disk
- kernel    `Linux version` on the serial console
- DVD       the guest opened the drive's tray: agents eject the medium that they have read. Reads prove
            less: udev on its own reads about as much as mounting and reading a small file does
- stopped   QEMU ended, or the guest powered itself off

The monitor is a pair of sockets made before QEMU: no path, which may be too long, and no waiting for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError

from vmstamp.errors import MachineError
from vmstamp.machine.firmware import Firmware, install_firmware
from vmstamp.machine.screen import bitmap
from vmstamp.machine.spec import DiskSpec, MachineSpec, argv, block_node, data_device, data_node
from vmstamp.run import Process, spawn
from vmstamp.timeline import Stage, Timeline

POLL = 0.25  # seconds
MONITOR_TIMEOUT = 20.0  # seconds until QEMU must answer on its monitor
COMMAND_TIMEOUT = 10.0  # seconds
PRESS_INTERVAL = 15.0  # seconds; a guest that boots does not hear its power button yet
SHUTDOWN_STEP = 0.5  # seconds between two looks at a guest that was asked to shut down
NO_SYSTEM_PATIENCE = 5.0  # seconds for a guest of which no system was seen, and which wrote nothing
SYSTEM_STAGES = (Stage.KERNEL, Stage.DVD, Stage.IMDS, Stage.WIRESERVER)  # firmware may do DHCP: PXE
DETACH_TIMEOUT = 10.0  # seconds until QEMU must let a disk's file go
DETACH_STEP = 0.05  # seconds
QUIT_TIMEOUT = 10.0  # seconds until QEMU must end after `quit`
KERNEL_LINE = re.compile(rb"Linux version ([^\s(]+)")
PANIC_LINE = re.compile(rb"(Kernel panic - not syncing[^\r\n]*|Oops: int3[^\r\n]*)")
TAIL = 256  # bytes of the serial log looked at again, so that no line is missed at a seam


class Machine:
    """One QEMU process, started by `Machine.start`. Public methods may be called from any thread."""

    def __init__(
        self,
        spec: MachineSpec,
        process: Process,
        monitor: socket.socket,
        timeline: Timeline,
        on_exit: Callable[[], None],
    ) -> None:
        self.spec = spec
        self._process = process
        self._monitor = monitor
        self._timeline = timeline
        self._on_exit = on_exit
        self._qmp = QMPClient(f"vmstamp-{spec.name}")
        self._loop = asyncio.new_event_loop()
        self._answering = threading.Event()
        self._ended = threading.Event()
        self._serial_offset = spec.serial_log.stat().st_size if spec.serial_log.exists() else 0
        self._seen = b""
        self._panic = ""
        self._ejecting = False
        self._thread = threading.Thread(target=self._run, name=f"machine-{spec.name}", daemon=True)

    @classmethod
    def start(cls, spec: MachineSpec, timeline: Timeline, on_exit: Callable[[], None]) -> Machine:
        """Start QEMU and return when it answers on its monitor.

        The taps of `spec.nics` are handed over; the caller closes its own descriptors. `on_exit` is called
        once, from the machine's thread, when QEMU has ended. Raises MachineError with QEMU's own words.
        """
        spec.directory.mkdir(parents=True, exist_ok=True)
        firmware: Firmware | None = install_firmware(spec.directory) if spec.generation == 2 else None
        errors = spec.directory / "qemu.log"
        errors.unlink(missing_ok=True)
        monitor, theirs = socket.socketpair()
        with theirs:
            handed = [theirs.fileno(), *(nic.tap for nic in spec.nics)]
            process = spawn(argv(spec, firmware, theirs.fileno()), output=errors, pass_fds=handed)
        machine = cls(spec, process, monitor, timeline, on_exit)
        machine._thread.start()
        machine._answering.wait(MONITOR_TIMEOUT)
        if machine._answering.is_set() and not machine._ended.is_set():
            return machine
        machine.kill()
        said = errors.read_text(errors="replace").strip() or "it does not answer on its monitor"
        raise MachineError(f"QEMU did not start for {spec.name}: {said}", hint=f"its log: {errors}")

    # What others ask

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    @property
    def serial_log(self) -> Path:
        return self.spec.serial_log

    @property
    def panic(self) -> str:
        """The kernel's last words when it panicked in this boot, else empty."""
        return self._panic

    def wait(self, timeout: float) -> bool:
        """Block until QEMU has ended; False when it still runs after `timeout` seconds."""
        return self._ended.wait(timeout)

    def shutdown(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Press the power button; True when the guest obeys, else pull the plug after `timeout` seconds.

        Sooner when `give_up` says so, and when there is nothing to wait for: no system was seen in this boot
        (a blank disk, a boot loader that found nothing), and no disk was written to, so nothing is lost.
        """
        began, pressed = time.monotonic(), float("-inf")
        while self.running and not give_up():
            now = time.monotonic()
            waited = now - began
            if waited >= timeout or (waited >= NO_SYSTEM_PATIENCE and self._has_nothing_to_lose()):
                break
            if now - pressed >= PRESS_INTERVAL:
                pressed = now
                with contextlib.suppress(MachineError):
                    self._command("system_powerdown")
            self.wait(min(SHUTDOWN_STEP, timeout - waited))
        obeyed = not self.running
        self.kill()
        return obeyed

    def _has_nothing_to_lose(self) -> bool:
        """Whether neither a system nor a write to a disk was seen in this boot."""
        if any(self._timeline.find(stage) for stage in SYSTEM_STAGES):
            return False
        nodes = {"os", *(data_node(disk) for disk in self.spec.data_disks)}
        try:
            devices = self._command("query-blockstats")
        except MachineError:
            return False
        disks = [device["stats"] for device in devices if device.get("node-name") in nodes]
        return bool(disks) and not any(stats["wr_operations"] for stats in disks)

    def kill(self) -> None:
        """End QEMU at once; what the guest wrote to its disks and QEMU acknowledged stays. Idempotent."""
        if self.running:
            with contextlib.suppress(MachineError):
                self._command("quit")
            if not self.wait(QUIT_TIMEOUT):
                self._process.kill()
                self.wait(QUIT_TIMEOUT)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def eject_dvd(self) -> None:
        """Take the medium out of the optical drive, as Azure does after Ready. No error when it is out."""
        self._ejecting = True
        with contextlib.suppress(MachineError):
            self._command("eject", {"id": "dvd", "force": True})

    def attach(self, disk: DiskSpec) -> None:
        """Plug a data disk in at its LUN while the guest runs. Raises MachineError; then it is not in."""
        self._command("blockdev-add", block_node(disk, data_node(disk)))
        try:
            self._command("device_add", data_device(disk))
        except MachineError:
            self._command("blockdev-del", {"node-name": data_node(disk)})
            raise

    def detach(self, disk: DiskSpec) -> None:
        """Pull a data disk out. What the guest was told is written is in its file when this returns.

        The guest is not asked, as on Azure: it should have unmounted the disk. Raises MachineError.
        """
        self._command("device_del", {"id": data_device(disk)["id"]})
        deadline = time.monotonic() + DETACH_TIMEOUT
        while True:
            try:
                self._command("blockdev-del", {"node-name": data_node(disk)})
                return
            except MachineError:  # the device has not let it go yet
                if not self.running or time.monotonic() > deadline:
                    raise
                time.sleep(DETACH_STEP)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the guest's CPUs; QEMU has written out by then all that the guest was told is written.

        One that does not run (panicked) is left so. Raises MachineError.
        """
        runs = self._command("query-status")["running"]
        self._command("stop")
        try:
            yield
        finally:
            if runs:
                self._command("cont")

    def screen(self) -> bytes:
        """What the screen shows, as a BMP. Raises MachineError when the machine does not run."""
        path = self.spec.directory / "screen.ppm"
        try:
            self._command("screendump", {"filename": str(path)})
            return bitmap(path.read_bytes())
        except (OSError, ValueError) as error:
            raise MachineError(f"{self.spec.name}: its screen cannot be read: {error}") from error
        finally:
            path.unlink(missing_ok=True)

    def _command(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        work: Coroutine[Any, Any, Any] = self._execute(name, arguments)
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise MachineError(f"{self.spec.name} does not run") from error
        try:
            return future.result(COMMAND_TIMEOUT)
        except (QMPError, TimeoutError, asyncio.CancelledError, OSError) as error:
            raise MachineError(f"{self.spec.name}: QEMU refused {name}: {error}") from error

    async def _execute(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        return await self._qmp.execute(name, arguments)

    # The machine's own thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._watch())
        finally:
            self._process.wait()
            self._monitor.close()
            self._timeline.mark(Stage.STOPPED, self._why_ended())
            self._ended.set()
            self._answering.set()
            self._loop.close()
            self._on_exit()

    def _why_ended(self) -> str:
        status = self._process.returncode
        if status == 0:
            return "powered off"
        return f"QEMU ended with {'signal' if status < 0 else 'exit status'} {abs(status)}"

    async def _watch(self) -> None:
        if not await self._connect():
            self._process.kill()
            return
        self._timeline.mark(
            Stage.STARTED, f"QEMU, {self.spec.accelerator}, generation {self.spec.generation}"
        )
        self._answering.set()
        listener = asyncio.create_task(self._listen())
        try:
            while self._process.poll() is None:
                self._read_serial()
                await self._look_at_disks()
                await asyncio.sleep(POLL)
            self._read_serial()
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener
            with contextlib.suppress(Exception):
                await self._qmp.disconnect()

    async def _connect(self) -> bool:
        """Greet QEMU's monitor; False when QEMU ends first, or says nothing."""
        with contextlib.suppress(QMPError, OSError, TimeoutError):
            await asyncio.wait_for(self._qmp.connect(self._monitor), MONITOR_TIMEOUT)
            return True
        return False

    async def _listen(self) -> None:
        async for event in self._qmp.events:
            data: Any = event.get("data", {})
            if event["event"] == "DEVICE_TRAY_MOVED" and data.get("tray-open") and not self._ejecting:
                self._timeline.mark(Stage.DVD, "the guest read the DVD and ejected it")

    async def _look_at_disks(self) -> None:
        if self._timeline.find(Stage.FIRMWARE):
            return
        with contextlib.suppress(QMPError, OSError):
            devices = await self._execute("query-blockstats")
            for device in devices:
                if "dvd" not in device.get("qdev", "") and device["stats"]["rd_operations"] > 0:
                    self._timeline.mark(Stage.FIRMWARE, "first read of the OS disk")

    def _read_serial(self) -> None:
        """Look at what the serial console said since the last time."""
        with contextlib.suppress(FileNotFoundError), self.spec.serial_log.open("rb") as log:
            log.seek(self._serial_offset)
            new = log.read()
        if not new:
            return
        self._serial_offset += len(new)
        self._timeline.mark(Stage.FIRMWARE, "first output on the serial console")
        text = self._seen + new
        if kernel := KERNEL_LINE.search(text):
            self._timeline.mark(Stage.KERNEL, f"Linux {kernel[1].decode(errors='replace')}")
        if panic := PANIC_LINE.search(text):
            self._panic = panic[1].decode(errors="replace")
        self._seen = text[-TAIL:]
