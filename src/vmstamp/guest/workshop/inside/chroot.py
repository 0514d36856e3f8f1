"""A program of the guest, run in the guest: as root, but without the means to reach the host or the disk."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping

from vmstamp.guest.workshop.inside import kernel

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}
KEPT = 64 * 1024  # bytes of its output
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Parts of /proc by which root changes the whole kernel, such as the handler of core dumps.
PROTECTED = ("sys", "sysrq-trigger")
# Capabilities that lead out of a chroot, by number: capabilities(7). SYS_ADMIN among them: no mounts.
DROPPED = (13, 16, 17, 19, 20, 21, 22, 25, 27, 39, 40)


class RunError(Exception):
    """The program could not be run, took too long, or failed."""


def run(
    root: str, argv: list[str], timeout: float, nodes: Mapping[str, int], uuids: Mapping[str, str]
) -> str:
    """What the program printed, its end when that is long. RunError unless it ends with status 0.

    `nodes` are the block devices that it sees, by name, `uuids` the name of each file system's by its UUID.
    """
    out, write = os.pipe()
    keeper = os.fork()  # it makes the namespaces, so that we stay as we are
    if not keeper:
        os.setpgid(0, 0)
        _keep(root, argv, write, nodes, uuids)
    os.close(write)
    output, late = _collect(out, timeout)
    if late:
        os.killpg(keeper, signal.SIGKILL)
    os.close(out)
    status = os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
    text = output.decode(errors="replace")
    if late:
        raise RunError(f"{argv[0]}: no end within {timeout:g} s{_last_words(text)}")
    if status:
        raise RunError(f"{argv[0]} ended with status {status}{_last_words(text)}")
    return text


def _last_words(text: str) -> str:
    lines = text.strip().splitlines()
    return ": " + " / ".join(lines[-3:]) if lines else ""


def _collect(out: int, timeout: float) -> tuple[bytes, bool]:
    """The output's end, and whether the time was over before all had closed it."""
    output, end = b"", time.monotonic() + timeout
    while True:
        if not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
            return output, True
        part = os.read(out, 65536)
        if not part:
            return output, False
        output = (output + part)[-KEPT:]


def _keep(root: str, argv: list[str], write: int, nodes: Mapping[str, int], uuids: Mapping[str, str]) -> None:
    """In the child: a namespace of processes that ends with its first, which is the program."""
    status = 126
    try:
        kernel.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET)
        program = os.fork()
        if not program:
            kernel.prctl(1, signal.SIGKILL)
            _become(root, argv, write, nodes, uuids)
        os.close(write)
        status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
        status = status if status >= 0 else 128 - status
    finally:
        os._exit(status)


def _become(
    root: str, argv: list[str], write: int, nodes: Mapping[str, int], uuids: Mapping[str, str]
) -> None:
    try:
        _mount_system(root)
        _make_devices(f"{root}/dev", nodes, uuids)
        _enter(root)
        for number in DROPPED:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        null = os.open("/dev/null", os.O_RDWR)
        for number, fd in enumerate((null, write, write)):
            os.dup2(fd, number)
        os.closerange(3, 1024)
        os.umask(0o022)
        os.execvpe(argv[0], argv, ENVIRONMENT)
    except BaseException as error:
        os.write(write, f"{argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _mount_system(root: str) -> None:
    """/proc, /sys, /dev and /run of its own."""
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", f"{root}/proc", "proc")
    for name in PROTECTED:
        kernel.mount(f"{root}/proc/{name}", f"{root}/proc/{name}", "", kernel.MS_BIND)
        kernel.mount("", f"{root}/proc/{name}", "", kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)
    kernel.mount("sysfs", f"{root}/sys", "sysfs", kernel.MS_RDONLY)
    for name, mode in (("dev", "755"), ("run", "755")):
        kernel.mount("tmpfs", f"{root}/{name}", "tmpfs", kernel.MS_NOSUID, f"mode={mode},size=64m")


def _make_devices(directory: str, nodes: Mapping[str, int], uuids: Mapping[str, str]) -> None:
    os.umask(0)
    for name in DEVICES:
        os.mknod(f"{directory}/{name}", 0o20666, os.stat(f"/dev/{name}").st_rdev)
    for name, number in nodes.items():
        os.mknod(f"{directory}/{name}", 0o60600, number)
    os.makedirs(f"{directory}/disk/by-uuid")
    for uuid, name in uuids.items():
        if uuid and "/" not in uuid:
            os.symlink(f"../../{name}", f"{directory}/disk/by-uuid/{uuid}")
    for name, target in LINKS.items():
        os.symlink(target, f"{directory}/{name}")
    os.mkdir(f"{directory}/shm", 0o1777)


def _enter(root: str) -> None:
    """Make `root` the only file system there is."""
    os.chdir(root)
    kernel.pivot_root(".", ".")
    kernel.unmount(".", kernel.MNT_DETACH)
    os.chdir("/")
