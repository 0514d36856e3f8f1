"""What other programs do as they generalize and this one does not, with the reason."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.identity.step import Default, Found, Guest, Severity, Step


def _nothing(_: Guest) -> Iterator[Found]:
    yield from ()


def _never(id: str, title: str, why: str, source: str) -> Step:
    return Step(id, title, why, source, Severity.TRACE, _nothing, Default.NEVER)


STEPS = (
    _never(
        "stop-agent",
        "stop the agent",
        "nothing runs in a guest that is not booted",
        "WALinuxAgent pa/deprovision/default.py",
    ),
    _never(
        "boot-loader-machine-id",
        "rename boot entries and kernel directories that carry the machine id",
        "kernel-install looks for them under these names, and they do no harm in a VM",
        "kernel-install(8)",
    ),
    _never(
        "fs-uuids",
        "give file systems new UUIDs",
        "fstab, boot loader and initramfs name them; no two VMs share a disk, so nothing is gained",
        "guestfs-tools sysprep_operation_fs_uuids.ml",
    ),
    _never(
        "lvm-uuids",
        "give LVM's volumes new UUIDs",
        "as for file systems; volumes are found by name",
        "guestfs-tools sysprep_operation_lvm_uuids.ml",
    ),
    _never(
        "flag-reconfiguration",
        "ask for reconfiguration at the next boot",
        "the boot would wait for somebody at the console",
        "guestfs-tools sysprep_operation_flag_reconfiguration.ml",
    ),
    _never(
        "clean-scripts",
        "run the scripts in /etc/cloud/clean.d",
        "they are written for a running guest; what Ubuntu's removes goes with ci-installer",
        "cloud-init cmd/clean.py",
    ),
    _never(
        "snapd-device",
        "remove snapd's device key",
        "snapd's state names the key, and without it the device cannot be registered at all",
        "snapd overlord/devicestate",
    ),
    _never(
        "falcon-agent-id",
        "remove CrowdStrike's agent id",
        "it is in one file with the customer's id; run in the guest: falconctl -d -f --aid",
        "CrowdStrike Falcon Sensor for Linux",
    ),
    _never(
        "net-nmconn",
        "remove all of NetworkManager's connections",
        "some may be meant for every VM; MAC addresses go with net-hwaddr, passwords with network-secrets, "
        "and doctor --fix mends fixed addresses",
        "guestfs-tools sysprep_operation_net_nmconn.ml",
    ),
    _never(
        "script",
        "run a script of yours in the guest",
        "its changes could not be told before; run it in the guest, or in the recipe that builds the disk",
        "guestfs-tools sysprep_operation_script.ml",
    ),
    _never(
        "autorelabel",
        "cancel a relabelling for SELinux",
        "files without a label would keep a guest from booting",
        "selinux(8)",
    ),
)
