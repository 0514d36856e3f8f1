"""Real guests for tests, installed from Debian's packages as people install them, not as our recipes do.

    name    root                               firmware  initramfs        network   provisioned by
    lvm     ext4 in LVM, /boot apart, MBR      BIOS      dracut           ifupdown  waagent
    xfs     XFS                                UEFI      initramfs-tools  netplan   cloud-init
    btrfs   btrfs, in the subvolume @rootfs    both      dracut           networkd  cloud-init

mmdebstrap installs the packages and hands out a tar; a User Mode Linux makes the file systems and unpacks it
there. No root is needed. A disk is kept beside those of the recipes, under a key of all that decides it.

    python -m tests.real_guests        builds what is not there yet

What GRUB needs for BIOS is placed as grub-bios-setup would: boot.img into the MBR, core.img behind it or into
the BIOS boot partition. Source: GRUB 2.06, include/grub/i386/pc/boot.h, grub-core/boot/i386/pc/diskboot.S
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import vmstamp.disk
from tests.boot.road import KEPT
from tests.guests import MIB, in_uml, write_table
from vmstamp.disk import convert
from vmstamp.disk.partitions import BIOS_BOOT, EFI_SYSTEM, LINUX_ROOT_X86_64, NewPartition
from vmstamp.recipes import debian
from vmstamp.recipes.bootstrap import LOG, Bootstrap, run_bootstrap, script_hook
from vmstamp.recipes.build import work_directory
from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.mirror import choose_sources

SIZE = 4096 * MIB
SECTOR = 512
ROOT_UUID = "7a1f0c52-3b6e-4f0d-9a55-0c8d1b2e3f41"
BOOT_UUID = "0e9d8c7b-6a5f-4e4d-8c3b-2a1f0e9d8c7b"
ESP_UUID = "5AFE-C0DE"
VG, LV = "debian-vg", "root"
ROOT_DEVICE = "/dev/mapper/debian--vg-root"  # as device mapper spells them
TAR_OPTIONS = "--numeric-owner --xattrs --xattrs-include='*'"

COMMON = (
    *("linux-image-cloud-amd64", "zstd", "kmod", "udev"),
    *("systemd-sysv", "systemd-timesyncd", "dbus", "libpam-systemd", "procps"),
    *("iproute2", "iputils-ping", "netbase", "isc-dhcp-client", "iptables", "ca-certificates"),
    *("openssh-server", "sudo", "less"),
    *("waagent", "eject", "parted", "cloud-guest-utils", "hyperv-daemons"),
)
EFI = ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed", "dosfstools")
DRACUT = {
    "etc/dracut.conf.d/10-test.conf": (
        'hostonly="no"\ncompress="zstd -1 -T0"\nadd_drivers+=" hv_vmbus hv_storvsc hv_netvsc hv_utils "\n'
    )
}
NETWORKD = {"etc/systemd/network/80-dhcp.network": "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n"}


@dataclass(frozen=True)
class Guest:
    """A guest: its packages, its files beside those that all have, and how it starts.

    `trees` are of the recipe debian-12. `module` is what GRUB's core image needs to read `prefix`, its
    directory ('': not for BIOS).
    """

    name: str
    packages: tuple[str, ...]
    trees: tuple[str, ...]
    files: dict[str, str]
    services: str
    efi: bool
    module: str = ""
    prefix: str = ""
    subvolume: str = ""

    @property
    def boot_apart(self) -> bool:
        return self.name == "lvm"


GUESTS = {
    guest.name: guest
    for guest in (
        Guest(
            "lvm",
            (*COMMON, "dracut", "lvm2", "e2fsprogs", "grub-pc", "ifupdown"),
            ("common",),
            {
                **DRACUT,
                "etc/fstab": (
                    f"{ROOT_DEVICE} / ext4 errors=remount-ro 0 1\nUUID={BOOT_UUID} /boot ext4 defaults 0 2\n"
                ),
                # dracut activates no volume that it is not told of
                "etc/default/grub.d/60-lvm.cfg": (
                    f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX rd.lvm.lv={VG}/{LV}"\n'
                ),
                "etc/network/interfaces": (
                    "auto lo\niface lo inet loopback\n\nallow-hotplug eth0\niface eth0 inet dhcp\n"
                ),
                "etc/systemd/system/ssh.service.d/50-host-keys.conf": (
                    debian.TREE / "waagent/etc/systemd/system/ssh.service.d/50-host-keys.conf"
                ).read_text(),
            },
            "",
            efi=False,
            module="part_msdos ext2",
            prefix="(hd0,msdos1)/grub",
        ),
        Guest(
            "xfs",
            (*COMMON, *EFI, "initramfs-tools", "xfsprogs", "cloud-init", "netplan.io", "systemd-resolved"),
            ("common", "cloud-init"),
            {
                "etc/fstab": (
                    f"UUID={ROOT_UUID} / xfs defaults 0 0\nUUID={ESP_UUID} /boot/efi vfat umask=0077 0 1\n"
                )
            },
            "systemd-networkd",
            efi=True,
        ),
        Guest(
            "btrfs",
            (*COMMON, *EFI, "dracut", "btrfs-progs", "cloud-init", "systemd-resolved", "grub-pc-bin"),
            ("common", "cloud-init"),
            {
                **DRACUT,
                **NETWORKD,
                "etc/fstab": (
                    f"UUID={ROOT_UUID} / btrfs defaults,subvol=@rootfs 0 0\n"
                    f"UUID={ESP_UUID} /boot/efi vfat umask=0077 0 1\n"
                ),
            },
            "systemd-networkd",
            efi=True,
            module="part_gpt btrfs",
            prefix="(hd0,gpt3)/@rootfs/boot/grub",
            subvolume="/@rootfs",
        ),
    )
}

PRESEED = """chroot "$1" debconf-set-selections <<'END'
cloud-init cloud-init/datasources multiselect Azure
grub-efi-amd64 grub2/force_efi_extra_removable boolean true
grub-efi-amd64 grub2/update_nvram boolean false
grub-pc grub-pc/install_devices_empty boolean true
grub-pc grub-pc/install_devices multiselect
END"""

# Given: root, root_uuid, root_device, boot_uuid, boot_part, strip, subvolume, fs, partmap, abstraction, efi,
# module, prefix, services, provisioner, out.
FINISH = r"""
set -eu
export LC_ALL=C.UTF-8

