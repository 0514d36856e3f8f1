"""The checks of boot and storage: each defect is found by one check, and gone after the check's own fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from vmstamp.disk.partitions import PartitionTable
from vmstamp.guest.boot.grub import BootEntry
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.edits import Edit, Remove, Run, Symlink, Write
from vmstamp.guest.files.fs import Content
from vmstamp.guest.files.fstab import CommandLine
from vmstamp.guest.files.lvm import LogicalVolume
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.finding import Check, Status, judge

MIB = 1024 * 1024
BY_ID: dict[str, Check] = {check.id: check for check in CHECKS}
RELEASE = "6.1.0-42-cloud-amd64"
UUID = "6e8ab20c-0ac0-4d8a-9c2b-1f6f5d4c3b2a"
GRUB = "/boot/grub/grub.cfg"
INITRD = f"/boot/initrd.img-{RELEASE}"
MODULES = f"/usr/lib/modules/{RELEASE}"
FSTAB = f"UUID={UUID} / ext4 defaults 0 1\n"
WORDS = f"root=UUID={UUID} ro console=ttyS0,115200n8 earlyprintk=ttyS0 nvme_core.io_timeout=240"
WHOLE = ("init", "lib/hv_vmbus.ko", "lib/hv_storvsc.ko", "lib/ext4.ko", "lib/nvme.ko", "lib/sd_mod.ko",
         "lib/scsi_mod.ko")  # fmt: skip

Changes = Mapping[str, str | bytes | None]


def menu(*lines: str, head: str = "", words: str = WORDS) -> str:
    """A grub.cfg with one entry; `lines` stand in it behind its kernel."""
    serial = "serial --speed=115200\nterminal_output console serial\n"
    body = "".join(f"\t{line}\n" for line in lines)
    return (
        f"{serial}{head}menuentry 'Debian' --id one {{\n\tlinux /boot/vmlinuz-{RELEASE} {words}\n{body}}}\n"
    )


RESCUE = f"menuentry 'Debian (recovery)' --id two {{\n\tlinux /boot/vmlinuz-{RELEASE} {WORDS} single\n}}\n"
BY_PATH = "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part1"
SWAPFILE = f"{FSTAB}/swap.img none swap sw 0 0\n"

# (check, status, what is changed in the good guest)
DEFECTS: list[tuple[str, str, Changes]] = [
    ("grub-cfg-root", "fail", {GRUB: menu(words=WORDS.replace(UUID, "0000-1111"))}),
    ("grub-default-entry", "fail", {GRUB: menu(head='set default="two"\n') + RESCUE}),
    ("grub-default-entry", "warning", {GRUB: menu(head='set default="old>gone"\n')}),
    (
        "grub-default-entry",
        "warning",
        {
            GRUB: menu(head='set default="${saved_entry}"\n'),
            "/boot/grub/grubenv": "# GRUB Environment Block\nsaved_entry=gone\nx=1\n",
        },
    ),
    ("grub-timeout", "fail", {GRUB: menu(head="set timeout=-1\n")}),
    ("grub-serial", "warning", {GRUB: menu().replace("terminal_output", "# terminal_output")}),
    ("getty-serial", "warning", {"/etc/systemd/system/serial-getty@ttyS0.service": "-> /dev/null"}),
    ("cmdline-root-device", "fail", {GRUB: menu(words=WORDS.replace(f"UUID={UUID}", "/dev/sda1"))}),
    ("cmdline-root-device", "fail", {GRUB: menu(words=f"{WORDS} resume=/dev/vda5")}),
    ("cmdline-root-device", "warning", {GRUB: menu(words=f"{WORDS} resume=UUID=dead-beef")}),
    ("cmdline-root-device", "warning", {"/etc/initramfs-tools/conf.d/resume": "RESUME=UUID=dead-beef\n"}),
    ("cmdline-console", "warning", {GRUB: menu(words=WORDS.replace("console=ttyS0,115200n8 ", ""))}),
    ("cmdline-console", "warning", {GRUB: menu(words=f"{WORDS} console=tty0")}),
    ("cmdline-earlyprintk", "warning", {GRUB: menu(words=WORDS.replace("earlyprintk=ttyS0", ""))}),
    ("cmdline-rootdelay", "warning", {GRUB: menu(words=f"{WORDS} rootdelay=300")}),
    ("cmdline-quiet", "warning", {GRUB: menu(words=f"{WORDS} rhgb quiet")}),
    ("cmdline-quiet", "warning", {GRUB: menu(words=f"{WORDS} crashkernel=auto")}),
    ("cmdline-atapi-off", "fail", {GRUB: menu(words=f"{WORDS} reserve=0x1f0,0x8")}),
    ("cmdline-cloudinit-off", "fail", {GRUB: menu(words=f"{WORDS} cloud-init=disabled")}),
    ("cmdline-cloudinit-off", "fail", {GRUB: menu(words=f'{WORDS} "ds=nocloud;s=http://10.0.0.1/"')}),
    ("cmdline-cloudinit-off", "fail", {GRUB: menu(words=f"{WORDS} ci.di.policy=disabled,report")}),
    ("cmdline-cloudinit-off", "fail", {GRUB: menu(words=f"{WORDS} network-config=disabled")}),
    ("cmdline-ifnames", "warning", {"/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n"}),
    ("initramfs-present", "fail", {GRUB: menu("initrd /boot/gone.img")}),
    ("nvme-ready", "warning", {GRUB: menu(words=WORDS.replace("=240", "=30"))}),
    ("module-blacklist-boot", "fail", {"/etc/modprobe.d/a.conf": "# x\ninstall nvme /bin/false\n"}),
    ("module-blacklist-boot", "fail", {"/usr/lib/modprobe.d/a.conf": "blacklist hv_storvsc\n"}),
    ("module-blacklist-boot", "fail", {GRUB: menu(words=f"{WORDS} module_blacklist=hv-vmbus,pcspkr")}),
    ("module-blacklist-provisioning", "fail", {"/etc/modprobe.d/cis.conf": "install udf /bin/true\n"}),
    ("module-blacklist-provisioning", "fail", {GRUB: menu(words=f"{WORDS} modprobe.blacklist=isofs")}),
    ("initramfs-hostonly", "warning", {"/etc/initramfs-tools/initramfs.conf": "MODULES=dep\n"}),
    ("kernel-essential-config", "warning", {f"/boot/config-{RELEASE}": "CONFIG_WATCHDOG=y\n"}),
    ("fstab-device-names", "fail", {"/etc/fstab": "/dev/vda2 / ext4 defaults 0 1\n"}),
    ("fstab-device-names", "fail", {"/etc/fstab": "/dev/disk/by-id/scsi-36000c29-part2 / ext4 rw 0 1\n"}),
    ("cmdline-root-device", "fail", {GRUB: menu(words=WORDS.replace(f"UUID={UUID}", BY_PATH))}),
    ("fstab-device-names", "fail", {"/etc/fstab": f"{FSTAB}/dev/sdc1 /data ext4 defaults 0 2\n"}),
    ("fstab-missing-device", "fail", {"/etc/fstab": f"{FSTAB}UUID=dead-beef /data xfs defaults 0 2\n"}),
    ("fstab-missing-device", "fail", {"/etc/fstab": "UUID=dead-beef / ext4 defaults 0 1\n"}),
    ("fstab-missing-device", "fail", {"/etc/fstab": f"{FSTAB}/dev/mapper/vg-data /d ext4 defaults 0 2\n"}),
    ("fstab-network-mounts", "warning", {"/etc/fstab": f"{FSTAB}nas:/v /v nfs rw,hard 0 0\n"}),
    ("fstab-syntax", "fail", {"/etc/fstab": f"{FSTAB}UUID=dead-beef /x\n"}),
    ("fstab-syntax", "fail", {"/etc/fstab": f"{FSTAB}tmpfs tmp tmpfs\n"}),
    ("fstab-syntax", "fail", {"/etc/fstab": f"{FSTAB}LABEL=root /x f2fs\n"}),
    ("fstab-syntax", "warning", {"/etc/fstab": FSTAB + FSTAB}),
    ("swap-on-os-disk", "warning", {"/etc/fstab": SWAPFILE, "/swap.img": "SWAP"}),
    ("swap-on-os-disk", "warning", {"/etc/systemd/system/swap.img.swap": "[Swap]\nWhat=/swap.img\n"}),
    ("resource-disk-swap", "warning", {
        "/etc/waagent.conf": "Provisioning.Agent=cloud-init\nProvisioning.RegenerateSshHostKeyPair=y\n"
        "ResourceDisk.Format=y\nResourceDisk.EnableSwap=y\n",
    }),
    ("lvm-devices-file", "fail", {
        "/etc/lvm/lvm.conf": "devices {\n}\n",
        "/etc/lvm/devices/system.devices": "VERSION=1.1.2\nIDTYPE=sys_wwid IDNAME=t10 DEVNAME=/dev/sda2\n",
    }),
    ("lvm-filter", "fail", {"/etc/lvm/lvm.conf": 'devices {\n\tfilter = [ "a|/dev/vda.*|", "r|.*|" ]\n}\n'}),
    ("multipath-wwid", "warning", {"/etc/multipath/wwids": "# Valid WWIDs:\n/36000c29/\n"}),
    ("growpart", "warning", {"/usr/bin/growpart": None}),
    ("grub-install-devices", "warning", {
        "/var/cache/debconf/config.dat": "Name: grub-pc/hidden_timeout\nValue: true\n\n"
        "Name: grub-pc/install_devices\nTemplate: grub-pc/install_devices\nValue: /dev/disk/by-id/ata-QEMU\n"
        "Owners: grub-pc\n\n",
    }),
]  # fmt: skip

# What each of these needs is more than edits of files: the guest's own program, or hands.
BY_HAND = {"grub-cfg-root", "initramfs-present", "growpart", "kernel-essential-config"}


def bad(facts: Any) -> dict[str, Status]:
    found = {check.id: judge(check, facts).status for check in CHECKS}
    return {id: status for id, status in found.items() if status in (Status.FAIL, Status.WARNING)}


def after(contents: Mapping[str, str | bytes], edits: Iterable[Edit]) -> dict[str, str | bytes]:
    """The guest's files after the edits; programs are not run."""
    changed = dict(contents)
    for edit in edits:
        match edit:
            case Write(path, data):
                changed[path] = data
            case Symlink(path, target):
                changed[path] = f"-> {target}"
            case Remove(path):
                changed.pop(path, None)
            case Run():
                pass
            case _:
                raise AssertionError(edit)
    return changed


