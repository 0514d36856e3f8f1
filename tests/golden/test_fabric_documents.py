"""The fabric's documents against literal files, compared in canonical XML without blanks between elements."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from xml.etree.ElementTree import canonicalize

import pytest

from vmstamp.fabric import goal_state
from vmstamp.fabric.goal_state import GoalState
from vmstamp.fabric.imds_document import instance_document
from vmstamp.fabric.instance import DiskFacts, ImageReference, Instance, Nic, PublicKey
from vmstamp.fabric.ovf_env import build_ovf_env

LITERALS = Path(__file__).parent / "fabric"
HOME = "/home/azureuser/.ssh/authorized_keys"
INSTANCE = Instance(
    vm_id="5c08b38e-4d57-4c23-ac45-aca61037f084",
    name="web<1>",
    resource_group="demo",
    subscription_id="8d10da13-8125-4ba9-a717-bf7490507b3d",
    resource_id="/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/demo"
    "/providers/Microsoft.Compute/virtualMachines/web1",
    location="local",
    vm_size="Standard_B2s",
    computer_name="web1-host",
    admin_username="azureuser",
    admin_password="a<b>&\"c'",
    disable_password_authentication=False,
    public_keys=(
        PublicKey(HOME, "ssh-rsa AAAAB3Nza a@b"),
        PublicKey(HOME, "ssh-ed25519 AAAAC3Nza c&d"),
    ),
    custom_data="I2Nsb3VkLWNvbmZpZwo=",
    user_data="dXNlciBkYXRh",
    nics=(
        Nic(
            "00-0D-3A-01-02-03",
            IPv4Address("10.0.1.4"),
            IPv4Network("10.0.1.0/24"),
            IPv4Address("127.64.0.5"),
        ),
        Nic("000d3a010204", IPv4Address("10.0.2.4"), IPv4Network("10.0.2.0/23")),
    ),
    os_disk=DiskFacts(
        "web1_OsDisk",
        (4 << 30) + 1,
        caching="ReadWrite",
        managed_disk_id="/subscriptions/s/disks/os",
        storage_account_type="Standard_LRS",
    ),
    data_disks=(
        DiskFacts("web1_data", 1 << 30, lun=3, create_option="Empty", vhd_uri="http://127.0.0.1/data.vhd"),
    ),
    image_reference=ImageReference("Debian", "debian-12", "12-gen2", "12.2026.1"),
    tags={"team": "images", "stage": "test"},
)
GOAL = GoalState(7, datetime(2026, 11, 24, 12, 30, 15, 250000, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("versions", goal_state.versions()),
        ("goal-state", goal_state.goal_state(INSTANCE, GOAL)),
        ("hosting-environment-config", goal_state.hosting_environment_config(INSTANCE, GOAL)),
        ("shared-config", goal_state.shared_config(INSTANCE, GOAL)),
        ("extensions-config", goal_state.extensions_config(INSTANCE, GOAL)),
        ("agent-manifest", goal_state.agent_manifest()),
        ("certificates", goal_state.certificates("QUJD\n", GOAL)),
        ("error", goal_state.error("InvalidInput", "a <b> & c")),
        ("ovf-env", build_ovf_env(INSTANCE).decode()),
    ],
)
def test_document_is_as_written_down(name: str, document: str) -> None:
    literal = (LITERALS / f"{name}.xml").read_text()
    assert canonicalize(document, strip_text=True) == canonicalize(literal, strip_text=True)


def test_instance_document_is_as_written_down() -> None:
    literal = json.loads((LITERALS / "imds-instance.json").read_text())
    assert instance_document(INSTANCE, extended=True) == literal


def test_extended_part_is_served_only_when_asked_for() -> None:
    assert instance_document(INSTANCE, extended=False).keys() == {"compute", "network"}
