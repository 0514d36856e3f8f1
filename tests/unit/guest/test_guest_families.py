"""Guests of the other families: Red Hat's (BLS, XFS on LVM, dracut) and SUSE's (btrfs subvolumes)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmstamp.guest.checks import CHECKS, cmdline, initramfs, kernel, lvm, modules, partitions, storage
from vmstamp.guest.checks import boot as boot_checks
from vmstamp.guest.checks.cloud_init import CHECKS as CLOUD_INIT_CHECKS
from vmstamp.guest.edits import Run, Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.files.fs import Content
from vmstamp.guest.files.lvm import LogicalVolume
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.finding import Check, Status, judge

MINE = (
    *partitions.CHECKS,
    *boot_checks.CHECKS,
    *cmdline.CHECKS,
    *kernel.CHECKS,
    *initramfs.CHECKS,
    *modules.CHECKS,
    *storage.CHECKS,
    *lvm.CHECKS,
)
BY_ID: dict[str, Check] = {check.id: check for check in CHECKS}
ROOT = "11111111-2222-3333-4444-555555555555"
BOOT = "66666666-7777-8888-9999-aaaaaaaaaaaa"
RHEL = "5.14.0-427.13.1.el9_4.x86_64"
ENTRY = f"/boot/loader/entries/ffffffffffffffffffffffffffffffff-{RHEL}.conf"
WORDS = (
    "root=/dev/mapper/rootvg-rootlv ro console=tty1 console=ttyS0 earlyprintk=ttyS0 "
    "nvme_core.io_timeout=240 rd.lvm.lv=rootvg/rootlv"
)
MODULES = (
    *("hv/hv_vmbus", "scsi/hv_storvsc", "net/hv_netvsc", "hv/hv_utils", "input/hyperv-keyboard", "fs/udf"),
    *("fs/isofs", "scsi/sr_mod", "cdrom/cdrom", "fs/xfs", "fs/vfat", "fs/btrfs", "ptp/ptp", "nvme/nvme"),
    *("pci/pci-hyperv", "net/mlx4_en", "net/mlx5_core", "net/mana", "md/dm-mod"),
)
DEP = "".join(f"kernel/{name}.ko.xz:\n" for name in MODULES)
EARLY = (
    *(f"usr/lib/modules/x/{name}.ko.xz" for name in MODULES),
    "usr/lib/dracut/hooks/cmdline/30-parse-lvm.sh",
)


def rhel(guests: Any, **changes: Any) -> Facts:
    """A healthy guest as Red Hat's images for Azure are; `changes` by the file's last name."""
    files: dict[str, Any] = dict.fromkeys(guests.good)
    files |= {
        "/usr/lib/os-release": 'ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\nPRETTY_NAME="Red Hat"\n',
        "/etc/os-release": "-> ../usr/lib/os-release",
        "/usr/bin/sh": guests.good["/usr/bin/sh"],
        "/etc/fstab": f"/dev/mapper/rootvg-rootlv / xfs defaults 0 0\nUUID={BOOT} /boot xfs defaults 0 0\n"
        "UUID=ABCD-1234 /boot/efi vfat defaults,uid=0 0 2\n",
        f"/boot/vmlinuz-{RHEL}": "MZ",
        f"/boot/initramfs-{RHEL}.img": guests.cpio("init", *EARLY),
        ENTRY: f"title Red Hat\nversion {RHEL}\nlinux /vmlinuz-{RHEL}\ninitrd /initramfs-{RHEL}.img\n"
        "options $kernelopts $tuned_params\n",
        "/boot/grub2/grubenv": "# GRUB Environment Block\n"
        f"saved_entry=ffffffffffffffffffffffffffffffff-{RHEL}\nkernelopts={WORDS}\n".ljust(1024, "#"),
        "/boot/grub2/grub.cfg": 'set default="${saved_entry}"\nserial --speed=115200\n'
        "terminal_output console serial\nset timeout=10\ninsmod blscfg\nblscfg\n",
        "/etc/default/grub": f'GRUB_CMDLINE_LINUX="{WORDS}"\nGRUB_ENABLE_BLSCFG=true\n',
        "/etc/kernel/cmdline": f"{WORDS}\n",
        f"/usr/lib/modules/{RHEL}/modules.dep": DEP,
        f"/usr/lib/modules/{RHEL}/modules.builtin": "kernel/x.ko\n",
        "/usr/bin/dracut": "",
        "/usr/lib/dracut/dracut.conf.d/02-generic-image.conf": 'hostonly="no"\n',
        "/etc/lvm/lvm.conf": "devices {\n\t# use_devicesfile = 1\n}\n",
        "/usr/bin/growpart": "",
    }
    facts: Facts = guests.facts({**files, **changes})
    esp, old = facts.survey.contents
    boot = Content(old.partition, FileSystem("xfs", BOOT))
    group = Content(old.partition, FileSystem("LVM"))
    logical = LogicalVolume("rootvg", "rootlv", 1, ())
    root = Content(old.partition, FileSystem("xfs", ROOT), logical=logical)
    survey = replace(facts.survey, contents=(esp, boot, group, root), root=root)
    return replace(facts, survey=survey)


def bad(facts: Facts) -> dict[str, Status]:
    found = {check.id: judge(check, facts).status for check in MINE}
    return {id: status for id, status in found.items() if status in (Status.FAIL, Status.WARNING)}


def written(check: str, facts: Facts) -> dict[str, str]:
    fix = BY_ID[check].fix
    assert fix is not None
    return {edit.path: edit.data.decode() for edit in fix(facts) if isinstance(edit, Write)}


def test_a_healthy_red_hat_has_only_its_lvm_mentioned(guests: Any) -> None:
    facts = rhel(guests)
    assert bad(facts) == {"lvm-os-disk": Status.WARNING}
    assert facts.boots.default is not None
    assert facts.boots.default.release == RHEL
    assert judge(BY_ID["kernel-azure-flavour"], facts).status == "not applicable"


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("initramfs-hostonly", "warning", {"/usr/lib/dracut/dracut.conf.d/02-generic-image.conf": None}),
        ("initramfs-hostonly", "warning", {"/etc/dracut.conf.d/02-generic-image.conf": "hostonly=yes\n"}),
        ("initramfs-present", "fail", {f"/boot/initramfs-{RHEL}.img": None}),
        ("grub-cfg-root", "fail", {f"/boot/vmlinuz-{RHEL}": None, "/boot/vmlinuz-1-old": "MZ"}),
        ("grub-default-entry", "warning", {
            "/boot/grub2/grubenv": f"saved_entry=gone\nkernelopts={WORDS}\n"}),
        ("fstab-missing-device", "fail", {"/etc/fstab": "/dev/rootvg/gone /x xfs defaults 0 0\n"}),
        ("lvm-devices-file", "fail", {"/etc/lvm/devices/system.devices": "IDTYPE=x IDNAME=y DEVNAME=z\n"}),
        ("lvm-filter", "fail", {
            "/etc/lvm/lvm.conf": 'devices {\n\tglobal_filter = [ "a|^/dev/sda2$|",\n\t"r|.*|" ]\n}\n'}),
    ],
)  # fmt: skip
def test_one_defect_of_a_red_hat(guests: Any, check: str, status: str, changes: dict[str, Any]) -> None:
    found = bad(rhel(guests, **changes))
    assert found.pop("lvm-os-disk") == "warning"
    if check == "grub-cfg-root":  # the kernel that is left has nothing of its own
        assert found[check] == status
    else:
        assert found == {check: status}


def test_a_devices_file_inside_the_initramfs_is_found(guests: Any) -> None:
    inside = guests.cpio_of({"etc/lvm/devices/system.devices": b"IDTYPE=sys_wwid IDNAME=x\n"}, *EARLY)
    facts = rhel(guests, **{f"/boot/initramfs-{RHEL}.img": inside})
    found = judge(BY_ID["lvm-devices-file"], facts)
    assert (found.status, found.where) == ("fail", f"/boot/initramfs-{RHEL}.img")
    fix = BY_ID["lvm-devices-file"].fix
    assert fix is not None
    assert Run(("dracut", "--force", "--no-hostonly", "--regenerate-all")) in list(fix(facts))


def test_a_filter_inside_the_initramfs_is_found(guests: Any) -> None:
    text = b'devices {\n\tfilter = [ "a|/dev/sda|", "r|.*|" ]\n}\n'
    inside = guests.cpio_of({"etc/lvm/lvm.conf": text}, *EARLY)
    facts = rhel(guests, **{f"/boot/initramfs-{RHEL}.img": inside})
    assert judge(BY_ID["lvm-filter"], facts).status == "fail"
    fix = BY_ID["lvm-filter"].fix
    assert fix is not None
    assert list(fix(facts)) == [Run(("dracut", "--force", "--no-hostonly", "--regenerate-all"))]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("rd.lvm.lv=rootvg/rootlv", "pass"),
        ("rd.lvm.vg=rootvg", "pass"),
        ("rd.auto", "pass"),
        ("rd.auto=1 rd.lvm.lv=rootvg/rootlv", "pass"),
        ("", "fail"),
        ("rd.auto=0", "fail"),
        ("rd.lvm.lv=rootvg/swaplv", "fail"),
        ("rd.auto rd.lvm.vg=datavg", "fail"),
        ("rd.lvm=0 rd.lvm.lv=rootvg/rootlv", "fail"),
    ],
)
def test_dracut_is_told_of_the_roots_volume(guests: Any, words: str, status: str) -> None:
    line = WORDS.replace("rd.lvm.lv=rootvg/rootlv", words)
    entry = f"title Red Hat\nversion {RHEL}\nlinux /vmlinuz-{RHEL}\ninitrd /initramfs-{RHEL}.img\n"
    facts = rhel(guests, **{ENTRY: f"{entry}options {line}\n"})
    check = BY_ID["lvm-root-activation"]
    assert judge(check, facts).status == status
    assert "rd.lvm.lv=rootvg/rootlv" in written(check.id, facts).get(ENTRY, line if status == "pass" else "")
    assert "rd.lvm=0" not in written(check.id, facts).get(ENTRY, "")


def test_dracut_was_told_of_the_roots_volume_when_the_initramfs_was_made(guests: Any) -> None:
    line = WORDS.replace("rd.lvm.lv=rootvg/rootlv", "")
    inside = guests.cpio_of({"etc/cmdline.d/20-lvm.conf": b" rd.lvm.lv=rootvg/rootlv \n"}, *EARLY)
    entry = f"title Red Hat\nversion {RHEL}\nlinux /vmlinuz-{RHEL}\ninitrd /initramfs-{RHEL}.img\n"
    facts = rhel(guests, **{ENTRY: f"{entry}options {line}\n", f"/boot/initramfs-{RHEL}.img": inside})
    assert judge(BY_ID["lvm-root-activation"], facts).status == "pass"


def test_words_are_changed_in_the_environment_and_in_every_template(guests: Any) -> None:
    changes = {
        "/boot/grub2/grubenv": f"# GRUB Environment Block\nkernelopts={WORDS} rhgb quiet\n".ljust(1024, "#"),
        "/etc/default/grub": f'GRUB_CMDLINE_LINUX="{WORDS} rhgb quiet"\n',
        "/etc/kernel/cmdline": f"{WORDS} quiet\n",
    }
    facts = rhel(guests, **changes)
    assert bad(facts)["cmdline-quiet"] == "warning"
    texts = written("cmdline-quiet", facts)
    assert set(texts) == set(changes)
    assert texts["/etc/default/grub"] == f'GRUB_CMDLINE_LINUX="{WORDS}"\n'
    assert texts["/etc/kernel/cmdline"] == f"{WORDS}\n"
    environment = texts["/boot/grub2/grubenv"]
    assert len(environment) == 1024
    assert environment.startswith(f"# GRUB Environment Block\nkernelopts={WORDS}\n#")


def test_words_are_changed_in_bls_entries(guests: Any) -> None:
    entry = f"title R\nlinux /vmlinuz-{RHEL}\noptions {WORDS} quiet $tuned_params\n"
    texts = written("cmdline-quiet", rhel(guests, **{ENTRY: entry}))
    assert texts[ENTRY] == f"title R\nlinux /vmlinuz-{RHEL}\noptions {WORDS} $tuned_params\n"


def test_dracut_is_given_its_drivers_by_a_drop_in(guests: Any) -> None:
    facts = rhel(guests, **{f"/boot/initramfs-{RHEL}.img": guests.cpio("init")})
    fix = BY_ID["initramfs-hv-modules"].fix
    assert fix is not None
    drivers = b'add_drivers+=" hv_vmbus hv_storvsc hv_netvsc hyperv_keyboard nvme "\n'
    assert list(fix(facts)) == [
        Write("/etc/dracut.conf.d/90-azure.conf", drivers),
        Run(("dracut", "--force", "--no-hostonly", "--regenerate-all")),
    ]


SUSE = "6.4.0-150600.23.25-default"


def suse(guests: Any, **changes: Any) -> Facts:
    """A healthy guest as SUSE's installer lays it out: one btrfs, its subvolumes in fstab."""
    words = f"root=UUID={ROOT} console=ttyS0 earlyprintk=ttyS0 nvme_core.io_timeout=240"
    files: dict[str, Any] = dict.fromkeys(guests.good)
    files |= {
        "/etc/os-release": 'ID="sles"\nID_LIKE="suse"\nVERSION_ID="15.6"\nPRETTY_NAME="SLES 15 SP6"\n',
        "/usr/bin/sh": guests.good["/usr/bin/sh"],
        "/etc/fstab": f"UUID={ROOT} / btrfs defaults 0 0\n"
        f"UUID={ROOT} /var btrfs subvol=/@/var 0 0\nUUID={ROOT} /home btrfs subvol=/@/home 0 0\n",
        f"/boot/vmlinuz-{SUSE}": "MZ",
        f"/boot/initrd-{SUSE}": guests.cpio("init", *EARLY),
        "/boot/grub2/grub.cfg": "serial --unit=0\nterminal_output console serial\nset timeout=8\n"
        f"menuentry 'SLES' {{\n\tlinux /boot/vmlinuz-{SUSE} {words}\n\tinitrd /boot/initrd-{SUSE}\n}}\n",
        f"/usr/lib/modules/{SUSE}/modules.dep": DEP,
        "/usr/bin/dracut": "",
        "/etc/dracut.conf.d/azure.conf": 'force_drivers+=" hv_vmbus hv-storvsc hv_netvsc "\n',
        "/usr/sbin/growpart": "",
    }
    facts: Facts = guests.facts({**files, **changes})
    esp, old = facts.survey.contents
    root = Content(old.partition, FileSystem("btrfs", ROOT))
    return replace(facts, survey=replace(facts.survey, contents=(esp, root), root=root))