@pytest.mark.parametrize(("check", "status", "changes"), DEFECTS)
def test_one_defect_is_found_by_one_check(guests: Any, check: str, status: str, changes: Changes) -> None:
    assert bad(guests.facts(changes)) == {check: status}


def is_by_hand(check: str, changes: Changes) -> bool:
    """Also a default that stands in grub.cfg itself."""
    return check in BY_HAND or (check == "grub-default-entry" and "/boot/grub/grubenv" not in changes)


@pytest.mark.parametrize(("check", "changes"), [(c, d) for c, _, d in DEFECTS if not is_by_hand(c, d)])
def test_the_fix_mends_what_was_found_and_nothing_else(guests: Any, check: str, changes: Changes) -> None:
    contents = guests.with_files(changes)
    fix = BY_ID[check].fix
    assert fix is not None
    edits = list(fix(guests.facts(changes)))
    assert edits
    mended = guests.facts({**contents, **dict.fromkeys(contents), **after(contents, edits)})
    other_disk = "/dev/sdc1" in str(changes.get("/etc/fstab"))  # then only its absence is made harmless
    assert bad(mended) == ({check: Status.WARNING} if other_disk else {})


@pytest.mark.parametrize(
    ("check", "status", "modules"),
    [
        ("kernel-hv-drivers", "fail", ["hv_netvsc"]),
        ("kernel-hv-drivers", "warning", ["hv_utils"]),
        ("kernel-dvd-support", "fail", ["udf"]),
        ("kernel-sriov", "warning", ["mana"]),
    ],
)
def test_a_module_that_the_kernel_lacks(guests: Any, check: str, status: str, modules: list[str]) -> None:
    assert bad(guests.facts(guests.modules_without(*modules))) == {check: status}


