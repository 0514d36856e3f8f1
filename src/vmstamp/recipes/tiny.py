"""The recipe tiny: a guest of one shell script that reports Ready a few seconds after its start.

Debian's cloud kernel, busybox and GRUB, unpacked and not installed: the EFI system partition holds GRUB,
the kernel and an initramfs; the root file system only remembers (machine-id, host name, number of boots).
What the guest does, and how it is told to fail, is said in `files/tiny/init`.
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from vmstamp.recipes import cpio
from vmstamp.recipes.bootstrap import LOG, Bootstrap, Progress, run_bootstrap, script_hook
from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.debian import FILES, write_tar
from vmstamp.recipes.layout import ROOT_START, Ids, create_disk, root_length, write_esp
from vmstamp.recipes.mirror import Source

TREE = FILES / "tiny"
PACKAGES = ("busybox-static", "grub-efi-amd64-signed")
# What the guest's hardware and its DVD need, by module name; what these depend on comes along.
MODULES = ("virtio_pci", "virtio_net", "virtio_scsi", "sd_mod", "sr_mod", "udf", "isofs", "evdev", "button")
DIRECTORIES = (
    "bin",
    "dev",
    "proc",
    "sys",
    "run",
    "etc",
    "dvd",
    "sysroot",
    "modules",
)
SCRIPTS = {
    "init": "init",
    "bin/dhcp-event": "dhcp-event",
    "bin/banner": "banner",
    "bin/order": "order",
}
KERNEL_OPTIONS = "console=ttyS0,115200n8 loglevel=6"


def write_raw(disk: Path, size: int, ids: Ids, sources: Sequence[Source], progress: Progress) -> None:
    """Build the raw disk `disk` of `size` bytes; other files go beside it. Raises RecipeError, ProgramError.

    Blocks for some seconds.
    """
    create_disk(disk, size, ids)
    work = disk.parent
    tree, unpacked = work / "tree.tar", work / "unpacked.tar"
    write_tar(tree, [TREE / "root"], {"etc/fstab": f"UUID={ids.root} / ext4 defaults 0 1\n"})
    tree.chmod(0o644)
    unpacked.touch()
    unpacked.chmod(0o666)
    handles = [os.open(path, os.O_RDWR) for path in (disk, tree, unpacked)]
    try:
        names = [f"/proc/self/fd/{handle}" for handle in handles]
        plan = plan_bootstrap(*names, size=size, ids=ids)
        run_bootstrap(plan, sources, log=work / LOG, pass_fds=handles, progress=progress)
    finally:
        for handle in handles:
            os.close(handle)
    esp = work / "esp"
    write_boot_files(esp, unpacked, ids)
    write_esp(disk, ids, sorted(esp.iterdir()))


def plan_bootstrap(disk: str, tree: str, unpacked: str, *, size: int, ids: Ids) -> Bootstrap:
    """What mmdebstrap is to do: nothing but hooks. The three names are how a hook opens those files."""
    where = {"disk": disk, "offset": str(ROOT_START), "size": str(root_length(size) // 1024)}
    ext4 = script_hook((FILES / "ext4.sh").read_text(), {**where, "root_uuid": str(ids.root)})
    return Bootstrap(
        variant="custom",
        hooks=(
            ("customize", script_hook((TREE / "fetch.sh").read_text(), {"packages": " ".join(PACKAGES)})),
            ("customize", f'tar -C "$1/unpacked" -cf {unpacked} .'),
            ("customize", f'mkdir "$1/tree" && cd "$1/tree" && mkdir mnt dev tmp && tar -xf {tree}'),
            ("customize", f'set -- "$1/tree"\n{ext4}'),
        ),
    )


def write_boot_files(esp: Path, unpacked: Path, ids: Ids) -> None:
    """The tree of the EFI system partition, from the unpacked packages. RecipeError: something lacks."""
    with tarfile.open(unpacked) as archive:
        grub = _only(archive, r"\./usr/lib/grub/x86_64-efi-signed/grubx64\.efi\.signed")
        kernel = _only(archive, r"\./boot/vmlinuz-.*")
        initramfs = pack_initramfs(_only(archive, r"\./(usr/)?bin/busybox"), _read_modules(archive))
    for name, data in {
        "EFI/BOOT/BOOTX64.EFI": grub,
        # The directory that Debian's signed GRUB was built to look in.
        "EFI/debian/grub.cfg": grub_menu(ids).encode(),
        "vmlinuz": kernel,
        "initrd.img": initramfs,
    }.items():
        path = esp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def grub_menu(ids: Ids) -> str:
    """GRUB's configuration: one entry, at once."""
    return f"linux /vmlinuz root=UUID={ids.root} {KERNEL_OPTIONS}\ninitrd /initrd.img\nboot\n"


def pack_initramfs(busybox: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The compressed initramfs: busybox, our scripts, and the modules in the order of loading."""
    entries = [cpio.directory(name) for name in DIRECTORIES]
    entries += [cpio.character_device("dev/console", 5, 1), cpio.file("bin/busybox", busybox, 0o755)]
    entries += [cpio.symlink(f"bin/{name}", "busybox") for name in _applets()]
    entries += [cpio.file(name, (TREE / source).read_bytes(), 0o755) for name, source in SCRIPTS.items()]
    order = order_modules(MODULES, modules)
    entries += [cpio.file(f"modules/{name}.ko", modules[name]) for name in order]
    entries.append(cpio.file("modules/order", "".join(f"{name}.ko\n" for name in order).encode()))
    return gzip.compress(cpio.pack(entries), compresslevel=6, mtime=0)


def order_modules(wanted: Sequence[str], modules: Mapping[str, bytes]) -> list[str]:
    """Names of the wanted modules and of all that they need, each after what it needs.

    RecipeError names a wanted module that is not there; a needed one that is not is built in.
    """
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name not in modules:
            return
        for needed in module_depends(modules[name]):
            add(needed)
        order.append(name)

    for name in wanted:
        if name not in modules:
            raise RecipeError(f"the kernel's package has no module {name}")
        add(name)
    return order


def module_depends(module: bytes) -> list[str]:
    """The names of the modules that a kernel module says it needs (`depends=` in its .modinfo)."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    names = match[1].decode().split(",") if match else []
    return [name.replace("-", "_") for name in names if name]


def _applets() -> list[str]:
    """The programs of busybox that the scripts call."""
    text = "".join((TREE / source).read_text() for source in SCRIPTS.values())
    known = (
        "base64 cat cp cut dd echo findfs grep hostname insmod ip mount nc nslookup poweroff printf sed sh "
        "sleep sync test timeout tr udhcpc umount uname wc wget"
    )
    return [name for name in known.split() if re.search(rf"\b{name}\b", text)]


def _only(archive: tarfile.TarFile, pattern: str) -> bytes:
    """The bytes of the one file whose name matches. RecipeError: there is none."""
    for member in archive:
        if member.isfile() and re.fullmatch(pattern, member.name):
            return _bytes(archive, member)
    raise RecipeError(f"the packages hold no file {pattern}", hint="the archive's layout may have changed")


def _read_modules(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Every kernel module by its name, with _ for -."""
    return {
        Path(member.name).name.removesuffix(".ko").replace("-", "_"): _bytes(archive, member)
        for member in archive
        if member.isfile() and member.name.endswith(".ko")
    }


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "a regular file of an archive can be read"
    return file.read()
