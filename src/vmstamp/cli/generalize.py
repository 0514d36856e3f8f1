"""Generalize a VM: clean the guest over SSH, deallocate, tell ARM, then look at the disk.

Azure cannot see whether a guest was generalized; it believes what it is told. So the last step reads the
OS disk, where it lies, through a read SAS, and says what of the machine's identity is left.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmstamp.cli import ssh
from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.managed_disks import disk_access
from vmstamp.cli.quantities import bytes_text
from vmstamp.cli.render import Reporter
from vmstamp.cli.storage import open_named
from vmstamp.cli.vms import get_vm, is_generalized, status_of, stop_vm, vm_id
from vmstamp.errors import AzureError, MachineError
from vmstamp.guest.identity import Identity, read_identity
from vmstamp.paths import Home
from vmstamp.transfer.blobs import open_blob
from vmstamp.transfer.page_blob_disk import PageBlobDisk

CLEAN_TIMEOUT = 900.0  # seconds for the script
DONE = "vmstamp: guest generalized"

# Run as root by `sh -s USER`. waagent and cloud-init leave machine-id, histories and other logs. Host keys go
# only where cloud-init makes new ones at the next first boot; for an image that waagent alone provisions,
# waagent's own setting decides.
SCRIPT = """\
set -u
export HISTFILE=/dev/null LC_ALL=C
cd /
user=$1
# Cleaned while it still runs, cloud-init would write its state once more.
if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null; fi
if command -v waagent >/dev/null; then
    waagent -deprovision+user -force || exit 3
fi
if command -v cloud-init >/dev/null; then
    flags=
    help=$(cloud-init clean --help 2>/dev/null)
    for flag in --logs --seed; do
        case $help in *"$flag"*) flags="$flags $flag";; esac
    done
    cloud-init clean $flags || exit 4
    rm -rf /var/lib/cloud/seed
    rm -f /etc/ssh/ssh_host_*key* /etc/sudoers.d/90-cloud-init-users
    rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init
    rm -f /etc/ssh/sshd_config.d/50-cloud-init.conf
    rm -f /etc/NetworkManager/system-connections/cloud-init-*.nmconnection
fi
if id "$user" >/dev/null 2>&1; then
    userdel -f -r "$user" 2>/dev/null
    ! id "$user" >/dev/null 2>&1 || exit 5