def test_a_healthy_suse_has_only_its_kernel_mentioned(guests: Any) -> None:
    assert bad(suse(guests)) == {"kernel-azure-flavour": Status.WARNING}


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("initramfs-hostonly", "warning", {"/etc/dracut.conf.d/azure.conf": "# nothing\n"}),
        ("swap-on-os-disk", "warning", {"/etc/fstab": f"UUID={ROOT} swap swap defaults 0 0\n"}),
        ("cmdline-ifnames", "warning", {"/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO=dhcp\n"}),
    ],
)
def test_one_defect_of_a_suse(guests: Any, check: str, status: str, changes: dict[str, Any]) -> None:
    found = bad(suse(guests, **changes))
    found.pop("kernel-azure-flavour")
    assert found == {check: status}


def test_what_turns_cloud_init_off_goes_wherever_a_boot_loader_keeps_it(guests: Any) -> None:
    """GRUB's template with its drop-in, a BLS entry, and the template of systemd-boot's entries."""
    drop_in = "/etc/default/grub.d/90-off.cfg"
    changes = {
        ENTRY: f"title R\nlinux /vmlinuz-{RHEL}\noptions {WORDS} cloud-init=disabled ds=nocloud\n",
        "/etc/default/grub": f'GRUB_CMDLINE_LINUX="{WORDS} cloud-init=disabled"\n',
        drop_in: 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX ci.ds=Ec2"\n',
        "/etc/kernel/cmdline": f"{WORDS} cloud-init=disabled\n",
    }
    facts = replace(rhel(guests, **changes), cloud_init=guests.facts({}).cloud_init)
    check = next(one for one in CLOUD_INIT_CHECKS if one.id == "cmdline-cloudinit-off")
    found = judge(check, facts)
    assert (found.status, found.where) == ("fail", f"{ENTRY}:3")
    assert check.fix is not None
    texts = {edit.path: edit.data.decode() for edit in check.fix(facts) if isinstance(edit, Write)}
    assert texts == {
        ENTRY: f"title R\nlinux /vmlinuz-{RHEL}\noptions {WORDS}\n",
        "/etc/default/grub": f'GRUB_CMDLINE_LINUX="{WORDS}"\n',
        drop_in: 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX"\n',
        "/etc/kernel/cmdline": f"{WORDS}\n",
    }
    mended = replace(rhel(guests, **(changes | texts)), cloud_init=facts.cloud_init)
    assert judge(check, mended).status == "pass"


def test_azures_own_datasource_on_the_command_line_is_no_defect(guests: Any) -> None:
    entry = f"title R\nlinux /vmlinuz-{RHEL}\noptions {WORDS} ci.ds=Azure cloud-init=enabled\n"
    check = next(one for one in CLOUD_INIT_CHECKS if one.id == "cmdline-cloudinit-off")
    facts = replace(rhel(guests, **{ENTRY: entry}), cloud_init=guests.facts({}).cloud_init)
    assert judge(check, facts).status == "pass"
