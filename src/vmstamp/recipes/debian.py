"""The recipes debian-12 and debian-12-waagent: a real Debian 12 for Azure, from Debian's packages.

What the guest is given lies in `files/debian-12`: `early` before the packages are configured, `common` and
the provisioner's own tree after; `finish.sh` makes GRUB's menu and takes out what belongs to the machine
that built it. The choice of packages and settings follows Debian's own cloud images for Azure.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmstamp.recipes.bootstrap import LOG, Bootstrap, Progress, run_bootstrap, script_hook
from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.layout import ROOT_START, Ids, create_disk, root_length, write_esp
from vmstamp.recipes.mirror import Source

FILES = Path(__file__).parent / "files"
TREE = FILES / "debian-12"
PACKAGES = (
    # boot: the kernel for clouds, its initramfs, signed GRUB
    *("linux-image-cloud-amd64", "initramfs-tools", "zstd", "kmod", "udev", "e2fsprogs", "dosfstools"),
    *("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed"),
    # the system
    *("systemd-sysv", "systemd-resolved", "systemd-timesyncd", "dbus", "libpam-systemd", "procps"),
    # network
    *("iproute2", "iputils-ping", "netbase", "isc-dhcp-client", "iptables", "ca-certificates"),
    # access
    *("openssh-server", "sudo", "less"),
    # Azure: the agent, what it calls, and the host's services
    *("waagent", "eject", "parted", "cloud-guest-utils", "hyperv-daemons"),
)
PROVISIONER_PACKAGES = {"cloud-init": ("cloud-init", "netplan.io"), "waagent": ()}
DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
)


def write_raw(
    provisioner: str, disk: Path, size: int, ids: Ids, sources: Sequence[Source], progress: Progress
) -> None:
    """Build the raw disk `disk` of `size` bytes; other files go beside it. Raises RecipeError, ProgramError.

    `provisioner` is cloud-init or waagent. Blocks for a minute or more.
    """
    create_disk(disk, size, ids)
    work = disk.parent
    early, late, esp = work / "early.tar", work / "late.tar", work / "esp.tar"
    write_tar(early, [TREE / "early"], {})
    write_tar(late, [TREE / "common", TREE / provisioner], generated_files(ids))
    handle = os.open(disk, os.O_RDWR)
    try:
        plan = plan_bootstrap(provisioner, early, late, esp, f"/proc/self/fd/{handle}", size, ids)
        run_bootstrap(plan, sources, log=work / LOG, pass_fds=[handle], progress=progress)
    finally:
        os.close(handle)
    tree = work / "esp"
    unpack_files(esp, tree)
    write_esp(disk, ids, [tree / "efi/EFI"])


def plan_bootstrap(
    provisioner: str, early: Path, late: Path, esp: Path, disk: str, size: int, ids: Ids
) -> Bootstrap:
    """What mmdebstrap is to do; `disk` is the name under which a hook opens the disk."""
    preseed = f"chroot \"$1\" debconf-set-selections <<'END'\n{(TREE / 'debconf.preseed').read_text()}END"
    finish = {"root_uuid": str(ids.root), "provisioner": provisioner}
    where = {"disk": disk, "offset": str(ROOT_START), "size": str(root_length(size) // 1024)}
    return Bootstrap(
        variant="minbase",
        packages=(*PACKAGES, *PROVISIONER_PACKAGES[provisioner]),
        dpkg_options=DPKG_OPTIONS,
        hooks=(
            ("essential", f"tar-in {early} /"),
            ("essential", preseed),
            ("customize", f"tar-in {late} /"),
            ("customize", script_hook((TREE / "finish.sh").read_text(), finish)),
            ("customize", f"tar-out /boot/efi {esp}"),
            ("customize", 'rm -r "$1/boot/efi/EFI"'),
            (
                "customize",
                script_hook((FILES / "ext4.sh").read_text(), {**where, "root_uuid": str(ids.root)}),
            ),
        ),
    )


def generated_files(ids: Ids) -> dict[str, str]:
    """The files of the guest that differ from build to build, by path."""
    return {
        "etc/fstab": (
            f"UUID={ids.root} / ext4 rw,discard,errors=remount-ro 0 1\n"
            f"UUID={ids.esp_uuid} /boot/efi vfat defaults,umask=0077 0 0\n"
        ),
    }


def write_tar(path: Path, trees: Sequence[Path], texts: dict[str, str]) -> None:
    """A tar of the files under `trees` and of `texts`, all root's, 0644, directories 0755."""
    with tarfile.open(path, "w") as archive:
        for tree in trees:
            for file in walk(tree):
                _add(archive, str(file.relative_to(tree)), file.read_bytes())
        for name, text in texts.items():
            _add(archive, name, text.encode())


def unpack_files(tar: Path, tree: Path) -> None:
    """Unpack the regular files of a tar under `tree`, their bytes alone. RecipeError: a name leads out."""
    with tarfile.open(tar) as archive:
        for member in archive:
            path = Path(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise RecipeError(f"{tar.name}: the name {member.name} leads out of the tree")
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_bytes(file.read())


def walk(tree: Path) -> Iterator[Path]:
    """The regular files under a directory, in a fixed order."""
    return (path for path in sorted(tree.rglob("*")) if path.is_file())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """One file and the directories above it, which keep the attributes they have where they exist."""
    entry = tarfile.TarInfo(f"./{name}")
    entry.size = len(data)
    entry.mode = 0o644
    archive.addfile(entry, io.BytesIO(data))
