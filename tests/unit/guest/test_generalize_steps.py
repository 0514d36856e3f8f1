"""Every step of generalizing: what it finds, alone, on a guest that is otherwise clean, and takes away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vmstamp.guest.checks.leftovers import CHECKS, JUDGED_ELSEWHERE
from vmstamp.guest.edits import Remove, Run, Write
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.generalize import do, plan
from vmstamp.guest.identity import STEPS, WINDOWS_STEPS, Severity, identity_of
from vmstamp.guest.identity.people import agent_made
from vmstamp.guest.identity.step import Choice, Default, Guest
from vmstamp.guest.overlay import Overlay

SECRET = "AAAAB3NzaC1yc2EAAAADAQABSECRET"
ROOT = "root:x:0:0:root:/root:/bin/bash\n"
ADMIN = f"{ROOT}azureuser:x:1000:1000::/home/azureuser:/bin/bash\n"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n"
ID = "0123456789abcdef0123456789abcdef\n"

INSTALLER_SCRIPT = """#!/usr/bin/env python3
for cfg_file in ["/etc/cloud/cloud-init.disabled", "/etc/cloud/cloud.cfg.d/99-installer.cfg",
                 '/etc/cloud/ds-identify.cfg', "/etc/passwd"]:
    os.remove(cfg_file)
"""
CLOUD_CFG, MERGED = "/etc/cloud/cloud.cfg", "/var/lib/cloud/instances/i/cloud-config.txt"
# As Ubuntu's installer writes it: the users are in user data that are themselves text.
INSTALLER_DATA = f"""datasource:
  None:
    metadata:
      instance-id: 1f0be9fb-4495-40c2-8db4-0930589a213a
    userdata_raw: "#cloud-config\\nusers:\\n- name: bob\\n  passwd: {SECRET}\\n"