@pytest.mark.parametrize(
    ("check", "status", "left_out"),
    [
        ("initramfs-hv-modules", "fail", "lib/hv_storvsc.ko"),
        ("initramfs-hv-modules", "fail", "lib/sd_mod.ko"),
        ("initramfs-hv-modules", "fail", "lib/scsi_mod.ko"),
        ("initramfs-rootfs-module", "fail", "lib/ext4.ko"),
        ("nvme-ready", "warning", "lib/nvme.ko"),
    ],
)
def test_a_module_that_the_initramfs_lacks(guests: Any, check: str, status: str, left_out: str) -> None:
    facts = guests.facts({INITRD: guests.cpio(*(name for name in WHOLE if name != left_out))})
    assert bad(facts) == {check: status}
    fix = BY_ID[check].fix
    assert fix is not None
    assert Run(("update-initramfs", "-u", "-k", "all")) in list(fix(facts))


def test_an_initramfs_that_is_made_here_has_every_driver(guests: Any) -> None:
    """With MODULES=dep it would have those of the machine on which it is made."""
    dep = {INITRD: b"", "/etc/initramfs-tools/initramfs.conf": "MODULES=dep\n"}
    fix = BY_ID["initramfs-present"].fix
    assert fix is not None
    most = Write("/etc/initramfs-tools/conf.d/zz-azure", b"MODULES=most\n")
    made = Run(("update-initramfs", "-u", "-k", "all"))
    assert list(fix(guests.facts(dep))) == [most, made]
    assert list(fix(guests.facts({INITRD: b""}))) == [made]


