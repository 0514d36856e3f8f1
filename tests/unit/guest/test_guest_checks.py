"""Each check on one guest that passes and on one that fails only this check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import (
    LINUX_FILE_SYSTEM,
    NewPartition,
    PartitionTable,
    build_gpt,
    read_partitions,
)
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.doctor import plan_mends
from vmstamp.guest.edits import describe
from vmstamp.guest.finding import Finding, Status, judge

MIB = 1024 * 1024
GRUB = "/boot/grub/grub.cfg"
WANTS = "/etc/systemd/system/multi-user.target.wants"
CLOUD = "/etc/cloud/cloud.cfg.d"


# What is no question for the good guest: a Gen2 Debian without LVM.
NOT_APPLICABLE = {
    "vhd-size-max-gen1": "a question for Gen1 only",
    "gen1-boot-code": "a question for Gen1 only",
    "esp-grub-stub": "no grub.cfg on the EFI system partition",
    "cmdline-numa": "only for kernels before 2.6.37",
    "kernel-floppy-blacklist": "a question for Gen1 only",
    "kernel-essential-config": "the kernel's configuration is not in the guest",
    "grub-install-devices": "no debconf database",
    "user-name-clash": "no name was given: --admin NAME",
    "azurelinux-proxy-agent": "no azure-proxy-agent: VMs are deployed without ProxyAgentSettings",
    "boot-log-errors": "no log of a boot is kept",
    "free-space-zeroed": "only the free space of ext2, ext3 and ext4 is looked at",
    **dict.fromkeys(
        (
            "apt-mirror",
            "ci-mounts-stage",
            "lvm-devices-file",
            "lvm-filter",
            "lvm-root-activation",
            "net-dhcp-timeout",
            "net-nm-absent-old",
            "net-nm-sriov-unmanaged",
            "net-nozeroconf",
            "net-suse-hostname",
            "omi-version",
            "yum-http-caching",
        ),
        "not a question for this disk",
    ),
}


def findings_of(facts: Any) -> dict[str, Finding]:
    return {check.id: judge(check, facts) for check in CHECKS}


def bad(facts: Any) -> dict[str, Status]:
    found = findings_of(facts)
    identity = {check.id for check in CHECKS if check.identity}  # tested with the steps of generalizing
    return {
        id: f.status
        for id, f in found.items()
        if f.status in (Status.FAIL, Status.WARNING) and id not in identity
    }


def test_ids_are_unique_and_every_record_is_complete() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert all((check.title, check.why, check.source, check.mend)), check.id


def test_a_good_guest_passes_every_check(guests: Any) -> None:
    found = findings_of(guests.facts({}))
    linux = {id: f for id, f in found.items() if not id.startswith("win-")}
    rest = {id: f.found for id, f in linux.items() if f.status is not Status.PASS}
    assert rest == NOT_APPLICABLE


def grub(options: str, kernel: str = "/boot/vmlinuz-6.1.0-42-cloud-amd64") -> str:
    head = "serial --speed=115200\nterminal_output console serial\nmenuentry x {\n"
    return f"{head}\tlinux {kernel} {options}\n}}\n"


REST = "earlyprintk=ttyS0 nvme_core.io_timeout=240"
GOOD_OPTIONS = (
    "root=UUID=6e8ab20c-0ac0-4d8a-9c2b-1f6f5d4c3b2a ro console=ttyS0 earlyprintk=ttyS0 "
    "nvme_core.io_timeout=240"
)
FSTAB = "UUID=6e8ab20c-0ac0-4d8a-9c2b-1f6f5d4c3b2a / ext4 defaults 0 1\n"
INITRD = "/boot/initrd.img-6.1.0-42-cloud-amd64"
MODULES = "/usr/lib/modules/6.1.0-42-cloud-amd64"


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("grub-cfg-root", "fail", {GRUB: grub(GOOD_OPTIONS, "/boot/vmlinuz-gone")}),
        ("grub-cfg-root", "fail", {GRUB: grub(f"{REST} root=UUID=00000000-1111 console=ttyS0")}),
        ("grub-cfg-root", "warning", {GRUB: None}),
        ("cmdline-root-device", "fail", {GRUB: grub(f"{REST} root=/dev/vda2 console=ttyS0")}),
        ("cmdline-root-device", "fail", {GRUB: grub(f"{GOOD_OPTIONS} resume=/dev/nvme0n1p3")}),
        ("cmdline-console", "warning", {GRUB: grub(f"{REST} root=LABEL=root console=tty0")}),
        ("cmdline-atapi-off", "fail", {GRUB: grub(f"{GOOD_OPTIONS} libata.atapi_enabled=0")}),
        ("cmdline-cloudinit-off", "fail", {GRUB: grub(f"{GOOD_OPTIONS} ds=nocloud")}),
        ("cmdline-cloudinit-off", "fail", {GRUB: grub(f"{GOOD_OPTIONS} cloud-init=disabled")}),
        ("initramfs-present", "fail", {INITRD: None}),
        ("initramfs-present", "fail", {INITRD: ""}),
        ("module-blacklist-provisioning", "fail", {"/etc/modprobe.d/cis.conf": "install udf /bin/true\n"}),
        ("module-blacklist-boot", "fail", {"/etc/modprobe.d/x.conf": "blacklist hv-netvsc # no\n"}),
        ("module-blacklist-provisioning", "fail", {GRUB: grub(f"{GOOD_OPTIONS} module_blacklist=a,udf")}),
        ("fstab-device-names", "fail", {"/etc/fstab": f"{FSTAB}/dev/sdb1 /data ext4 defaults\n"}),
        ("fstab-device-names", "warning", {"/etc/fstab": f"{FSTAB}/dev/vdb1 /data ext4 nofail\n"}),
        ("fstab-missing-device", "fail", {"/etc/fstab": f"{FSTAB}UUID=dead-beef /data xfs defaults\n"}),
        ("fstab-missing-device", "fail", {"/etc/fstab": "/dev/disk/by-label/gone /data xfs defaults\n"}),
        ("fstab-network-mounts", "warning", {"/etc/fstab": f"{FSTAB}nas:/v /v nfs defaults\n"}),
        ("swap-on-os-disk", "warning", {"/etc/fstab": f"{FSTAB}/swapfile none swap sw 0 0\n"}),
        ("udev-persistent-net", "warning", {"/etc/udev/rules.d/70-persistent-net.rules": "SUBSYSTEM"}),
        ("sshd-enabled", "fail", {f"{WANTS}/ssh.service": None}),
        ("sshd-enabled", "fail", {"/etc/systemd/system/ssh.service": "-> /dev/null"}),
        ("sshd-enabled", "fail", {"/usr/sbin/sshd": None}),
        ("ci-datasource", "fail", {f"{CLOUD}/99.cfg": "datasource_list: [NoCloud, None]\n"}),
        ("ci-datasource", "fail", {f"{CLOUD}/99.cfg": "datasource_list: Azure\n"}),
        ("ci-datasource", "fail", {f"{CLOUD}/99.cfg": "datasource_list: [Azure\n"}),
        ("ci-datasource", "warning", {f"{CLOUD}/99.cfg": "datasource_list:\n - Azure\n"}),
        ("ci-ds-identify-policy", "fail", {"/etc/cloud/ds-identify.cfg": "policy: disabled\n"}),
        ("ci-ds-identify-policy", "fail", {"/etc/cloud/ds-identify.cfg": "datasource: Ec2\n"}),
        ("wa-present", "warning", {"/usr/sbin/waagent": None}),
        ("wa-present", "warning", {f"{WANTS}/walinuxagent.service": None}),
        ("wa-conf-provisioning", "fail", {"/etc/waagent.conf": "Provisioning.Agent=waagent\n"}),
        ("wa-conf-provisioning", "fail", {"/etc/waagent.conf": "Provisioning.Agent=nonsense\n"}),
    ],
)
def test_one_defect_fails_one_check(
    guests: Any, check: str, status: str, changes: dict[str, str | None]
) -> None:
    assert bad(guests.facts(changes)) == {check: status}


@pytest.mark.parametrize(
    ("check", "disk"),
    [
        ("vhd-container-kind", {"format": "vhdx", "subformat": "dynamic"}),
        ("vhd-container-kind", {"format": "raw", "subformat": ""}),
        ("vhd-fixed", {"subformat": "dynamic"}),
        ("vhd-size-1mib", {"size": 2048 * MIB + 512}),
        ("vhd-size-min", {"size": 19 * MIB}),
        ("vhd-size-max-gen2", {"size": 5 * 1024**4}),
    ],
)
def test_one_defect_of_the_file_fails_one_check(guests: Any, check: str, disk: dict[str, Any]) -> None:
    found = bad(guests.facts({}, guests.disk(**disk)))
    found.pop("vhd-size-marketplace", None)  # a disk too small or too large for Azure is so for it as well
    assert found == {check: Status.FAIL}


def test_an_initramfs_without_the_drivers_fails_unless_they_are_built_in(guests: Any) -> None:
    changes: dict[str, Any] = {INITRD: guests.cpio("init", "lib/ext4.ko", "lib/nvme.ko")}
    assert bad(guests.facts(changes)) == {"initramfs-hv-modules": "fail"}
    names = ("hv_vmbus", "hv_storvsc", "sd_mod", "scsi_mod", "cdrom")
    changes[f"{MODULES}/modules.builtin"] = "".join(f"kernel/{name}.ko\n" for name in names)
    assert bad(guests.facts(changes)) == {}


def test_a_gpt_with_one_bad_copy_is_a_warning(guests: Any) -> None:
    facts = guests.facts({})
    table = PartitionTable("gpt", facts.survey.table.partitions, notes=("the backup GPT is bad (CRC)",))
    assert bad(replace(facts, survey=replace(facts.survey, table=table))) == {"part-table-valid": "warning"}


def test_a_bad_copy_of_a_gpt_is_mended_by_the_other(guests: Any) -> None:
    size = 2048 * MIB
    gpt = build_gpt(size, [NewPartition(LINUX_FILE_SYSTEM, "", MIB, 0, UUID(int=1))], UUID(int=2))
    disk = MemoryDisk(size, {0: gpt.head, gpt.tail_offset: gpt.tail[:-512]})
    facts = guests.facts({})
    facts = replace(facts, disk=disk, survey=replace(facts.survey, table=read_partitions(disk)))
    check = next(check for check in CHECKS if check.id == "part-table-valid")
    assert judge(check, facts).status == "warning"
    plan = plan_mends(facts, [check])
    assert [describe(edit) for edit in plan.edits] == [
        f"write the GPT's backup ({len(gpt.tail)} bytes at byte {gpt.tail_offset} of the disk)"
    ]
    assert plan.mends[0].expected == "pass"
    assert plan.is_foreseen


def test_a_table_that_cannot_be_read_fails(guests: Any) -> None:
    facts = guests.facts({})
    broken = replace(facts, survey=replace(facts.survey, table=None, problem="neither copy is whole"))
    assert bad(broken) == {"part-table-valid": "fail"}


def test_an_esp_without_the_removable_media_path_does_not_boot(guests: Any) -> None:
    facts = guests.facts({})
    broken = replace(facts, boot=replace(facts.boot, loaders=()))
    assert bad(broken) == {"gen2-esp": "fail", "gen-detect": "fail"}


def test_a_loader_of_another_architecture_does_not_boot(guests: Any) -> None:
    facts = replace(guests.facts({}), architecture="aarch64")
    found = findings_of(facts)["gen2-esp"]
    assert found.status is Status.FAIL
    assert "aarch64" in found.found


def test_a_dirty_journal_is_a_warning(guests: Any) -> None:
    facts = guests.with_root(guests.facts({}), dirty="its journal needs recovery")
    assert bad(facts) == {"fs-dirty": "warning"}


def test_an_encrypted_partition_fails(guests: Any) -> None:
    facts = guests.with_root(guests.facts({}), kind="LUKS")
    assert bad(facts) == {"disk-encrypted": "fail"}


def test_no_agent_at_all_fails(guests: Any) -> None:
    changes = {
        "/usr/lib/systemd/system/cloud-init-local.service": None,
        "/usr/lib/python3/dist-packages/cloudinit/version.py": None,
        "/usr/sbin/waagent": None,
    }
    assert bad(guests.facts(changes)) == {
        "agent-any": "fail",
        "wa-present": "warning",
        "sshd-host-keygen": "warning",
    }


def test_waagent_alone_provisions_but_makes_host_keys_too_late(guests: Any) -> None:
    alone: dict[str, str | None] = {
        "/usr/lib/systemd/system/cloud-init-local.service": None,
        "/usr/lib/python3/dist-packages/cloudinit/version.py": None,
        "/etc/waagent.conf": "Provisioning.Agent=waagent\n",
    }
    assert bad(guests.facts(alone)) == {"sshd-host-keygen": "fail"}
    drop_in = {"/etc/systemd/system/ssh.service.d/keys.conf": "[Service]\nExecStartPre=ssh-keygen -A\n"}
    assert bad(guests.facts({**alone, **drop_in})) == {}
    assert bad(guests.facts({**alone, "/etc/ssh/ssh_host_rsa_key": "secret"})) == {}


def test_disabled_cloud_init_leaves_nobody_to_provision(guests: Any) -> None:
    found = bad(guests.facts({"/etc/cloud/cloud-init.disabled": ""}))
    assert found == {
        "agent-any": "fail",
        "ci-enabled": "fail",
        "wa-conf-provisioning": "fail",
        "sshd-host-keygen": "warning",
    }


def test_what_cannot_be_read_is_a_warning_and_never_a_pass(guests: Any) -> None:
    found = findings_of(guests.damaged("/etc/modprobe.d"))["module-blacklist-provisioning"]
    assert found.status is Status.WARNING
    assert "could not be checked" in found.found
    assert found.mend


def test_a_rule_linked_to_null_is_no_rule(guests: Any) -> None:
    rule = "/etc/udev/rules.d/75-persistent-net-generator.rules"
    assert bad(guests.facts({rule: "-> /dev/null", "/dev/null": ""})) == {}
