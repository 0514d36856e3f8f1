import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from vmstamp.machine.dhcp import (
    NetworkSpec,
    Port,
    SubnetSpec,
    colon_mac,
    dnsmasq_config,
    hosts_file,
    internal_domain,
    names_file,
)

SPEC = NetworkSpec(
    "e1a1",
    "vnet",
    (
        SubnetSpec("default", IPv4Network("10.0.0.0/24")),
        SubnetSpec("back", IPv4Network("10.0.1.128/25")),
    ),
)
PORTS = [
    Port("00:0d:3a:01:02:03", IPv4Address("10.0.0.4"), "web", "azt0"),
    Port("00:0d:3a:01:02:04", IPv4Address("10.0.1.132"), "db", "azt1"),
]


@pytest.mark.parametrize("mac", ["00-0D-3A-01-02-03", "000D3A010203", "00:0d:3a:01:02:03"])
def test_a_mac_address_is_taken_in_each_spelling(mac: str) -> None:
    assert colon_mac(mac) == "00:0d:3a:01:02:03"


@pytest.mark.parametrize("mac", ["", "00-0D-3A-01-02", "00-0D-3A-01-02-0G", "00-0D-3A-01-02-03-04"])
def test_what_is_no_mac_address_is_refused(mac: str) -> None:
    with pytest.raises(ValueError, match="not a MAC address"):
        colon_mac(mac)


def test_each_subnet_has_its_router_and_routes() -> None:
    lines = dnsmasq_config(SPEC, Path("/n"), None).splitlines()
    assert "dhcp-range=set:subnet0,10.0.0.0,static,255.255.255.0,infinite" in lines
    assert "dhcp-range=set:subnet1,10.0.1.128,static,255.255.255.128,infinite" in lines
    assert "dhcp-option=tag:subnet1,option:router,10.0.1.129" in lines
    assert (
        "dhcp-option-force=tag:subnet1,121,"
        "0.0.0.0/0,10.0.1.129,168.63.129.16/32,10.0.1.129,169.254.169.254/32,10.0.1.129"
    ) in lines


def test_azures_own_option_is_the_wireserver_in_hexadecimal() -> None:
    assert "dhcp-option-force=245,a8:3f:81:10" in dnsmasq_config(SPEC, Path("/n"), None).splitlines()


def test_client_ids_are_ignored() -> None:
    assert "dhcp-ignore-clid" in dnsmasq_config(SPEC, Path("/n"), None).splitlines()


def test_foreign_names_go_to_the_upstream_or_do_not_exist() -> None:
    alone = dnsmasq_config(SPEC, Path("/n"), None).splitlines()
    joined = dnsmasq_config(SPEC, Path("/n"), IPv4Address("198.18.0.3")).splitlines()
    assert "address=/#/" in alone
    assert not [line for line in alone if line.startswith("server=")]
    assert "server=198.18.0.3" in joined
    assert "address=/#/" not in joined


def test_ports_are_written_by_mac_and_by_name() -> None:
    assert hosts_file(PORTS) == (
        "00:0d:3a:01:02:03,10.0.0.4,web,infinite\n00:0d:3a:01:02:04,10.0.1.132,db,infinite\n"
    )
    assert names_file(PORTS, "x.example") == "10.0.0.4 web.x.example web\n10.0.1.132 db.x.example db\n"


def test_each_network_has_a_domain_of_its_own() -> None:
    domain = internal_domain("6F9619FF-8B86-D011-B42D-00CF4FC964FF")
    assert re.fullmatch(r"[a-z2-7]{26}\.ax\.internal\.cloudapp\.net", domain)
    assert domain == internal_domain("6f9619ff-8b86-d011-b42d-00cf4fc964ff")
    assert domain != internal_domain("6f9619ff-8b86-d011-b42d-00cf4fc964fe")


def test_the_domain_is_the_search_domain_and_no_internal_name_is_asked_for_outside() -> None:
    lines = dnsmasq_config(SPEC, Path("/n"), IPv4Address("198.18.0.3")).splitlines()
    assert f"dhcp-option=option:domain-name,{internal_domain('e1a1')}" in lines
    assert "local=/internal.cloudapp.net/" in lines