@pytest.mark.parametrize(
    "path", ["/etc/initramfs-tools/modules", "/usr/share/initramfs-tools/modules.d/azure"]
)
def test_drivers_that_are_listed_are_in_the_next_initramfs(guests: Any, path: str) -> None:
    setting = {"/etc/initramfs-tools/initramfs.conf": "MODULES=list\n"}
    assert bad(guests.facts({**setting, path: "hv_vmbus\n"})) == {"initramfs-hostonly": "warning"}
    assert bad(guests.facts({**setting, path: "# Hyper-V\nhv_vmbus\nhv-storvsc\n"})) == {}


def test_the_drivers_are_listed_for_initramfs_tools(guests: Any) -> None:
    fix = BY_ID["initramfs-hv-modules"].fix
    assert fix is not None
    edits = fix(guests.facts({INITRD: guests.cpio("init")}))
    listed = b"# a comment\nhv_vmbus\nhv_storvsc\nhv_netvsc\nhyperv_keyboard\nnvme\nsd_mod\n"
    assert Write("/etc/initramfs-tools/modules", listed) in list(edits)


def test_a_damaged_initramfs_is_said_and_never_passed(guests: Any) -> None:
    found = bad(guests.facts({INITRD: "no archive"}))
    assert found["initramfs-present"] == "warning"
    assert found["initramfs-hv-modules"] == "warning"


def test_modules_in_an_image_inside_are_not_claimed_to_be_absent(guests: Any) -> None:
    found = bad(guests.facts({INITRD: guests.cpio("init", "squashfs-root.img")}))
    assert found == {"initramfs-hv-modules": "warning", "initramfs-rootfs-module": "warning"}


@pytest.mark.parametrize("module", ["floppy", "nouveau", "intel-cstate"])
def test_drivers_of_absent_hardware_are_forbidden(guests: Any, module: str) -> None:
    text = guests.good[f"{MODULES}/modules.dep"] + f"kernel/{module}.ko:\n"
    check = BY_ID["kernel-floppy-blacklist" if module == "floppy" else "kernel-noise-blacklist"]
    changes = {f"{MODULES}/modules.dep": text}
    assert check.run(guests.facts({})).status == "pass"
    assert check.run(guests.facts(changes)).status == "warning"
    assert check.fix is not None
    (edit,) = check.fix(guests.facts(changes))
    assert isinstance(edit, Write)
    assert edit.data == f"blacklist {module.replace('-', '_')}\n".encode()
    assert bad(guests.facts({**changes, edit.path: edit.data})) == {}


