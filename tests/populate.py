"""The first process of a User Mode Linux that makes disks for tests: it runs a shell script and powers off.

The script is on the second block device, its length in 16 decimal digits before it; the exit status goes to
byte 4 MiB. Run with the interpreter's own library only.
"""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))

from vmstamp.guest.workshop.inside import devices, kernel

STATUS_AT = 4 * 1024 * 1024


def main() -> None:
    devices.mount_system()
    kernel.mount("tmpfs", "/run", "tmpfs")
    kernel.mount("tmpfs", "/mnt", "tmpfs")
    for kind in ("vfat", "ntfs", "mapped"):
        devices.load_modules(kind)
    fd = os.open("/dev/ubdb", os.O_RDWR)
    script = os.pread(fd, int(os.pread(fd, 16, 0)), 16).decode()
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/run"}
    child = os.posix_spawn("/bin/sh", ["sh", "-euc", script], environment)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.sync()
    os.pwrite(fd, f"{status:016d}".encode(), STATUS_AT)
    os.fsync(fd)
    kernel.power_off()


if __name__ == "__main__":
    main()
