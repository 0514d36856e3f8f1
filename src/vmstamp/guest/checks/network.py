"""Checks of network configuration that binds a guest to the machine it was built on."""

from __future__ import annotations

from vmstamp.guest.checks import sources
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned

UDEV_DIRECTORIES = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
PERSISTENT_NET_RULES = (
    "70-persistent-net.rules",
    "75-persistent-net-generator.rules",
    "85-persistent-net-cloud-init.rules",
)


def _persistent_net(facts: Facts) -> Verdict:
    for directory in UDEV_DIRECTORIES:
        for name in PERSISTENT_NET_RULES:
            path = f"{directory}/{name}"
            if facts.guest.readlink(path) != "/dev/null" and facts.guest.is_file(path):
                verdict = warned if facts.provisioner == "cloud-init" else failed
                return verdict("network interfaces are named by the MAC addresses of another machine", path)
    return passed("no rule names interfaces by MAC address")


CHECKS = (
    Check(
        "udev-persistent-net",
        "no udev rules bind interface names to MAC addresses",
        Severity.PROVISION,
        "the new VM's interface becomes eth1, which nothing configures",
        sources.RED_HAT,
        has_guest,
        _persistent_net,
        "delete the rules, and link the generator to /dev/null",
    ),
)
