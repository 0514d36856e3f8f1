"""Healthy guests of each family in memory: path to content, as conftest's `memory_files` takes it."""

from __future__ import annotations

LINK = "-> "
WANTS = "/etc/systemd/system/multi-user.target.wants"
UNITS = "/usr/lib/systemd/system"

Tree = dict[str, str | bytes]


def enabled(unit: str, text: str = "", target: str = "multi-user") -> Tree:
    """A unit of a package, wanted by a target."""
    return {
        f"{UNITS}/{unit}": text,
        f"/etc/systemd/system/{target}.target.wants/{unit}": f"{LINK}{UNITS}/{unit}",
    }


def programs(*names: str) -> Tree:
    return {f"/usr/bin/{name}": "ELF" for name in names}


CHRONY = "refclock PHC /dev/ptp_hyperv poll 3 dpoll -2 offset 0 stratum 2\nmakestep 1.0 -1\n"

# What every family has: the programs that agents call, sudo, time, a server that drops idle connections.
COMMON: Tree = {
    **programs("openssl", "ssh-keygen", "useradd", "usermod", "chpasswd", "mount", "sfdisk", "eject", "ip"),
    **programs("iptables", "sudo", "parted", "bash", "hv_kvp_daemon"),
    "/usr/lib/systemd/systemd": "ELF",
    "/etc/sudoers": "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    "/usr/bin/python3": f"{LINK}python3.11",
    "/usr/bin/python3.11": "ELF",
    "/usr/lib/x86_64-linux-gnu/libssl.so.3": "ELF",
    "/usr/sbin/dhclient": "ELF",
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
    "/etc/ssh/sshd_config.d/50-azure.conf": "ClientAliveInterval 180\n",
    **enabled("chrony.service"),
    "/etc/chrony/chrony.conf": CHRONY,
}

NETWORKD: Tree = {
    **enabled("systemd-networkd.service"),
    "/etc/systemd/network/80-dhcp.network": "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n",
}

KVP: Tree = {
    "/etc/cloud/cloud.cfg.d/10-azure-kvp.cfg": "reporting:\n  logging:\n    type: log\n"
    "  telemetry:\n    type: hyperv\n"
}
CLOUD_INIT: Tree = {
    "/usr/lib/systemd/system/cloud-init-local.service": "",
    f"{UNITS}/cloud-init.target": "",
    "/etc/systemd/system/cloud-init.target.wants/cloud-init-local.service": f"{LINK}{UNITS}/"
    "cloud-init-local.service",
    "/usr/lib/systemd/system-generators/cloud-init-generator": "",
    "/usr/lib/python3/dist-packages/cloudinit/version.py": '__VERSION__ = "24.1"\n',
    "/etc/cloud/cloud.cfg": "users:\n - default\nssh_genkeytypes: [rsa, ed25519]\n",
    "/etc/cloud/cloud.cfg.d/91-azure_datasource.cfg": "datasource_list: [ Azure ]\n",
    **KVP,
}
WAAGENT: Tree = {
    "/usr/sbin/waagent": "#!/usr/bin/python3\n",
    "/etc/waagent.conf": "Provisioning.Agent=auto\nExtensions.Enabled=y\n",
    **enabled("walinuxagent.service"),
    "/usr/lib/python3/dist-packages/azurelinuxagent/common/version.py": "AGENT_VERSION = '2.9.1.1'\n",
}
SSH: Tree = {
    "/usr/sbin/sshd": "ELF",
    **enabled("ssh.service", "[Service]\nExecStartPre=/usr/sbin/sshd -t\nExecStart=/usr/sbin/sshd -D\n"),
}


def os_release(identifier: str, version: str) -> Tree:
    return {
        "/etc/os-release": f'ID={identifier}\nVERSION_ID="{version}"\nPRETTY_NAME="{identifier} {version}"\n'
    }


APT: Tree = {"/etc/apt/sources.list": "deb https://mirror.example/debian bookworm main\n"}