# grub-probe and grub-mkrelpath would look at the directory we are in: for one run they answer from here.
for name in usr/sbin/grub-probe usr/bin/grub-mkrelpath; do mv "$root/$name" "$root/$name.real"; done
cat >"$root/usr/sbin/grub-probe" <<PROBE
#!/bin/sh
for word; do case "\$word" in --target=*) target="\${word#--target=}";; esac; done
case "\$*" in *'-t '*) target="\$(echo "\$*" | sed 's/.*-t \([a-z_]*\).*/\1/')";; esac
part=root
case " \$* " in *" /boot"*|*"$boot_uuid"*) part=$boot_part;; esac
case "\$target:\$part" in
    device:root) echo $root_device;;
    device:boot) echo /dev/disk/by-uuid/$boot_uuid;;
    fs_uuid:root) echo $root_uuid;;
    fs_uuid:boot) echo $boot_uuid;;
    fs:root) echo $fs;;
    fs:boot) echo ext2;;
    partmap:*) echo $partmap;;
    abstraction:root) echo $abstraction;;
esac
PROBE
cat >"$root/usr/bin/grub-mkrelpath" <<RELPATH
#!/bin/sh
for word; do path="\$word"; done
path="\${path#$strip}"
echo "$subvolume\${path%/}"
RELPATH
chmod 755 "$root/usr/sbin/grub-probe" "$root/usr/bin/grub-mkrelpath"
mkdir -p "$root/dev/disk/by-uuid" "$root/dev/mapper"
touch "$root/dev/disk/by-uuid/$root_uuid" "$root/dev/disk/by-uuid/$boot_uuid" "$root$root_device"
mkdir -p "$root/boot/grub"
chroot "$root" grub-mkconfig -o /boot/grub/grub.cfg
for name in usr/sbin/grub-probe usr/bin/grub-mkrelpath; do mv "$root/$name.real" "$root/$name"; done
rm -rf "$root/dev/disk" "$root/dev/mapper"