datasource_list:
- None
"""

# (step, files beside the clean guest's): exactly that step finds something there.
CASES: list[tuple[str, dict[str, str]]] = [
    ("users-pre-existing", {"/etc/passwd": f"{ROOT}packer:x:1000:1000::/home/packer:/bin/sh\n"}),
    ("sudoers-leftover", {"/etc/sudoers.d/90-cloud-init-users": "# a\nroot ALL=(ALL) NOPASSWD:ALL\n"}),
    ("sudoers-leftover", {"/etc/sudoers.d/waagent": "%wheel ALL=(ALL) ALL\n"}),
    ("sudoers-orphan", {"/etc/sudoers.d/90-cloud-init-users": "gone ALL=(ALL) NOPASSWD:ALL\n"}),
    ("sudoers-orphan", {"/etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD:ALL\n"}),
    ("authorized-keys", {"/root/.ssh/authorized_keys": f"# mine\nssh-rsa {SECRET}\n"}),
    ("authorized-keys", {"/root/.ssh/authorized_keys2": f"ssh-rsa {SECRET}\n"}),
    (
        "authorized-keys",
        {
            "/etc/ssh/sshd_config.d/keys.conf": "AuthorizedKeysFile /etc/ssh/keys/%u .ssh/other\n",
            "/etc/ssh/keys/root": f"ssh-rsa {SECRET}\n",
        },
    ),
    (
        "authorized-keys",
        {
            "/etc/passwd": f"{ROOT}git:x:105:105::/var/lib/git:/bin/sh\n",
            "/var/lib/git/.ssh/authorized_keys": f"ssh-rsa {SECRET}\n",
        },
    ),
    ("refused-keys", {"/root/.ssh/authorized_keys": f"command='echo Please login as the user' {SECRET[:9]}"}),
    ("root-locked", {"/etc/shadow": f"root:$y${SECRET}:19000::::::\n"}),
    ("root-locked", {"/etc/shadow": "root::19000::::::\n"}),
    ("shadow-empty-password", {"/etc/shadow": "root:*:1::::::\nsync::1::::::\n"}),
    ("shadow-empty-password", {"/etc/passwd": "root:x:0:0::/root:/bin/sh\nsync::4:65534::/bin:/bin/sync\n"}),
    ("shadow-empty-password", {"/etc/ssh/sshd_config": "UsePAM yes\n  PermitEmptyPasswords=yes\n"}),
    ("shadow-empty-password", {"/etc/ssh/sshd_config.d/a.conf": "permitemptypasswords yes\n"}),
    ("orphan-home", {"/home/gone/.ssh/known_hosts": "x"}),
    ("shell-history", {"/root/.bash_history": f"mysql -p{SECRET}\n"}),
    ("shell-history", {"/root/.mysql_history": f"set password {SECRET}\n"}),
    ("shell-history", {"/root/.lesshst": "x"}),
    ("shell-history", {"/root/.local/share/fish/fish_history": "x"}),
    ("known-hosts", {"/root/.ssh/known_hosts": "host key"}),
    ("passwd-backups", {"/etc/shadow-": f"old:{SECRET}:1::::::\n"}),
    ("passwd-backups", {"/etc/subuid-": "old:1:1\n"}),
    ("private-keys", {"/root/.ssh/id_ed25519": KEY}),
    ("private-keys", {"/etc/ssl/private/web.key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n"}),
    ("cloud-credentials", {"/root/.aws/credentials": SECRET}),
    ("cloud-credentials", {"/root/.azure/msal_token_cache.json": SECRET}),
    ("cloud-credentials", {"/root/.netrc": SECRET}),
    ("cloud-credentials", {"/etc/kubernetes/admin.conf": SECRET}),
    ("mail-spool", {"/var/mail/root": "From cron"}),
    ("cron-spool", {"/var/spool/cron/crontabs/root": "* * * * * x\n"}),
    ("pam-data", {"/var/lib/faillock/root": "x"}),
    ("cron-spool", {"/var/spool/cron/root": "* * * * * x\n"}),
    ("locked-hashes", {"/etc/shadow": f"root:!$6${SECRET}:1::::::\n"}),
    ("locked-hashes", {"/etc/shadow": f"root:*:1::::::\nbackup:!!$y${SECRET}:1::::::\n"}),
    *(("shell-history", {f"/root/{name}": "x"})
      for name in (".zhistory", ".irb-history", ".octave_hist", ".Rhistory", ".local/state/python_history",
                   ".local/share/nvim/shada/main.shada", ".local/share/nano/search_history")),
    ("wa-stale-state", {"/var/lib/waagent/provisioned": "i-1"}),
    ("wa-stale-state", {"/var/lib/waagent/ovf-env.xml": f"<UserPassword>{SECRET}</UserPassword>"}),
    ("wa-stale-state", {"/var/lib/waagent/0123.prv": SECRET}),
    ("ci-instance-leftover", {"/var/lib/cloud/instances/i-1/user-data.txt": SECRET}),
    ("ci-instance-leftover", {"/var/lib/cloud/instance": "-> instances/gone"}),
    ("ci-instance-leftover", {"/var/lib/cloud/handlers/part-handler-001.py": SECRET}),
    ("ci-seed-leftover", {"/var/lib/cloud/seed/azure/ovf-env.xml": SECRET}),
    ("ci-seed-leftover", {"/var/lib/cloud/seed/meta-data": SECRET}),
    ("ci-seed-leftover", {"/etc/cloud/cloud.cfg.d/99-installer.cfg": INSTALLER_DATA}),
    (
        "ci-installer",
        {"/etc/cloud/clean.d/99-installer": INSTALLER_SCRIPT, "/etc/cloud/ds-identify.cfg": "policy: x\n"},
    ),
    (
        "ci-installer",
        {"/etc/cloud/clean.d/99-installer": INSTALLER_SCRIPT, "/etc/cloud/cloud-init.disabled": "x"},
    ),
    ("ci-scripts", {"/var/lib/cloud/scripts/per-boot/10-join.sh": f"join {SECRET}\n"}),
    ("ci-scripts", {"/var/lib/cloud/scripts/vendor/x": "#!/bin/sh\n"}),
    (
        "ci-seed-leftover",
        {"/etc/cloud/cloud.cfg.d/99-installer.cfg": "datasource_list: [Azure]\nusers:\n  - name: bob\n"},
    ),
    ("ci-users-config", {"/etc/cloud/cloud.cfg.d/50-x.cfg": f"password: {SECRET}\n"}),
    ("agent-credentials", {"/var/log/cloud-init.log": SECRET}),
    ("agent-credentials", {"/var/log/cloud-init-output.log.1.gz": "x"}),
    ("agent-credentials", {"/var/log/waagent.log": "x"}),
    ("agent-credentials", {"/var/log/azure/Microsoft.X/x.log": "x"}),
    ("agent-credentials", {"/etc/cloud/cloud.cfg.d/05.cfg": "def_log_file: /srv/x\n", "/srv/x": "x"}),
    (
        "agent-credentials",
        {"/etc/cloud/cloud.cfg.d/05.cfg": "output: {all: '| tee -a /srv/out.txt'}\n", "/srv/out.txt": "x"},
    ),
    ("wa-units", {"/usr/lib/systemd/system/azure-vmextensions-Microsoft.X.slice": "[Slice]\n"}),
    ("wa-units", {"/etc/systemd/system/waagent-network-setup.service": "[Service]\n"}),
    ("wa-units", {"/usr/lib/systemd/system/walinuxagent.service.d/12-CPUQuota.conf": "[Service]\n"}),
    ("ci-network", {"/etc/netplan/50-cloud-init.yaml": "network: {}"}),
    ("ci-network", {"/etc/network/interfaces.d/50-cloud-init": "auto eth0"}),
    ("ci-network", {"/etc/NetworkManager/conf.d/99-cloud-init.conf": "[main]\n"}),
    ("ci-network", {"/etc/ssh/sshd_config.d/50-cloud-init.conf": "PasswordAuthentication yes"}),
    (
        "resource-disk-fstab",
        {"/etc/fstab": "/dev/disk/cloud/azure_resource-part1 /mnt auto nofail,comment=cloudconfig 0 2\n"},
    ),
    ("machine-id", {"/etc/machine-id": ID}),
    ("dbus-machine-id", {"/var/lib/dbus/machine-id": ID}),
    ("ssh-host-keys", {"/etc/ssh/ssh_host_ed25519_key": KEY}),
    ("ssh-host-keys", {"/etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519"}),
    ("ssh-host-keys", {"/etc/dropbear/dropbear_rsa_host_key": SECRET}),
    ("initramfs-secrets", {"/etc/dropbear/initramfs/dropbear_ed25519_host_key": SECRET}),
    ("storage-host-ids", {"/etc/iscsi/initiatorname.iscsi": "# x\nInitiatorName=iqn.1993-08.debian:01:a\n"}),
    ("storage-host-ids", {"/etc/nvme/hostid": "x"}),
    ("random-seed", {"/var/lib/systemd/random-seed": "x"}),
    ("random-seed", {"/boot/efi/loader/random-seed": "x"}),
    ("hostname", {"/etc/hostname": "web1\n"}),
    ("hostname", {"/etc/sysconfig/network": "NETWORKING=yes\nHOSTNAME=web1\n"}),
    ("hostname", {"/etc/sysconfig/network/dhcp": 'DHCLIENT_HOSTNAME_OPTION="web1"\n'}),
    ("hostname", {"/etc/dhcp/dhclient.conf": 'send host-name "web1";\n'}),
    ("dhcp-leases", {"/var/lib/dhcpcd/dhcpcd-eth0.info": "x"}),
    ("dhcp-leases", {"/var/lib/wicked/state-eth0.xml": "x"}),
    ("dhcp-leases", {"/var/db/dhclient.leases.eth0": "x"}),
    ("dhcp-leases", {"/var/lib/dhcp/dhclient.eth0.leases": "lease {}"}),
    ("dhcp-leases", {"/var/lib/NetworkManager/secret_key": "x"}),
    ("dhcp-leases", {"/var/lib/dhcpcd/duid": "x"}),
    ("dhcp-server-leases", {"/var/lib/misc/dnsmasq.leases": "x"}),
    ("dhcp-server-leases", {"/var/lib/dhcp/dhcpd.leases": "x"}),
    ("net-hwaddr", {"/etc/sysconfig/network-scripts/ifcfg-eth0": "DEVICE=eth0\nHWADDR=00:0d:3a:1:2:3\n"}),
    ("net-hwaddr", {"/etc/udev/rules.d/70-persistent-net.rules": "SUBSYSTEM"}),
    ("resolv-conf", {"/etc/resolv.conf": "# Generated by NetworkManager\nnameserver 10.0.0.1\n"}),
    ("resolv-conf", {"/etc/resolvconf/resolv.conf.d/original": "nameserver 10.0.0.1\n"}),
    ("storage-devices", {"/etc/lvm/devices/system.devices": "IDTYPE=sys_wwid"}),
    ("storage-devices", {"/etc/multipath/wwids": "# wwids\n/3600/\n"}),
    ("subscription-ids", {"/etc/pki/consumer/cert.pem": SECRET}),
    ("subscription-ids", {"/var/lib/ubuntu-advantage/private/machine-token.json": SECRET}),
    ("subscription-ids", {"/etc/sysconfig/rhn/osad-auth.conf": SECRET}),
    ("kerberos-keytab", {"/etc/krb5.keytab": SECRET}),
    ("joined-domain", {"/var/lib/samba/private/secrets.tdb": SECRET}),
    ("config-mgmt-identity", {"/etc/puppetlabs/puppet/ssl/private_keys/a.pem": SECRET}),
    ("config-mgmt-identity", {"/etc/salt/pki/minion/minion.pem": SECRET}),
    ("config-mgmt-identity", {"/var/lib/puppet/state/state.yaml": SECRET}),
    ("config-mgmt-identity", {"/var/cache/salt/minion/grains.cache.p": SECRET}),
    ("edr-arc-identity", {"/var/lib/tailscale/tailscaled.state": SECRET}),
    ("edr-arc-identity", {"/var/opt/azcmagent/certs/myCert": SECRET}),
    ("service-ids", {"/etc/docker/key.json": SECRET}),
    ("installer-secrets", {"/root/anaconda-ks.cfg": f"rootpw --iscrypted {SECRET}\n"}),
    ("installer-secrets", {"/var/log/installer/autoinstall-user-data": SECRET}),
    ("network-secrets", {"/etc/wireguard/wg0.conf": SECRET}),
    ("network-secrets", {"/etc/NetworkManager/system-connections/w": f"[wifi-security]\npsk={SECRET}\n"}),
    ("ca-certificates", {"/usr/local/share/ca-certificates/own.crt": "x"}),
    ("firewall-rules", {"/etc/iptables/rules.v4": "*filter"}),
    ("logs-spool", {"/var/log/journal/0123/system.journal": "x"}),
    ("logs-spool", {"/var/log/syslog": "x"}),
    ("logs-spool", {"/var/log/apt/history.log.1.gz": "x"}),
    ("logs-spool", {"/var/log/wtmp": "x"}),
    ("crash-data", {"/var/lib/systemd/coredump/core.x": SECRET}),
    ("crash-data", {"/var/log/dump/vmcore": SECRET}),
    ("pkg-cache", {"/var/cache/apt/archives/x_1_amd64.deb": "x"}),
    ("pkg-cache", {"/var/lib/apt/lists/deb.example_dists_x_Release": "x"}),
    ("rpm-db", {"/var/lib/rpm/__db.001": "x"}),
    ("tmp-files", {"/tmp/x": SECRET}),
    ("tmp-files", {"/root/.cache/pip/x": "x"}),
    ("service-data", {"/var/spool/anacron/cron.daily": "20260101"}),
    ("pending-fs-ops", {"/forcefsck": ""}),
    ("pending-fs-ops", {"/system-update": "-> var/lib/system-update"}),
    ("backup-files", {"/etc/app.conf.bak": SECRET}),
    ("backup-files", {"/root/.app.conf.bak": SECRET}),
    ("backup-files", {"/var/lib/app/notes~": SECRET}),
]  # fmt: skip


@pytest.mark.parametrize(("step", "changes"), CASES)
def test_a_step_alone_finds_its_leftover_and_takes_it_away(
    guests: Any, step: str, changes: dict[str, str]
) -> None:
    files = guests.files(changes)
    identity = identity_of(files)
    assert {left.id for left in identity.leftovers} == {step}
    assert SECRET not in json.dumps(identity.to_json())
    overlay = Overlay(files)
    task = do(next(one for one in STEPS if one.id == step), overlay)
    assert task.edits
    assert identity_of(overlay).leftovers == ()


@pytest.mark.parametrize(("step", "changes"), [case for case in CASES if case[0] not in JUDGED_ELSEWHERE])
def test_the_check_of_the_same_name_says_so_and_its_fix_mends_it(
    guests: Any, step: str, changes: dict[str, str]
) -> None:
    facts = guests.facts(changes)
    bad = {check.id for check in CHECKS if judge(check, facts).status in (Status.FAIL, Status.WARNING)}
    assert bad == {step}
    check = next(check for check in CHECKS if check.id == step)
    assert check.identity
    severity = next(one for one in STEPS if one.id == step).severity
    wanted = Status.FAIL if severity is Severity.IDENTITY else Status.WARNING
    assert check.run(facts).status is wanted
    assert check.fix is not None
    overlay = Overlay(facts.guest)
    overlay.apply(check.fix(facts))
    assert identity_of(overlay).leftovers == ()


def test_every_step_has_a_case_and_a_name_of_its_own() -> None:
    ids = [step.id for step in STEPS]
    assert len(set(ids)) == len(ids)
    assert {step for step, _ in CASES} == {step.id for step in STEPS if step.default is not Default.NEVER}
    assert all(step.why and step.source and step.title for step in STEPS)


def test_the_checks_pass_on_a_clean_guest_and_are_no_question_for_an_empty_disk(guests: Any) -> None:
    facts = guests.facts({})
    assert {judge(check, facts).status for check in CHECKS} == {Status.PASS}


@pytest.mark.parametrize(
    "changes",
    [
        {"/var/lib/dbus/machine-id": "-> /etc/machine-id"},
        {"/etc/sudoers.d/README": "# no rights\n", "/etc/sudoers.d/ops": "%ops ALL=(ALL) NOPASSWD:ALL\n"},
        {"/etc/ssl/private/ssl-cert-snakeoil.key": KEY},
        {"/etc/iscsi/initiatorname.iscsi": "GenerateName=yes\n"},
        {"/etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf"},
        {"/etc/resolv.conf": "nameserver 10.0.0.1\n"},
        {"/etc/cloud/cloud.cfg.d/20-x.cfg": "users: [default]\n"},
        {"/etc/cloud/cloud.cfg.d/20-x.cfg": "users:\n  - default\n"},
        {"/var/log/README": "no log", "/var/log/syslog": "", "/tmp/": "", "/var/log/journal/": ""},
        {"/etc/multipath/wwids": "# none\n"},
        {"/var/cache/apt/archives/lock": "", "/var/lib/apt/lists/partial/": ""},
        {"/etc/sysconfig/network/dhcp": 'DHCLIENT_HOSTNAME_OPTION="AUTO"\n'},
        {"/etc/.resolv.conf.systemd-resolved.bak": "x", "/var/lib/dpkg/info/x.bak": "x"},
        {"/tmp/.X11-unix/": "", "/var/tmp/cloud-init/": ""},
        {"/etc/dhcp/dhclient.conf": 'send host-name = gethostname();\nsend host-name "<hostname>";\n'},
        {"/etc/cloud/clean.d/99-installer": INSTALLER_SCRIPT},
        {"/etc/cloud/cloud.cfg.d/05.cfg": "def_log_file: /var/log/cloud-init.log\ndatasource:\n  Azure:\n"},
        {"/var/lib/dhcpcd/": "", "/var/lib/wicked/": "", "/var/lib/cloud/handlers/": ""},
        {"/etc/shadow": "root:*LOCK*:14600::::::\nbackup:!*:1::::::\nbin:!!:1::::::\n"},
    ],
)  # fmt: skip
def test_what_a_package_ships_is_no_leftover(guests: Any, changes: dict[str, str]) -> None:
    assert identity_of(guests.files(changes)).leftovers == ()


def test_host_keys_are_removed_with_nothing_more_when_cloud_init_makes_them(guests: Any) -> None:
    files = guests.files({"/etc/ssh/ssh_host_rsa_key": KEY})
    assert _edits(files, "ssh-host-keys") == (Remove("/etc/ssh/ssh_host_rsa_key"),)


def test_host_keys_are_made_by_a_drop_in_where_nothing_else_makes_them(guests: Any) -> None:
    files = guests.files(
        {
            "/etc/ssh/ssh_host_rsa_key": KEY,
            "/etc/ssh/ssh_host_rsa_key.pub": "x",
            "/etc/cloud/cloud-init.disabled": "",
            "/usr/bin/ssh-keygen": "ELF",
            "/usr/lib/systemd/system/ssh.service": "[Service]\nExecStartPre=/usr/sbin/sshd -t\nExecStart=x\n",
        }
    )
    overlay = Overlay(files)
    edits = do(next(step for step in STEPS if step.id == "ssh-host-keys"), overlay).edits
    path = "/etc/systemd/system/ssh.service.d/10-host-keys.conf"
    assert [edit for edit in edits if isinstance(edit, Write)] == [
        Write(
            path,
            b"[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\n"
            b"ExecStartPre=/usr/sbin/sshd -t\n",
        )
    ]
    from vmstamp.guest.sshd import find_key_maker

    assert find_key_maker(overlay) == path


def test_an_iscsi_name_is_made_anew_where_debian_does_so(guests: Any) -> None:
    name = "/etc/iscsi/initiatorname.iscsi"
    files = guests.files(
        {name: "InitiatorName=iqn.x\n", "/usr/lib/open-iscsi/startup-checks.sh": "#!/bin/sh\n"}
    )
    assert _edits(files, "storage-host-ids") == (Write(name, b"GenerateName=yes\n", 0o600),)


def test_the_machine_id_may_be_left_uninitialized(guests: Any) -> None:
    files = guests.files({"/etc/machine-id": ID})
    choice = Choice(machine_id="uninitialized")
    step = next(step for step in STEPS if step.id == "machine-id")
    assert do(step, Overlay(files), choice).edits == (Write("/etc/machine-id", b"uninitialized\n", 0o444),)


def test_an_initramfs_is_built_anew_without_its_keys(guests: Any) -> None:
    files = guests.files({"/etc/dropbear/initramfs/dropbear_ed25519_host_key": SECRET})
    assert _edits(files, "initramfs-secrets") == (
        Remove("/etc/dropbear/initramfs/dropbear_ed25519_host_key"),
        Run(("update-initramfs", "-u", "-k", "all")),
    )


def test_root_keeps_the_ages_of_its_password(guests: Any) -> None:
    files = guests.files({"/etc/shadow": f"bin:*:1::::::\nroot:$y${SECRET}:19000:0:99999:7:::\n"})
    edits = _edits(files, "root-locked")
    assert edits == (Write("/etc/shadow", b"bin:*:1::::::\nroot:!*:19000:0:99999:7:::\n"),)


def test_a_home_outside_of_home_and_a_linked_one_are_looked_at(guests: Any) -> None:
    files = guests.files(
        {
            "/etc/passwd": f"{ROOT}a:x:1000:1000::/data/a:/bin/sh\nb:x:1001:1001::/home/b:/bin/sh\n",
            "/data/a/.bash_history": "x",
            "/home/b": "-> /data/elsewhere/b",
            "/data/elsewhere/b/.zsh_history": "x",
        }
    )
    found = [left.where for left in identity_of(files).leftovers if left.id == "shell-history"]
    assert found == ["/data/a/.bash_history", "/home/b/.zsh_history"]


def test_many_places_are_bounded(guests: Any) -> None:
    files = guests.files({f"/var/lib/apt/lists/mirror_{n}": "x" for n in range(10_100)})
    found = list(next(step for step in STEPS if step.id == "pkg-cache").find(Guest(files)))
    assert len(found) == 10_000


def _edits(files: Any, step: str) -> tuple[Any, ...]:
    return do(next(one for one in STEPS if one.id == step), Overlay(files)).edits


def test_one_step_alone_can_be_asked_for(guests: Any) -> None:
    facts = guests.facts({"/etc/machine-id": ID, "/etc/hostname": "web1\n"})
    planned = plan(facts.survey, Choice(only=frozenset({"hostname"})))
    assert [task.step.id for task in planned.tasks] == ["hostname"]
    assert [left.id for left in planned.left.leftovers] == ["machine-id"]


def test_the_document_has_every_step_with_its_words() -> None:
    text = (Path(__file__).parents[3] / "docs" / "generalize.md").read_text()
    for step in (*STEPS, *WINDOWS_STEPS):
        assert f"| `{step.id}` |" in text
        assert step.title in text and step.why in text


def test_what_the_installers_own_script_removes_goes_and_nothing_outside_of_cloud_init(guests: Any) -> None:
    files = guests.files(
        {
            "/etc/cloud/clean.d/99-installer": INSTALLER_SCRIPT,
            "/etc/cloud/cloud-init.disabled": "x",
            "/etc/cloud/ds-identify.cfg": "policy: enabled\n",
            "/etc/cloud/cloud.cfg.d/99-installer.cfg": INSTALLER_DATA,
        }
    )
    overlay = Overlay(files)
    for step in STEPS:
        if step.default is Default.ON:
            do(step, overlay)
    for path in ("cloud-init.disabled", "ds-identify.cfg", "cloud.cfg.d/99-installer.cfg"):
        assert not overlay.exists(f"/etc/cloud/{path}"), path
    assert overlay.exists("/etc/passwd")
    assert identity_of(overlay).leftovers == ()


def test_suse_sends_the_current_name_again_and_dhclient_none(guests: Any) -> None:
    suse, dhclient = "/etc/sysconfig/network/dhcp", "/etc/dhcp/dhclient.conf"
    files = guests.files(
        {
            suse: "# x\nDHCLIENT_HOSTNAME_OPTION='web1'\nDHCLIENT_SLEEP=0\n",
            dhclient: 'timeout 60;\nsend host-name "web1";\nsend host-name = gethostname();\n',
        }
    )
    assert _edits(files, "hostname") == (
        Write(suse, b'# x\nDHCLIENT_HOSTNAME_OPTION="AUTO"\nDHCLIENT_SLEEP=0\n'),
        Write(dhclient, b"timeout 60;\nsend host-name = gethostname();\n"),
    )


@pytest.mark.parametrize(
    ("path", "text", "made"),
    [
        (CLOUD_CFG, "system_info:\n  default_user:\n    lock: true\n    name: bob\n", {"bob"}),
        (CLOUD_CFG, "system_info:\n  default_user:\n    # a\n    name: 'b'\n  x:\n    name: y\n", {"b"}),
        (MERGED, "users:\n- default\n- name: eve\n  sudo: null\n", {"eve", "default"}),
        (MERGED, "users:\n  - eve\nx:\n  - name: no\n", {"eve"}),
        (MERGED, "groups:\n  - name: no\n", set()),
    ],
)  # fmt: skip
def test_the_users_that_provisioning_made_are_told_by_its_data(
    guests: Any, path: str, text: str, made: set[str]
) -> None:
    assert agent_made(Guest(guests.files({path: text}))) - {"vagrant", "packer"} == made
