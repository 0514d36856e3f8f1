"""No secret of a guest is in any output: what is told of it are places."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.guest.windows_guests import WindowsGuests
from vmstamp.cli.doctor_fix import plan as plan_fix
from vmstamp.cli.doctor_reports import junit_report, sarif_report
from vmstamp.cli.doctor_text import diagnosis_lines, planned_lines
from vmstamp.cli.generalize_disk import Generalized, plan_lines, verdict_lines
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.doctor import diagnose_facts, plan_mends
from vmstamp.guest.facts import Facts, Target
from vmstamp.guest.generalize import plan
from vmstamp.guest.identity import STEPS
from vmstamp.guest.identity.step import Choice, Default

MARK = "zq7SECRETzq7"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{MARK}\n-----END OPENSSH PRIVATE KEY-----\n"
OVF = f"<Environment><UserName>bob</UserName><UserPassword>{MARK}</UserPassword><CustomData>{MARK}"
UNATTEND = f"<unattend><UserAccounts><AdministratorPassword><Value>{MARK}</Value></AdministratorPassword>"
USER_DATA = f"#cloud-config\npassword: {MARK}\nchpasswd: {{list: ['bob:{MARK}']}}\n"
PROXY = f"http://bob:{MARK}@proxy.example:3128"
URL = f"https://bob:{MARK}@repo.example/x"

PLACES: dict[str, str | bytes] = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/bash\n"
    f"eve:{MARK}:1001:1001::/home/eve:/bin/bash\n",
    "/etc/shadow": f"root:{MARK}:1:0:99999:7:::\nbob:$6$salt${MARK}:1:0:99999:7:::\neve::1::::::\n",
    "/etc/shadow-": f"root:{MARK}:1:0:99999:7:::\n",
    "/etc/gshadow": f"bob:{MARK}::\n",
    "/etc/ssh/ssh_host_rsa_key": KEY,
    "/root/.ssh/id_rsa": KEY,
    "/root/.ssh/authorized_keys": f"ssh-rsa {MARK} root\n",
    "/root/.bash_history": f"mysql -p{MARK}\n",
    "/home/bob/.ssh/authorized_keys": f"ssh-rsa {MARK} bob\n",
    "/home/bob/.netrc": f"machine h login bob password {MARK}\n",
    "/home/bob/.aws/credentials": f"aws_secret_access_key = {MARK}\n",
    "/home/bob/.azure/accessTokens.json": f'[{{"accessToken": "{MARK}"}}]',
    "/home/bob/.docker/config.json": f'{{"auths": {{"h": {{"auth": "{MARK}"}}}}}}',
    "/var/lib/waagent/ovf-env.xml": OVF,
    "/var/lib/waagent/ABCDEF.prv": KEY,
    "/var/lib/waagent/CustomData": MARK,
    "/var/lib/cloud/instance/user-data.txt": USER_DATA,
    "/var/lib/cloud/instances/i/user-data.txt": USER_DATA,
    "/var/lib/cloud/seed/nocloud/user-data": USER_DATA,
    "/var/log/cloud-init.log": f"password {MARK}\n",
    "/etc/cloud/cloud.cfg.d/99-installer.cfg": f"users: [{{name: bob, passwd: {MARK}}}]\n"
    f"ssh_pwauth: {MARK}\nntp: {MARK}\napt: {{proxy: '{PROXY}'}}\nnetwork: {{version: '{MARK}'}}\n",
    "/etc/cloud/cloud.cfg.d/98.cfg": f"datasource_list: [ {MARK}",
    "/etc/NetworkManager/system-connections/wifi.nmconnection": "[connection]\nid=w\ntype=wifi\n"
    f"[wifi-security]\npsk={MARK}\n",
    "/etc/wpa_supplicant/wpa_supplicant.conf": f'network={{psk="{MARK}"}}\n',
    "/etc/netplan/60-wifi.yaml": f"network: {{wifis: {{w: {{access-points: {{h: {{password: {MARK}}}}}}}}}}}",
    "/etc/netplan/61-bad.yaml": f"network: {{auth: {{password: {MARK}",
    "/etc/waagent.conf": f"Provisioning.Agent=cloud-init\nHttpProxy.Host={PROXY}\nHttpProxy.Port=1\n",
    "/etc/environment": f"http_proxy={PROXY}\nhttps_proxy={PROXY}\n",
    "/etc/apt/apt.conf.d/proxy": f'Acquire::http::Proxy "{PROXY}";\n',
    "/etc/apt/auth.conf": f"machine h login bob password {MARK}\n",
    "/etc/apt/sources.list": f"deb [trusted=yes] {URL} bookworm main\n",
    "/etc/yum.repos.d/x.repo": f"[x]\nbaseurl={URL}\npassword={MARK}\nproxy={PROXY}\n",
    "/etc/yum.conf": f"[main]\nproxy={PROXY}\nproxy_password={MARK}\n",
    "/etc/fstab": f"//h/s /m cifs username=bob,password={MARK} 0 0\n/dev/sda9 /d cifs password={MARK} 0 0\n",
    "/etc/samba/credentials": f"password={MARK}\n",
    "/etc/krb5.keytab": f"\x05\x02{MARK}",
    "/etc/salt/pki/minion/minion.pem": KEY,
    "/etc/puppetlabs/puppet/ssl/private_keys/h.pem": KEY,
    "/etc/iscsi/initiatorname.iscsi": f"InitiatorName=iqn.1993-08.org.debian:01:{MARK}\n",
    "/etc/iscsi/iscsid.conf": f"node.session.auth.password = {MARK}\n",
    "/etc/default/grub": f'GRUB_CMDLINE_LINUX="proxy={PROXY} inst.rootpw={MARK}"\n',
    "/boot/grub/grub.cfg": f"password_pbkdf2 root {MARK}\nmenuentry 'D' {{\n linux /boot/v root=/dev/sda1 "
    f"x.password={MARK}\n}}\n",
    "/etc/ppp/chap-secrets": f"bob * {MARK} *\n",
    "/etc/rhsm/rhsm.conf": f"proxy_password = {MARK}\n",
    "/etc/pki/consumer/key.pem": KEY,
    "/etc/luks-keys/root": MARK,
    "/etc/crypttab": f"a UUID=x /etc/luks-keys/root key={MARK}\n",
    "/root/anaconda-ks.cfg": f"rootpw --plaintext {MARK}\n",
    "/var/log/installer/autoinstall-user-data": f"password: {MARK}\n",
    "/var/lib/systemd/random-seed": MARK,
    "/var/lib/snapd/device/private-keys-v1/x": KEY,
    "/etc/machine-id": f"{MARK}\n",
    "/etc/cron.d/job": f"* * * * * bob curl -u bob:{MARK} h\n",
}


def outputs(facts: Facts) -> Iterator[tuple[str, str]]:
    """Every way in which doctor tells what it found and would do, each with a name."""
    found = diagnose_facts(facts)
    yield "text", "\n".join(diagnosis_lines("d", found, everything=True, width=120))
    yield "json", json.dumps(found.to_json())
    yield "junit", junit_report("d", found)
    yield "sarif", json.dumps(sarif_report("d", found))
    fixed = plan_fix(found, named=True)
    yield "plan", "\n".join(planned_lines(fixed.plan, found, fixed.expected, 120))
    yield "plan json", json.dumps(fixed.to_json())
    yield "records", f"{found!r}"
    yield "mends", json.dumps([mend.to_json() for mend in plan_mends(facts, CHECKS).mends])


@pytest.mark.parametrize("mode", [None, "generalized"])
def test_doctor_tells_no_secret(guests: Any, mode: Any) -> None:
    facts = replace(guests.facts(PLACES), target=Target(mode=mode))
    leaks = {name: around(text) for name, text in outputs(facts) if MARK in text}
    assert leaks == {}


def test_generalize_tells_no_secret(guests: Any) -> None:
    off = frozenset(step.id for step in STEPS if step.default is Default.OFF)
    for choice in (Choice(), Choice(also=off, all_users=True), Choice(only=frozenset({"machine-id"}))):
        planned = plan(guests.facts(PLACES).survey, choice)
        done = Generalized(Path("d"), planned, None, planned.left)
        lines = [*plan_lines(planned), *verdict_lines(Path("d"), planned.left, planned=True)]
        for text in ("\n".join(lines), json.dumps(done.to_json(), default=str)):
            assert MARK not in text, around(text)


def test_of_a_windows_no_secret_is_told(windows: WindowsGuests) -> None:
    paths = ("/Windows/Panther/unattend.xml", "/unattend.xml", "/Windows/System32/Sysprep/unattend.xml")
    files = dict.fromkeys((*paths, "/Windows/Panther/Unattend/unattend.xml"), UNATTEND)
    facts = windows.facts({**files, "/AzureData/CustomData.bin": MARK})
    assert {name: around(text) for name, text in outputs(facts) if MARK in text} == {}


def around(text: str) -> str:
    return text[max(0, text.index(MARK) - 150) :][:300]