def test_a_kernel_that_is_not_for_clouds_is_told(guests: Any) -> None:
    files = {path.replace("-cloud", ""): guests.good[path] for path in guests.good if RELEASE in path}
    gone = {path: None for path in guests.good if RELEASE in path}
    text = guests.good[GRUB].replace("-cloud", "")
    assert bad(guests.facts({**gone, **files, GRUB: text})) == {"kernel-azure-flavour": "warning"}


def test_a_default_kernel_that_is_not_the_newest_is_the_one_looked_at(guests: Any) -> None:
    newer = {
        "/boot/vmlinuz-6.9.0-cloud": "MZ",
        "/boot/initrd.img-6.9.0-cloud": guests.cpio("init"),
        "/usr/lib/modules/6.9.0-cloud/modules.dep": guests.good[f"{MODULES}/modules.dep"],
    }
    found = bad(guests.facts(newer))
    assert found == {"initramfs-hv-modules": "warning"}


# -- the disk


@pytest.mark.parametrize(
    ("sector", "core", "status"),
    [
        (b"\xeb\x63" + b"GRUB", b"\x52", "pass"),
        (b"\xeb\x63" + b"GRUB", b"", "fail"),
        (b"\xeb\x63 another", b"", "pass"),
    ],
)
def test_grubs_core_image(guests: Any, sector: bytes, core: bytes, status: str) -> None:
    head = bytearray(sector.ljust(512, b"\0"))
    head[0x5C:0x64] = (1).to_bytes(8, "little")
    head[446] = 0x80
    facts = guests.facts({}, guests.raw_disk(2048 * MIB, {0: bytes(head), 512: core}))
    table = PartitionTable("mbr", facts.survey.table.partitions, boot_code=True)
    facts = replace(facts, survey=replace(facts.survey, table=table))
    assert BY_ID["gen1-boot-code"].run(facts).status == status


def with_esp(guests: Any, facts: Any, files: Mapping[str, str | bytes]) -> Any:
    esp = guests.tree(files)
    loaders = tuple(path for path in ("/EFI/BOOT/BOOTX64.EFI",) if esp.is_file(path))
    return replace(facts, boot=replace(facts.boot, esp_files=esp, loaders=loaders))


STUB = "search.fs_uuid {} root hd0,gpt2\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"


@pytest.mark.parametrize(
    ("stub", "status"),
    [
        (STUB.format(UUID), "pass"),
        (STUB.format("11111111-2222-3333-4444-555555555555"), "fail"),
        (STUB.format(UUID).replace("/boot/grub'", "/boot/gone'"), "fail"),
        (STUB.format(UUID).replace("/boot/grub'", "/grub'"), "pass"),
        (STUB.format(UUID).replace("'/boot/grub'", "/grub2"), "fail"),
        (f"search --no-floppy --fs-uuid --set=dev {UUID}\nset prefix=($dev)/grub\n", "pass"),
    ],
)
def test_grubs_stub_leads_to_this_disk(guests: Any, stub: str, status: str) -> None:
    facts = with_esp(
        guests, guests.facts({}), {"/EFI/BOOT/BOOTX64.EFI": guests.loader(), "/EFI/debian/grub.cfg": stub}
    )
    assert judge(BY_ID["esp-grub-stub"], facts).status == status


def test_a_stub_is_given_the_roots_uuid(guests: Any) -> None:
    stub = STUB.format("11111111-2222-3333-4444-555555555555")
    facts = with_esp(guests, guests.facts({}), {"/EFI/debian/grub.cfg": stub})
    (edit,) = BY_ID["esp-grub-stub"].fix(facts)  # type: ignore[misc]
    assert edit == Write("/boot/efi/EFI/debian/grub.cfg", STUB.format(UUID).encode(), 0o755)


