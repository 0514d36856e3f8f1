"""Extensions in goal states, and the certificates that seal their settings."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from tests.client.fabric_doors import FIRST, WAAGENT, Doors, Reply, fetch_tenant, make_transport
from vmstamp.fabric.extensions import (
    CUSTOM_SCRIPT,
    MANAGED_COMMAND,
    RUN_COMMAND,
    find_status,
    processed_goal_state,
)
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import Instance
from vmstamp.run import run
from vmstamp.timeline import Timeline

# Certificates


@pytest.mark.parametrize("cipher", ["AES128_CBC", "DES_EDE3_CBC"])
def test_tenant_key_comes_encrypted_to_the_transport_certificate(
    cipher: str, doors: Doors, timeline: Timeline, vm: Instance, tmp_path: Path
) -> None:
    assert "BEGIN PRIVATE KEY" in fetch_tenant(doors, vm, cipher, tmp_path)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "the header x-ms-guest-agent-public-x509-cert is missing"),
        ({"x-ms-guest-agent-public-x509-cert": "AAAA"}, "the transport certificate is not one in base64"),
        ({"x-ms-guest-agent-public-x509-cert": "%%"}, "the transport certificate is not one in base64"),
        (
            {"x-ms-guest-agent-public-x509-cert": "AAAA", "x-ms-cipher-name": "RC4"},
            "cipher 'RC4' is not one of AES128_CBC, DES_EDE3_CBC",
        ),
    ],
)
def test_bad_certificate_request_is_refused(
    headers: dict[str, str], message: str, doors: Doors, timeline: Timeline, vm: Instance
) -> None:
    path = f"/machine/{vm.container_id}/{vm.role_instance_id}?comp=certificates&incarnation=1"
    reply = doors.ask(doors.wireserver, path, {**WAAGENT, **headers})
    assert reply.status == 400
    assert reply.find("Message").startswith(message)


def test_transport_certificate_without_an_rsa_key_is_refused(
    doors: Doors, timeline: Timeline, vm: Instance, tmp_path: Path
) -> None:
    headers = {**WAAGENT, "x-ms-guest-agent-public-x509-cert": make_transport(tmp_path, "ec")}
    path = f"/machine/{vm.container_id}/{vm.role_instance_id}?comp=certificates&incarnation=1"
    reply = doors.ask(doors.wireserver, path, headers)
    assert (reply.status, reply.find("Message")) == (400, "the transport certificate has no RSA key")


# Extensions


def extensions_of(doors: Doors) -> Reply:
    url = doors.goal_state().find("Container/RoleInstanceList/RoleInstance/Configuration/ExtensionsConfig")
    return doors.ask(doors.wireserver, url.removeprefix("http://168.63.129.16:80"), WAAGENT)


def test_plugins_are_in_the_next_goal_state(fabric: Fabric, doors: Doors, timeline: Timeline) -> None:
    assert fabric.extend(FIRST, CUSTOM_SCRIPT, 7, {"commandToExecute": "echo '<&>'"}) == 2
    assert fabric.extend(FIRST, RUN_COMMAND, 0, {"script": ""}) == 3
    assert doors.goal_state().find("Incarnation") == "3"
    config = fromstring(extensions_of(doors).body)
    assert [plugin.get("name") for plugin in config.findall("Plugins/Plugin")] == [
        "Microsoft.Azure.Extensions.CustomScript",
        "Microsoft.CPlat.Core.RunCommandLinux",
    ]
    settings = config.find("PluginSettings/Plugin/RuntimeSettings")
    assert settings is not None and settings.get("seqNo") == "7"
    [given] = json.loads(settings.text or "")["runtimeSettings"]
    assert given == {"handlerSettings": {"publicSettings": {"commandToExecute": "echo '<&>'"}}}
    assert fabric.withdraw(FIRST, CUSTOM_SCRIPT, 8) == 4
    fabric.drop(FIRST, RUN_COMMAND)
    [plugin] = fromstring(extensions_of(doors).body).findall("Plugins/Plugin")
    assert (plugin.get("name"), plugin.get("state")) == (CUSTOM_SCRIPT.name, "uninstall")


def test_extensions_of_one_handler_have_settings_of_their_own(
    fabric: Fabric, doors: Doors, timeline: Timeline
) -> None:
    for number, name in enumerate(("one", "two", "one")):
        fabric.extend(FIRST, MANAGED_COMMAND, number, {"number": number}, name=name)
    fabric.withdraw(FIRST, MANAGED_COMMAND, 3, "two")
    config = fromstring(extensions_of(doors).body)
    [plugin] = config.findall("Plugins/Plugin")
    assert (plugin.get("name"), plugin.get("state")) == (MANAGED_COMMAND.name, "enabled")
    given = config.findall("PluginSettings/Plugin/ExtensionRuntimeSettings")
    told = [(one.get("name"), one.get("seqNo"), one.get("state")) for one in given]
    assert told == [("one", "2", "enabled"), ("two", "3", "disabled")]
    assert config.findall("PluginSettings/Plugin/RuntimeSettings") == []
    fabric.drop(FIRST, MANAGED_COMMAND, "two")
    given = fromstring(extensions_of(doors).body).findall("PluginSettings/Plugin/ExtensionRuntimeSettings")
    assert [one.get("name") for one in given] == ["one"]


def test_protected_settings_are_for_the_tenant_certificate_alone(
    fabric: Fabric, doors: Doors, timeline: Timeline, tmp_path: Path
) -> None:
    fabric.extend(FIRST, CUSTOM_SCRIPT, 0, {}, {"commandToExecute": "a-secret-word"})
    body = extensions_of(doors)
    assert "a-secret-word" not in body.text
    given = json.loads(body.find("PluginSettings/Plugin/RuntimeSettings"))["runtimeSettings"][0]
    sealed = given["handlerSettings"]["protectedSettings"]
    printed = run(
        ["openssl", "cms", "-cmsout", "-print", "-inform", "DER"], input=base64.b64decode(sealed)
    ).stdout
    assert b"aes-128-cbc" in printed
    assert len(given["handlerSettings"]["protectedSettingsCertThumbprint"]) == 40


def test_a_handlers_manifest_names_its_package(doors: Doors, timeline: Timeline) -> None:
    base = "/vmstamp/extensions/microsoft.azure.extensions.customscript"
    manifest = doors.ask(doors.wireserver, f"{base}/manifest.xml", WAAGENT)
    assert manifest.find("Plugins/Plugin/Version") == CUSTOM_SCRIPT.version
    url = manifest.find("Plugins/Plugin/Uris/Uri").removeprefix("http://168.63.129.16:80")
    package = doors.ask(doors.wireserver, url, WAAGENT)
    assert (package.status, package.type, package.body[:2]) == (200, "application/zip", b"PK")
    assert doors.ask(doors.wireserver, f"{base}/9.9.zip", WAAGENT).status == 404
    unknown = doors.ask(doors.wireserver, "/vmstamp/extensions/Some.Other/manifest.xml", WAAGENT)
    assert unknown.status == 404


def test_what_an_agent_tells_of_a_handler_is_read() -> None:
    status = {"status": {"status": "success", "formattedMessage": {"lang": "en", "message": "done"}}}
    told = {
        "handlerName": "Microsoft.Azure.Extensions.CustomScript",
        "handlerVersion": "2.1.10",
        "status": "Ready",
        "code": 0,
        "runtimeSettingsStatus": {"settingsStatus": status, "sequenceNumber": "4"},
    }
    goal = {"goalStateAggregateStatus": {"inSvdSeqNo": "12"}}
    document = {
        "aggregateStatus": {"handlerAggregateStatus": ["?", told], "vmArtifactsAggregateStatus": goal}
    }
    found = find_status(document, CUSTOM_SCRIPT)
    assert found is not None
    assert (found.sequence, found.status, found.report, found.ended) == (4, "success", "done", True)
    assert processed_goal_state(document) == 12
    assert find_status(document, RUN_COMMAND) is None
    empty: dict[str, Any] = {}
    listed: dict[str, Any] = {"aggregateStatus": {"handlerAggregateStatus": {}}}
    wrong: dict[str, Any] = {"aggregateStatus": []}
    for broken in (None, empty, wrong, listed):
        assert find_status(broken, CUSTOM_SCRIPT) is None and processed_goal_state(broken) is None


def test_what_an_agent_tells_of_one_of_several_extensions_is_read() -> None:
    handler = {"handlerName": MANAGED_COMMAND.name, "status": "Ready", "code": 0}
    told = [
        {
            **handler,
            "runtimeSettingsStatus": {
                "settingsStatus": {"status": {"status": "success", "formattedMessage": {"message": name}}},
                "sequenceNumber": number,
                "extensionName": name,
            },
        }
        for number, name in enumerate(("one", "two"))
    ]
    document = {"aggregateStatus": {"handlerAggregateStatus": told}}
    found = find_status(document, MANAGED_COMMAND, "two")
    assert found is not None and (found.sequence, found.report, found.extension) == (1, "two", "two")
    assert find_status(document, MANAGED_COMMAND, "three") is None
    failed = {**handler, "status": "NotReady", "code": 1002, "message": "no package"}
    alone = find_status({"aggregateStatus": {"handlerAggregateStatus": [failed]}}, MANAGED_COMMAND, "three")
    assert alone is not None and (alone.sequence, alone.message) == (None, "no package")
