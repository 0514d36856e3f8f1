"""The facts of a VM: MAC addresses, names derived from ids, and what never shows in a repr."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from xml.etree.ElementTree import fromstring

import pytest

from vmstamp.fabric.instance import DiskFacts, Instance, Nic, PublicKey, bare_mac
from vmstamp.fabric.ovf_env import build_ovf_env

NIC = Nic("00-0D-3A-01-02-03", IPv4Address("10.0.0.4"), IPv4Network("10.0.0.0/24"))
INSTANCE = Instance(
    vm_id="5c08b38e-4d57-4c23-ac45-aca61037f084",
    name="vm1",
    resource_group="rg",
    subscription_id="8d10da13-8125-4ba9-a717-bf7490507b3d",
    resource_id="/subscriptions/s",
    location="local",
    vm_size="Standard_B1s",
    computer_name="vm1",
    admin_username="azureuser",
    nics=(NIC,),
    os_disk=DiskFacts("os", 1 << 30),
)
WA = "{http://schemas.microsoft.com/windowsazure}"


@pytest.mark.parametrize("mac", ["00-0d-3a-01-02-03", "00:0D:3A:01:02:03", "000d3a010203"])
def test_mac_address_is_taken_in_three_forms(mac: str) -> None:
    assert bare_mac(mac) == "000D3A010203"


@pytest.mark.parametrize(
    "mac", ["", "00-0d-3a-01-02", "00-0d:3a-01-02-03", "00-0d-3a-01-02-0g", "000d3a0102031"]
)
def test_bad_mac_address_is_refused(mac: str) -> None:
    with pytest.raises(ValueError, match="not a MAC address"):
        Nic(mac, NIC.private_address, NIC.prefix)


def test_ids_follow_from_the_vm_id_alone() -> None:
    other = replace(INSTANCE, vm_id="00000000-0000-4000-8000-000000000001")
    again = replace(INSTANCE, computer_name="other", tags={"a": "b"})
    assert again.container_id == INSTANCE.container_id != other.container_id
    assert again.role_instance_id == INSTANCE.role_instance_id != other.role_instance_id
    assert INSTANCE.container_id != INSTANCE.deployment_id
    assert INSTANCE.role_instance_id == f"{INSTANCE.deployment_id}._vm1"


def test_secrets_are_not_in_the_repr() -> None:
    secret = replace(INSTANCE, admin_password="geheim1", custom_data="Z2VoZWltMg==", user_data="Z2VoZWltMw==")
    assert "geheim" not in repr(secret)
    assert "Z2Vo" not in repr(secret)


@pytest.mark.parametrize("password", ["<>&\"'", "  blanks around  ", "ünïcödé", "]]>"])
def test_password_comes_through_ovf_env_unchanged(password: str) -> None:
    document = fromstring(build_ovf_env(replace(INSTANCE, admin_password=password)))
    assert [element.text for element in document.iter(f"{WA}UserPassword")] == [password]


def test_what_was_not_given_is_not_in_ovf_env() -> None:
    document = fromstring(build_ovf_env(INSTANCE))
    absent = [f"{WA}{name}" for name in ("UserPassword", "SSH", "CustomData")]
    assert not [element for element in document.iter() if element.tag in absent]


def test_a_character_that_xml_cannot_carry_is_refused_without_showing_the_secret() -> None:
    with pytest.raises(ValueError, match=r"UserPassword holds U\+0001, which XML cannot carry") as caught:
        build_ovf_env(replace(INSTANCE, admin_password="geheim\x01"))
    assert "geheim" not in str(caught.value)


def test_newline_at_the_end_of_a_key_is_dropped() -> None:
    key = PublicKey("/home/azureuser/.ssh/authorized_keys", "ssh-rsa AAAA a@b\n")
    document = fromstring(build_ovf_env(replace(INSTANCE, public_keys=(key,))))
    assert [element.text for element in document.iter(f"{WA}Value")] == ["ssh-rsa AAAA a@b"]


def test_blanks_inside_base64_are_dropped() -> None:
    document = fromstring(build_ovf_env(replace(INSTANCE, custom_data="I2Ns\r\nb3Vk\r\n")))
    assert [element.text for element in document.iter(f"{WA}CustomData")] == ["I2Nsb3Vk"]