@pytest.mark.parametrize(
    ("features", "system", "version", "status"),
    [
        (0x2000, "debian", "2.06-3~deb11u6", "fail"),
        (0x2000, "debian", "2.04-20", "fail"),
        (0x2000, "ubuntu", "2.06-2ubuntu7.2", "warning"),
        (0x2000, "debian", "2.06-13+deb12u1", "pass"),
        (0x2000, "ubuntu", "2.12~rc1-10ubuntu4", "pass"),
        (0x2000, "debian", None, "pass"),
        (0x02C2, "debian", "2.04-20", "pass"),
    ],
)
def test_an_old_grub_does_not_read_a_new_ext4(
    guests: Any, features: int, system: str, version: str | None, status: str
) -> None:
    package = f"Package: grub-common\nStatus: install ok installed\nVersion: {version}\n" if version else ""
    changes = {"/usr/lib/os-release": f"ID={system}\n", "/var/lib/dpkg/status": package}
    disk = guests.raw_disk(2048 * MIB, {64 * MIB + 1024 + 0x60: features.to_bytes(4, "little")})
    assert judge(BY_ID["grub-fs-features"], guests.facts(changes, disk)).status == status


def test_grub_beside_shim_is_signed_too(guests: Any) -> None:
    esp = {"/EFI/BOOT/BOOTX64.EFI": guests.loader(), BESIDE: guests.loader()}
    assert judge(BY_ID["secureboot-chain"], with_esp(guests, guests.facts({}), esp)).status == "pass"
    esp[BESIDE] = guests.loader(signature=b"")
    assert judge(BY_ID["secureboot-chain"], with_esp(guests, guests.facts({}), esp)).status == "warning"


SHIM = "MokList grubx64.efi".encode("utf-16-le")
BESIDE = "/EFI/BOOT/grubx64.efi"
CSV = {"/EFI/BOOT/fbx64.efi": "", "/EFI/debian/BOOTX64.CSV": ""}


@pytest.mark.parametrize(
    ("loader", "more", "status"),
    [
        (SHIM, {}, "fail"),
        (SHIM, {"/EFI/BOOT/fbx64.efi": ""}, "fail"),
        (SHIM, {BESIDE: "GRUB"}, "pass"),
        (SHIM, CSV, "pass"),
        (b"another loader", {}, "pass"),
    ],
)
def test_shim_has_something_to_start(
    guests: Any, loader: bytes, more: Mapping[str, str], status: str
) -> None:
    esp: dict[str, str | bytes] = {"/EFI/BOOT/BOOTX64.EFI": loader, "/EFI/debian/shimx64.efi": SHIM}
    esp |= {"/EFI/debian/grubx64.efi": "G"}
    facts = with_esp(guests, guests.facts({}), {**esp, **more})
    assert judge(BY_ID["gen2-esp"], facts).status == status
    if status == "fail":
        edits = list(BY_ID["gen2-esp"].fix(facts))  # type: ignore[misc]
        assert Write("/boot/efi/EFI/BOOT/grubx64.efi", b"G", 0o755) in edits


def test_shim_is_copied_to_the_removable_media_path(guests: Any) -> None:
    esp = {
        "/EFI/debian/shimx64.efi": b"SHIM",
        "/EFI/debian/grubx64.efi": b"GRUB",
        "/EFI/debian/mmx64.efi": b"MM",
    }
    facts = with_esp(guests, guests.facts({}), esp)
    assert judge(BY_ID["gen2-esp"], facts).status == "fail"
    edits = list(BY_ID["gen2-esp"].fix(facts))  # type: ignore[misc]
    assert [(e.path, e.data) for e in edits if isinstance(e, Write)] == [
        ("/boot/efi/EFI/BOOT/BOOTX64.EFI", b"SHIM"),
        ("/boot/efi/EFI/BOOT/grubx64.efi", b"GRUB"),
        ("/boot/efi/EFI/BOOT/mmx64.efi", b"MM"),
    ]


@pytest.mark.parametrize(
    ("loader", "status"),
    [("signed", "pass"), ("other", "warning"), ("unsigned", "warning"), ("none", "warning")],
)
def test_the_signature_of_the_loader(guests: Any, loader: str, status: str) -> None:
    data = {
        "signed": guests.loader(),
        "other": guests.loader(signature=b"Somebody's own key"),
        "unsigned": guests.loader(signature=b""),
        "none": b"MZ",
    }[loader]
    facts = with_esp(guests, guests.facts({}), {"/EFI/BOOT/BOOTX64.EFI": data})
    assert judge(BY_ID["secureboot-chain"], facts).status == status


