"""Rules of a virtual machine's osProfile: its user, password, keys and name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import put
from tests.client.arm.parity.row import Row
from tests.client.arm.parity.rows_vm_create import INVALID, made, vm_body

TITLE: Final = "Virtual machines: osProfile"
WEAK: Final = (
    "The supplied password must be between 6-72 characters long and must satisfy at least 3 of password "
    "complexity requirements from the following: 1) Contains an uppercase character 2) Contains a lowercase "
    "character 3) Contains a numeric digit 4) Contains a special character 5) Control characters are not "
    "allowed"
)


def _with_profile(arm: Any, **changes: Any) -> dict[str, Any]:
    body = vm_body(arm)
    body["properties"]["osProfile"] |= changes
    return body


def _changed_profile(arm: Any) -> requests.Response:
    body = vm_body(arm)
    made(arm, body)
    body["properties"]["osProfile"]["customData"] = "bmV3"
    return put(arm, body)


def _changed(name: str, value: str) -> Callable[[Any], requests.Response]:
    """A later PUT with another member of osProfile."""

    def send(arm: Any) -> requests.Response:
        body = vm_body(arm)
        made(arm, body)
        body["properties"]["osProfile"][name] = value
        return put(arm, body)

    return send


def _password(text: str) -> Callable[[Any], requests.Response]:
    return lambda arm: put(arm, _with_profile(arm, adminPassword=text, linuxConfiguration=None))


def _wrong_key_path(arm: Any) -> requests.Response:
    body = vm_body(arm)
    body["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["path"] = "/root/key"
    return put(arm, body)


def _wrong_user(arm: Any) -> requests.Response:
    return put(arm, _with_profile(arm, adminUsername="root"))


def _wrong_host_name(arm: Any) -> requests.Response:
    return put(arm, _with_profile(arm, computerName="bad_name"))


def _custom_data_of_no_base64(arm: Any) -> requests.Response:
    return put(arm, _with_profile(arm, customData="%%%"))


ROWS: Final = (
    Row(
        "a later change of customData",
        "DI",
        _changed_profile,
        409,
        "PropertyChangeNotAllowed",
        "Changing property 'osProfile.customData' is not allowed.",
        "osProfile.customData",
    ),
    *(
        Row(
            f"a later change of {name}",
            "DI",
            _changed(name, value),
            409,
            "PropertyChangeNotAllowed",
            f"Changing property 'osProfile.{name}' is not allowed.",
            f"osProfile.{name}",
        )
        for name, value in (
            ("adminUsername", "another"),
            ("computerName", "another"),
            ("adminPassword", "Another-Password-1"),
        )
    ),
    *(
        Row(f"a password {what}", "I", _password(text), 400, INVALID, WEAK, "adminPassword")
        for what, text in (
            ("that is too short", "aB-1x"),
            ("that is too long", f"aB-1{'x' * 69}"),
            ("of two kinds of characters", "lower-case-alone"),
            ("with a control character", "Good-Password-1\x07"),
        )
    ),
    Row("a password of 72 characters", "I", _password(f"aB-1{'x' * 68}"), 201),
    Row(
        "an SSH key at another path",
        "I",
        _wrong_key_path,
        400,
        INVALID,
        "Destination path for SSH public keys is currently limited to its default value "
        "/home/azureuser/.ssh/authorized_keys ... due to a known issue in Linux provisioning agent.",
        "linuxConfiguration.ssh.publicKeys.path",
    ),
    Row(
        "a user name of Azure's list",
        "D",
        _wrong_user,
        400,
        INVALID,
        "The Admin Username specified is not allowed.",
        "adminUsername",
    ),
    Row(
        "a computer name with an underscore",
        "D",
        _wrong_host_name,
        400,
        INVALID,
        "Linux host name cannot exceed 64 characters in length or contain the following characters: ...",
        "computerName",
    ),
    Row(
        "custom data that is not Base64",
        "D",
        _custom_data_of_no_base64,
        400,
        INVALID,
        "Custom data in OSProfile must be in Base64 encoding...",
        "customData",
    ),
)