fi
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-
: > /etc/machine-id && chmod 0444 /etc/machine-id || exit 6
if [ -e /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then
    ln -sf /etc/machine-id /var/lib/dbus/machine-id
fi
# What these write at shutdown would be the old machine's again.
systemctl stop systemd-random-seed.service systemd-update-utmp.service
journalctl --relinquish-var
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /boot/efi/loader/random-seed
rm -f /root/.*history /root/.lesshst /root/.viminfo /root/.wget-hsts
rm -rf /root/.ssh/authorized_keys /root/.ssh/known_hosts
rm -rf /var/log/journal/* /var/log/azure /var/log/waagent.log /var/log/cloud-init*.log
rm -f /var/lib/dhcp/*.leases /var/lib/NetworkManager/*.lease
find /tmp /var/tmp -xdev -type f -delete
find /var/log -type f \\( -name '*.gz' -o -name '*.1' -o -name '*.old' \\) -delete
for name in wtmp btmp lastlog auth.log syslog messages; do
    log=/var/log/$name
    [ ! -f "$log" ] || : > "$log"
done
sync
echo "%s"
""".replace("%s", DONE)

STEPS = (
    "in the guest, over SSH: waagent -deprovision+user -force",
    "in the guest: cloud-init clean --logs --seed, its network file, SSH host keys",
    "in the guest: the user that provisioning made, machine-id, random seeds, histories, leases, logs, "
    "temporary files",
    "deallocate the VM",
    "tell ARM that it is generalized (it can never start again)",
    "read the OS disk and say what of the machine's identity is left",
)


@dataclass(frozen=True)
class Generalized:
    """What was done to a VM, and what is left on its OS disk; `fetched` are the bytes read to know."""

    vm: str
    identity: Identity
    fetched: int

    def to_json(self) -> dict[str, Any]:
        return {"vm": self.vm, "fetched": self.fetched, **self.identity.to_json()}


def generalize(
    arm: ArmClient,
    home: Home,
    group: str,
    name: str,
    report: Reporter,
    *,
    key: Path | None = None,
    user: str = "",
) -> Generalized:
    """All steps of STEPS; each is skipped when it is done already. Raises MachineError and AzureError."""
    vm = get_vm(arm, group, name)
    if steps_for(vm) == STEPS:
        clean_guest(ssh.target_of(arm, home, vm, key=key, user=user), report)
        stop_vm(arm, group, name)
        report.say(f"VM {name} is deallocated")
        arm.post(vm_id(arm, group, name), "generalize")
        report.say(f"VM {name} is marked generalized")
    identity, fetched = look_at_disk(arm, group, name)
    report.say(f"looked at the OS disk ({bytes_text(fetched)} read): {verdict(identity)}")
    return Generalized(name, identity, fetched)


def steps_for(vm: Document) -> tuple[str, ...]:
    """What is to be done with a VM: all of STEPS, or the look alone at one that is generalized already.

    Raises MachineError when its guest does not run, and so cannot be cleaned.
    """
    if is_generalized(vm):
        return STEPS[-1:]
    if (power := status_of(vm, "PowerState")) == "running":
        return STEPS
    raise MachineError(
        f"VM {vm['name']} is {power or 'not running'}: its guest cannot be cleaned",
        hint=f"start it first: vmstamp vm start {vm['name']}",
    )


def clean_guest(target: ssh.Target, report: Reporter) -> None:
    """Run the script in the guest; MachineError with what it said when it did not get to its end."""
    port = ssh.wait_port(target, ssh.UP_TIMEOUT)
    done = ssh.run_in(
        target,
        f"sudo -n sh -s -- {target.user}",
        port=port,
        timeout=CLEAN_TIMEOUT,
        check=False,
        stdin=SCRIPT.encode(),
    )
    if DONE not in done.text:
        said = (done.stderr.decode(errors="replace") + done.text).strip().splitlines()
        raise MachineError(
            f"VM {target.vm}: generalizing in the guest stopped (exit status {done.status}): "
            f"{said[-1] if said else 'no message'}",
            hint="the guest may be half cleaned: do not capture it",
        )
    report.say(f"cleaned the guest of VM {target.vm}")


def look_at_disk(arm: ArmClient, group: str, name: str) -> tuple[Identity, int]:
    """What is left of identity on the OS disk of a deallocated VM, and how many bytes were read."""
    disk: Document = get_vm(arm, group, name)["properties"]["storageProfile"]["osDisk"]
    with ExitStack() as stack:
        if "managedDisk" in disk:
            blob = open_blob(stack.enter_context(disk_access(arm, str(disk["managedDisk"]["id"]))))
        else:
            blob = open_named(arm, str(disk["vhd"]["uri"]))
        opened = stack.enter_context(PageBlobDisk(stack.enter_context(blob)))
        return read_identity(opened), opened.fetched


def verdict(identity: Identity) -> str:
    """One sentence about what is left."""
    if identity.generalized:
        return "no identity is left"
    left = sorted({one.id for one in identity.leftovers if one.severity == "identity"})
    return f"identity is left: {', '.join(left)}"


def require_generalized(vm: dict[str, Any]) -> None:
    """Azure's own refusal to make an image of a VM that is not generalized."""
    if not is_generalized(vm):
        error = AzureError(
            409,
            "OperationNotAllowed",
            f"The operation 'Create Image' requires the Virtual Machine '{vm['name']}' to be Generalized.",
        )
        error.hint = f"vmstamp vm generalize {vm['name']}"
        raise error