def test_a_kernel_for_another_processor(guests: Any) -> None:
    facts = guests.facts({f"/boot/vmlinuz-{RELEASE}": guests.loader(machine=0xAA64)})
    assert bad(facts) == {"arch-match": "fail"}
    assert judge(BY_ID["arch-match"], replace(facts, architecture="i686")).status == "fail"


def test_a_line_of_crypttab_waits_for_a_key(guests: Any) -> None:
    assert bad(guests.facts({"/etc/crypttab": "data UUID=1 none luks\n"})) == {"disk-encrypted": "fail"}
    assert (
        bad(guests.facts({"/etc/crypttab": "# c\ndata UUID=1 none luks,noauto\ns /x /dev/urandom swap\n"}))
        == {}
    )


def test_a_root_on_lvm_is_a_warning_and_needs_its_module(guests: Any) -> None:
    facts = guests.facts({})
    esp, root = facts.survey.contents
    logical = replace(root, logical=LogicalVolume("rootvg", "rootlv", 1, ()))
    facts = replace(facts, survey=replace(facts.survey, contents=(esp, logical), root=logical))
    assert bad(facts) == {"lvm-os-disk": "warning", "initramfs-rootfs-module": "fail"}


def test_a_swap_partition_is_a_warning(guests: Any) -> None:
    facts = guests.facts({})
    swap = Content(facts.survey.table.partitions[0], FileSystem("swap"))
    assert bad(replace(facts, survey=replace(facts.survey, contents=(*facts.survey.contents, swap)))) == {
        "swap-on-os-disk": "warning"
    }


def test_an_old_kernel_needs_numa_off(guests: Any) -> None:
    facts = replace(guests.facts({}), kernels=("2.6.32-431.el6.x86_64",))
    assert judge(BY_ID["cmdline-numa"], facts).status == "fail"
    red_hat = {"/usr/lib/os-release": 'ID=centos\nVERSION_ID="6.5"\n'}
    facts = replace(guests.facts(red_hat), kernels=("2.6.32-431.el6.x86_64",))
    assert judge(BY_ID["cmdline-numa"], facts).status == "fail"
    red_hat = {"/usr/lib/os-release": 'ID=centos\nVERSION_ID="6.10"\n'}
    facts = replace(guests.facts(red_hat), kernels=("2.6.32-754.el6.x86_64",))
    assert judge(BY_ID["cmdline-numa"], facts).status == "not applicable"


def test_what_the_roots_module_needs_is_in_the_initramfs_too(guests: Any) -> None:
    listed = guests.good[f"{MODULES}/modules.dep"].replace("fs/ext4.ko:", "fs/ext4.ko: kernel/fs/jbd2.ko")
    changes = {f"{MODULES}/modules.dep": listed}
    assert bad(guests.facts(changes)) == {"initramfs-rootfs-module": "fail"}
    assert bad(guests.facts({**changes, INITRD: guests.cpio(*WHOLE, "lib/jbd2.ko")})) == {}


@pytest.mark.parametrize(("generations", "status"), [((2,), "pass"), ((1, 2), "warning"), ((1,), "fail")])
def test_a_gen1_vm_has_its_dvd_on_ide(guests: Any, generations: tuple[int, ...], status: str) -> None:
    facts = guests.facts(guests.modules_without("ata_piix"))
    loaders = facts.boot.loaders if 2 in generations else ()
    facts = replace(facts, boot=replace(facts.boot, bios=1 in generations, loaders=loaders))
    assert judge(BY_ID["kernel-dvd-support"], facts).status == status


def test_a_kernel_that_boots_only_when_chosen_has_hyper_vs_drivers_too(guests: Any) -> None:
    other = {
        "/boot/vmlinuz-5.0.0-cloud": "MZ",
        "/usr/lib/modules/5.0.0-cloud/modules.dep": "kernel/hv_vmbus.ko:\n",
    }
    assert bad(guests.facts(other)) == {"kernel-hv-drivers": "warning"}