if [ "$efi" ]; then
    mkdir -p "$root/boot/grub/x86_64-efi"
    modules="$root/usr/lib/grub/x86_64-efi"
    cp "$modules"/*.mod "$modules"/*.lst "$root/boot/grub/x86_64-efi/"
    at="$root/boot/efi/EFI"
    mkdir -p "$at/BOOT" "$at/debian"
    for place in "$at/BOOT/BOOTX64.EFI" "$at/debian/shimx64.efi"; do
        cp "$root/usr/lib/shim/shimx64.efi.signed" "$place"
    done
    for place in "$at/BOOT" "$at/debian"; do
        cp "$root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$place/grubx64.efi"
        cp "$root/usr/lib/shim/mmx64.efi.signed" "$place/mmx64.efi"
    done
    printf 'search.fs_uuid %s root\nset prefix=($root)'"'%s'"'\nconfigfile $prefix/grub.cfg\n' \
        "$root_uuid" "$subvolume/boot/grub" >"$at/debian/grub.cfg"
fi
if [ "$prefix" ]; then
    mkdir -p "$root/boot/grub/i386-pc"
    modules="$root/usr/lib/grub/i386-pc"; cp "$modules"/*.mod "$modules"/*.lst "$modules/boot.img" \
        "$root/boot/grub/i386-pc/"
    chroot "$root" grub-mkimage -O i386-pc -o /boot/grub/i386-pc/core.img -p "$prefix" biosdisk $module
fi

case "$provisioner" in
    cloud-init) sed -i 's/^ResourceDisk\.Format=.*/ResourceDisk.Format=n/' "$root/etc/waagent.conf";;
    waagent) sed -i 's/^Provisioning\.Agent=.*/Provisioning.Agent=waagent/' "$root/etc/waagent.conf";;
esac
for service in $services; do chroot "$root" systemctl enable "$service"; done
chroot "$root" passwd --lock root
chroot "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old \
    "$root"/var/lib/dpkg/*-old "$root"/var/log/apt "$root"/var/log/*.log "$root"/var/tmp/* \
    "$root"/etc/apt/apt.conf.d/[0-9][0-9]mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
    "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed \
    "$root"/etc/*- "$root"/etc/.pwd.lock "$root"/usr/sbin/policy-rc.d
: >"$root/etc/machine-id"
mkdir -p "$root/var/lib/dbus"
ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
echo localhost >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
if [ -e "$root/lib/systemd/systemd-resolved" ]; then
    ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
fi
if [ -e "$root/sbin/start-stop-daemon.REAL" ]; then
    mv "$root/sbin/start-stop-daemon.REAL" "$root/sbin/start-stop-daemon"
