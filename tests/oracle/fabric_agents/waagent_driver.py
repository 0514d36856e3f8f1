"""Drives the real WALinuxAgent's own protocol code against our fabric. Run by the system's Python."""

# mypy: ignore-errors
import inspect
from pathlib import Path

import azurelinuxagent.common.conf as conf
from azurelinuxagent.common.protocol.healthservice import HealthService
from azurelinuxagent.common.protocol.imds import ImdsClient
from azurelinuxagent.common.protocol.ovfenv import OvfEnv
from azurelinuxagent.common.protocol.restapi import ProvisionStatus, VMStatus
from azurelinuxagent.common.protocol.wire import WireProtocol
from azurelinuxagent.common.telemetryevent import TelemetryEvent, TelemetryEventParam
from azurelinuxagent.common.version import AGENT_VERSION
from guest_side import answer, read_job

WIRESERVER = "168.63.129.16"

job = read_job()
directory = Path(job["directory"])
settings = directory / "waagent.conf"
settings.write_text(f"Lib.Dir={directory}\nOS.OpensslPath=openssl\n")
conf.load_conf_from_file(str(settings))


def read_ovf():
    env = OvfEnv(job["ovf"])
    return {
        "hostname": env.hostname,
        "username": env.username,
        "password": env.user_password,
        "custom_data": env.customdata,
        "disable_password": env.disable_ssh_password_auth,
        "keys": env.ssh_pubkeys,
        "agent": env.provision_guest_agent,
    }


def read_extension(extension):
    """A handler and its settings: name, sequence number, state, public settings."""
    settings = [[s.name, s.sequenceNumber, s.state, s.publicSettings] for s in extension.settings]
    several = getattr(extension, "supports_multi_config", False)
    return [extension.name, extension.version, extension.state, several, settings]


def read_goal_state(protocol):
    goal_state = protocol.client.get_goal_state()
    if hasattr(goal_state, "extensions_goal_state"):  # since 2.8
        extensions = goal_state.extensions_goal_state
        families = extensions.agent_families
        offered = goal_state.fetch_agent_manifest(families[0].name, families[0].uris).pkg_list.versions
        names = [family.name for family in families]
    else:
        extensions = protocol.get_extensions_goal_state()
        families, _ = protocol.get_vmagent_manifests()
        offered = protocol.get_vmagent_pkgs(families[0]).versions
        names = [family.family for family in families]
    return {
        "incarnation": goal_state.incarnation,
        "container": goal_state.container_id,
        "role_instance": goal_state.role_instance_id,
        "config_name": goal_state.role_config_name,
        "vm": protocol.get_vminfo().vmName,
        "role": protocol.get_vminfo().roleName,
        "thumbprints": [certificate.thumbprint for certificate in protocol.get_certs().certificates],
        "families": names,
        "offered": [package.version for package in offered],
        "status_blob": extensions.status_upload_blob,
        "status_type": extensions.status_upload_blob_type,
        "created": extensions.created_on_timestamp,
        "extensions": [read_extension(extension) for extension in extensions.extensions],
    }


def send_event(protocol):
    event = TelemetryEvent(1, "69B669B9-4AF8-4C50-BDC4-6006FA76E975")
    event.parameters.append(TelemetryEventParam("Name", "WALinuxAgent"))
    event.file_type = ""
    body = '<Event id="1"><![CDATA[<Param Name="Name" Value="x" mt:type="mt:wstr" />]]></Event>'
    protocol.client.send_encoded_event(event.providerId, body.encode())


protocol = WireProtocol(WIRESERVER)
protocol.detect()
found = {"version": AGENT_VERSION, "ovf": read_ovf(), "goal_state": read_goal_state(protocol)}
found["key_pairs"] = sorted(file.name for file in directory.iterdir() if file.suffix in (".crt", ".prv"))

plugin = protocol.client.get_host_plugin()
found["plugin"] = plugin.ensure_initialized()
found["plugin_health"] = plugin.get_health()

takes_endpoint = "wireserver_endpoint" in inspect.signature(ImdsClient).parameters  # until 2.9
imds = ImdsClient(WIRESERVER) if takes_endpoint else ImdsClient()
compute = imds.get_compute()
found["compute"] = {"name": compute.name, "vmSize": compute.vmSize, "vmId": compute.vmId}
found["imds"] = imds.validate()

protocol.report_provision_status(ProvisionStatus("NotReady", "Provisioning", "Starting"))
protocol.report_provision_status(ProvisionStatus("Ready"))
protocol.client.report_role_prop("AABB")
protocol.report_vm_status(VMStatus("Ready", "Guest Agent is running"))
protocol.upload_logs(b"PK\x05\x06" + bytes(18))
send_event(protocol)
HealthService(WIRESERVER).report_host_plugin_heartbeat(True)

direct = protocol.client.status_blob
direct.set_vm_status(VMStatus("Ready", "put straight to its URL"))
direct.prepare("BlockBlob")
found["direct_upload"] = direct.upload(found["goal_state"]["status_blob"])

if job.get("failure"):
    protocol.report_provision_status(ProvisionStatus("NotReady", "ProvisioningFailed", job["failure"]))
answer(found)