@pytest.mark.parametrize(
    "source",
    [
        "/dev/disk/by-id/dm-name-vg-root",
        "/dev/disk/by-id/lvm-pv-uuid-x",
        "/dev/disk/by-path/acpi-VMBUS:01-vmbus-x-lun-0-part1",
        "/dev/disk/azure/scsi1/lun0-part1",
    ],
)
def test_names_that_are_the_same_on_azure_are_no_kernel_devices(guests: Any, source: str) -> None:
    facts = guests.facts({"/etc/fstab": f"{FSTAB}{source} /data ext4 nofail 0 2\n"})
    assert judge(BY_ID["fstab-device-names"], facts).status == "pass"


def test_rootdelay_does_no_harm_where_it_is_no_sleep(guests: Any) -> None:
    changes = {
        GRUB: menu(words=f"{WORDS} rootdelay=300"),
        "/usr/sbin/update-initramfs": None,
        "/usr/bin/dracut": "",
    }
    assert judge(BY_ID["cmdline-rootdelay"], guests.facts(changes)).status == "pass"


def test_swap_on_the_temporary_disk_and_in_memory_is_fine(guests: Any) -> None:
    text = f"{FSTAB}/mnt/resource/swapfile none swap sw 0 0\n/dev/zram0 none swap sw 0 0\n"
    assert bad(guests.facts({"/etc/fstab": text})) == {}


def test_a_type_with_a_program_of_its_own_is_known(guests: Any) -> None:
    changes = {"/etc/fstab": f"{FSTAB}tank /tank zfs defaults 0 0\n"}
    assert bad(guests.facts(changes)) == {"fstab-syntax": "fail"}
    assert bad(guests.facts({**changes, "/usr/sbin/mount.zfs": "ELF"})) == {}


def test_a_kernel_on_an_esp_that_fstab_leaves_out_is_there(guests: Any) -> None:
    facts = guests.facts({"/etc/fstab": FSTAB, GRUB: None, "/boot/grub/x": ""})
    esp = guests.tree(
        {"/debian/6.1/linux": "MZ", "/debian/6.1/initrd": "x", "/EFI/BOOT/BOOTX64.EFI": guests.loader()}
    )
    entry = BootEntry(
        "/debian/6.1/linux", CommandLine("/loader/entries/a.conf:4", WORDS), ("/debian/6.1/initrd",)
    )
    facts = replace(facts, boot=replace(facts.boot, esp_files=esp), entries=(entry,))
    found = bad(facts)
    assert "grub-cfg-root" not in found
    assert "initramfs-present" not in found


def test_no_menu_is_made_when_boot_has_no_kernel(guests: Any) -> None:
    check = next(check for check in CHECKS if check.id == "grub-cfg-root")
    program = {"/usr/sbin/update-grub": "#!/bin/sh"}
    with_kernel = guests.facts(program)
    kernels = [f"/boot/{name}" for name in with_kernel.guest.list("/boot") if name.startswith("vmlinu")]
    without = guests.facts({**program, **dict.fromkeys(kernels)})
    assert check.fix is not None and kernels
    assert list(check.fix(with_kernel)) == [Run(("update-grub",))]
    assert list(check.fix(without)) == []


def test_a_second_system_on_the_disk_is_named(guests: Any, make_files: Any) -> None:
    facts = guests.facts({})
    tree = make_files({"/usr/lib/os-release": "ID=debian"}).tree("/")
    volume = SimpleNamespace(root=tree.root, file_system=FileSystem("ext4"))
    root = facts.survey.root
    first, second = (
        replace(root, partition=replace(root.partition, number=n), volume=volume) for n in (7, 8)
    )
    one = replace(facts, survey=replace(facts.survey, contents=(first,)))
    both = replace(facts, survey=replace(facts.survey, contents=(first, second)))
    check = BY_ID["single-root-partition"]
    assert check.run(one).status is Status.PASS
    found = check.run(both)
    assert (found.status, found.found) == (Status.WARNING, "2 systems: partition 7, partition 8")