fi
tar -C "$root" --one-file-system TAR_OPTIONS --exclude='./tmp/*' -cf "$out" .
""".replace("TAR_OPTIONS", TAR_OPTIONS)


def get_disk(name: str) -> Path:
    """The disk of a guest as a dynamic VHDX, read only; built if not there. Blocks for a minute."""
    guest = GUESTS[name]
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / f"real-{name}-{make_key(guest)}.vhdx"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            build(guest, kept)
    return kept


def make_key(guest: Guest) -> str:
    decided = (
        repr(guest),
        FINISH,
        PRESEED,
        populate_script(guest, Path("root.tar")),
        variables(guest, ""),
        SIZE,
    )
    digest = hashlib.sha256(repr(decided).encode())
    for tree in ("early", *guest.trees):
        for path in debian.walk(debian.TREE / tree):
            digest.update(str(path.relative_to(debian.TREE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def build(guest: Guest, kept: Path) -> None:
    with work_directory(kept.parent) as work:
        raw, packed = work / "disk.raw", work / "root.tar"
        install(guest, packed, work)
        make_table(guest, raw)
        in_uml(raw, populate_script(guest, packed), timeout=600)
        if guest.prefix:
            place_grub(guest, raw, packed)
        with vmstamp.disk.open(raw) as disk:
            convert(disk, work / "disk.vhdx", "vhdx")
        (work / "disk.vhdx").rename(kept)


def install(guest: Guest, packed: Path, work: Path) -> None:
    """Install the packages, and write the root directory as the tar `packed`."""
    early, late = work / "early.tar", work / "late.tar"
    debian.write_tar(
        early, [debian.TREE / "early"] if "initramfs-tools" in guest.packages else [], early_files(guest)
    )
    debian.write_tar(late, [debian.TREE / tree for tree in guest.trees], guest.files)
    packed.touch()
    packed.chmod(0o666)  # in a user namespace another user writes it
    handle = os.open(packed, os.O_RDWR)
    try:
        plan = Bootstrap(
            variant="minbase",
            packages=guest.packages,
            dpkg_options=debian.DPKG_OPTIONS,
            hooks=(
                ("essential", f"tar-in {early} /"),
                ("essential", PRESEED),
                ("customize", f"tar-in {late} /"),
                ("customize", script_hook(FINISH, variables(guest, f"/proc/self/fd/{handle}"))),
            ),
        )
        sources = choose_sources(None, os.environ, Path("/etc"))
        run_bootstrap(plan, sources, log=work / LOG, pass_fds=[handle], progress=lambda step, share: None)
    except RecipeError as error:
        raise RuntimeError((work / LOG).read_text(errors="replace")[-4000:]) from error
    finally:
        os.close(handle)


def early_files(guest: Guest) -> dict[str, str]:
    """Files that are there before the packages are configured."""
    return {name: text for name, text in guest.files.items() if name.startswith("etc/dracut")}


def variables(guest: Guest, out: str) -> dict[str, str]:
    by_uuid = f"/dev/disk/by-uuid/{ROOT_UUID}"
    return {
        "root_uuid": ROOT_UUID,
        "root_device": ROOT_DEVICE if guest.name == "lvm" else by_uuid,
        "boot_uuid": BOOT_UUID,
        "boot_part": "boot" if guest.boot_apart else "root",
        "strip": "/boot" if guest.boot_apart else "",
        "subvolume": guest.subvolume,
        "fs": "ext2" if guest.name == "lvm" else guest.name,
        "partmap": "msdos" if guest.name == "lvm" else "gpt",
        "abstraction": "lvm" if guest.name == "lvm" else "",
        "efi": "yes" if guest.efi else "",
        "module": guest.module,
        "prefix": guest.prefix,
        "services": guest.services,
        "provisioner": "cloud-init" if "cloud-init" in guest.packages else "waagent",
        "out": out,
    }


def make_table(guest: Guest, raw: Path) -> None:
    match guest.name:
        case "lvm":
            write_mbr(raw, [(0x80, 0x83, MIB, 256 * MIB), (0, 0x8E, 257 * MIB, SIZE - 257 * MIB)])
        case "xfs":
            write_table(raw, SIZE, [_esp(MIB), _root(65 * MIB)])
        case _:
            bios = NewPartition(BIOS_BOOT, "BIOS boot", MIB, MIB, UUID(int=13))
            write_table(raw, SIZE, [bios, _esp(2 * MIB), _root(66 * MIB)])


def _esp(start: int) -> NewPartition:
    return NewPartition(EFI_SYSTEM, "EFI system", start, 64 * MIB, UUID(int=11))


def _root(start: int) -> NewPartition:
    return NewPartition(LINUX_ROOT_X86_64, "root", start, SIZE - MIB - start, UUID(int=12))


def write_mbr(raw: Path, parts: list[tuple[int, int, int, int]]) -> None:
    """A disk with an MBR: (status, type, start, length), the last two in bytes."""
    entries = b"".join(
        struct.pack(
            "<B3sB3sII", status, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start // SECTOR, length // SECTOR
        )
        for status, kind, start, length in parts
    )
    with raw.open("wb") as file:
        file.truncate(SIZE)
        file.write(bytes(440) + struct.pack("<IH", 0x5AFE0001, 0) + entries.ljust(64, b"\0") + b"\x55\xaa")


def populate_script(guest: Guest, packed: Path) -> str:
    unpack = f"tar {TAR_OPTIONS} -xpf {packed} -C /mnt"
    make_esp = f"mkfs.vfat -i {ESP_UUID.replace('-', '')} -n ESP /dev/ubda{{}} > /dev/null"
    mount_esp = "mkdir -p /mnt/boot/efi; mount -t vfat /dev/ubda{} /mnt/boot/efi"
    match guest.name:
        case "lvm":
            make = f"""
                export LVM_SUPPRESS_FD_WARNINGS=1 DM_DISABLE_UDEV=1 LVM_SYSTEM_DIR=/run/lvm
                mkdir /run/lvm
                echo 'backup {{ backup=0 archive=0 }}' > /run/lvm/lvm.conf
                echo 'activation {{ udev_sync=0 udev_rules=0 }}' >> /run/lvm/lvm.conf
                lvm pvcreate -y /dev/ubda2
                lvm vgcreate {VG} /dev/ubda2
                lvm lvcreate -y -Zn -Wn -l 90%FREE -n {LV} {VG}
                mkfs.ext4 -q -U {ROOT_UUID} /dev/{VG}/{LV}
                mkfs.ext4 -q -U {BOOT_UUID} /dev/ubda1
                mount /dev/{VG}/{LV} /mnt; mkdir /mnt/boot; mount /dev/ubda1 /mnt/boot"""
            esp, leave = "", "dmsetup remove_all --noudevsync"
        case "xfs":
            make = f"""
                {make_esp.format(1)}
                mkfs.xfs -q -i nrext64=0 -m uuid={ROOT_UUID} /dev/ubda2
                mount /dev/ubda2 /mnt"""
            esp, leave = mount_esp.format(1), ""
        case _:
            make = f"""
                {make_esp.format(2)}
                mkfs.btrfs -q -U {ROOT_UUID} /dev/ubda3
                mount /dev/ubda3 /mnt
                btrfs -q subvolume create /mnt{guest.subvolume}
                umount /mnt
                mount -o subvol={guest.subvolume} /dev/ubda3 /mnt"""
            esp, leave = mount_esp.format(2), ""
    lines = [make, f"{unpack} --exclude='./boot/efi/*'"]
    if esp:
        # vfat has no owners
        lines += [esp, f"tar -xf {packed} -C /mnt --no-same-owner --no-same-permissions ./boot/efi/EFI"]
    return "\n".join([*lines, "sync; umount -R /mnt", leave])


def place_grub(guest: Guest, raw: Path, packed: Path) -> None:
    """Put boot.img and core.img where BIOS and boot.img look for them.

        offset in boot.img    size  field
        0x5C                  8     first sector of core.img, little-endian
        0x66                  2     a jump, taken out so that the drive is the one that BIOS names
        offset in core.img
        0x1F4                 8, 2  first sector and count of what comes after the first

    The count is grub-mkimage's own.
    """
    with tarfile.open(packed) as archive:
        files = [archive.extractfile(f"./boot/grub/i386-pc/{name}.img") for name in ("boot", "core")]
        boot, core = (bytearray(file.read()) for file in files if file is not None)
    first = 1 if guest.name == "lvm" else MIB // SECTOR
    struct.pack_into("<Q", boot, 0x5C, first)
    boot[0x66:0x68] = b"\x90\x90"
    struct.pack_into("<Q", core, 0x1F4, first + 1)
    with raw.open("r+b") as file:
        file.write(boot[:440])
        file.seek(first * SECTOR)
        file.write(core)


def main() -> None:
    def timed(name: str) -> None:
        start = time.monotonic()
        print(name, get_disk(name), f"{time.monotonic() - start:.0f} s", flush=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(timed, sys.argv[1:] or GUESTS))


if __name__ == "__main__":
    main()