DEBIAN: Tree = {
    **os_release("debian", "12"),
    **COMMON, **CLOUD_INIT, **WAAGENT, **SSH, **APT,
    "/usr/sbin/ifup": "ELF",
    **enabled("networking.service"),
    "/etc/network/interfaces": "source-directory interfaces.d\nauto lo\niface lo inet loopback\n",
    "/etc/network/interfaces.d/cloud": "allow-hotplug eth0\niface eth0 inet dhcp\n",
}  # fmt: skip

UBUNTU: Tree = {
    **os_release("ubuntu", "24.04"),
    **COMMON, **CLOUD_INIT, **WAAGENT, **SSH,
    "/etc/apt/sources.list.d/ubuntu.sources": "Types: deb\nURIs: http://azure.archive.ubuntu.com/ubuntu/\n"
    "Suites: noble\nComponents: main\n",
    "/usr/lib/systemd/system-generators/netplan": "ELF",
    "/etc/netplan/50-cloud-init.yaml": "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n"
    "      match:\n        macaddress: 00:0d:3a:00:00:01\n      set-name: eth0\n",
    "/etc/resolv.conf": f"{LINK}../run/systemd/resolve/stub-resolv.conf",
    **enabled("systemd-resolved.service", target="sysinit"),
}  # fmt: skip

RED_HAT: Tree = {
    **os_release("rhel", "9.4"),
    **COMMON, **CLOUD_INIT, **WAAGENT,
    "/usr/sbin/sshd": "ELF",
    **enabled("sshd.service", "[Service]\nExecStart=/usr/sbin/sshd -D\n"),
    f"{UNITS}/sshd-keygen@.service": "[Service]\nExecStart=/usr/libexec/openssh/sshd-keygen %i\n",
    "/usr/sbin/NetworkManager": "ELF",
    **enabled("NetworkManager.service"),
    "/etc/udev/rules.d/68-azure-sriov-nm-unmanaged.rules": 'SUBSYSTEM=="net", ENV{NM_UNMANAGED}="1"\n',
}  # fmt: skip

SUSE: Tree = {
    **os_release("sles", "15.6"),
    **COMMON, **CLOUD_INIT, **WAAGENT,
    "/usr/sbin/sshd": "ELF",
    **enabled("sshd.service", "[Service]\nExecStartPre=/usr/sbin/sshd-gen-keys-start\n"),
    **enabled("wicked.service"),
    "/etc/sysconfig/network/ifcfg-eth0": "STARTMODE='auto'\nBOOTPROTO='dhcp'\n",
    "/etc/sysconfig/network/dhcp": 'DHCLIENT_SET_HOSTNAME="no"\n',
    "/etc/cloud/cloud.cfg": "cloud_init_modules:\n - disk_setup\n - mounts\n - ssh\n"
    "ssh_genkeytypes: [rsa]\n",
}  # fmt: skip

DEBIAN_WAAGENT: Tree = {
    **os_release("debian", "12"),
    **COMMON, **WAAGENT, **NETWORKD, **SSH, **APT,
    "/etc/waagent.conf": "Provisioning.Agent=waagent\n",
    "/etc/systemd/system/ssh.service.d/50-host-keys.conf": "[Service]\nExecStartPre=\n"
    "ExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n",
}  # fmt: skip

FAMILIES: dict[str, Tree] = {
    "debian": DEBIAN, "ubuntu": UBUNTU, "rhel": RED_HAT, "suse": SUSE, "waagent": DEBIAN_WAAGENT,
}  # fmt: skip


def signed_loader(machine: int = 0x8664, signature: bytes = b"Microsoft Corporation UEFI CA 2011") -> bytes:
    """A PE file with nothing in it but a certificate table."""
    optional = bytearray(240)
    optional[:2] = b"\x0b\x02"
    optional[112 + 32 : 112 + 40] = (512).to_bytes(4, "little") + len(signature).to_bytes(4, "little")
    header = b"PE\0\0" + machine.to_bytes(2, "little") + bytes(14) + len(optional).to_bytes(2, "little")
    return (b"MZ".ljust(0x3C, b"\0") + b"\x40\0\0\0" + header + bytes(2) + optional).ljust(
        512, b"\0"
    ) + signature
