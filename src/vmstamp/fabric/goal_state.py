"""The WireServer's documents: versions, goal state, and the configurations that it points at. Pure.

Protocol version 2012-11-30, as WALinuxAgent (`common/protocol/goal_state.py`) and cloud-init
(`sources/helpers/azure.py`) read it. Mandatory for WALinuxAgent: ContainerId, InstanceId, ConfigName,
HostingEnvironmentConfig and SharedConfig.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from vmstamp.fabric.extensions import Handler, Plugin, handler_manifest, plugins_element
from vmstamp.fabric.instance import Instance, bare_mac

PROTOCOL_VERSION = "2012-11-30"
SUPPORTED_VERSIONS = ("2015-04-05", "2012-11-30")
ENDPOINT = "http://168.63.129.16:80"
MANIFEST_PATH = "/vmstamp/agent-manifest.xml"
STATUS_PATH = "/vmstamp/status"
EXTENSIONS_PATH = "/vmstamp/extensions"
# Older than every agent in use: an agent never replaces itself by it.
OFFERED_AGENT_VERSION = "1.0.0.0"
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'


@dataclass(frozen=True)
class GoalState:
    """What makes one goal state differ from another: its number, from 1, when it was made (UTC), plugins."""

    incarnation: int
    created: datetime
    plugins: tuple[Plugin, ...] = ()

    @property
    def created_ticks(self) -> int:
        """In .NET's ticks: 100 ns since the year 1."""
        return (self.created - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10


def versions() -> str:
    """GET /?comp=versions."""
    supported = "".join(f"<Version>{version}</Version>" for version in SUPPORTED_VERSIONS)
    return (
        f"{DECLARATION}<Versions><Preferred><Version>{PROTOCOL_VERSION}</Version></Preferred>"
        f"<Supported>{supported}</Supported></Versions>"
    )


def goal_state(instance: Instance, goal: GoalState) -> str:
    """GET /machine/?comp=goalstate."""
    configuration = f"{ENDPOINT}/machine/{instance.container_id}/{quote(instance.role_instance_id, safe='')}"
    config = f"{configuration}?comp=config&type="
    tail = f"&incarnation={goal.incarnation}"
    return (
        f"{DECLARATION}<GoalState>"
        f"<Version>{PROTOCOL_VERSION}</Version><Incarnation>{goal.incarnation}</Incarnation>"
        "<Machine><ExpectedState>Started</ExpectedState>"
        "<StopRolesDeadlineHint>300000</StopRolesDeadlineHint>"
        "<LBProbePorts><Port>16001</Port></LBProbePorts>"
        "<ExpectHealthReport>FALSE</ExpectHealthReport></Machine>"
        f"<Container><ContainerId>{instance.container_id}</ContainerId><RoleInstanceList><RoleInstance>"
        f"<InstanceId>{escape(instance.role_instance_id)}</InstanceId><State>Started</State><Configuration>"
        + _element("HostingEnvironmentConfig", f"{config}hostingEnvironmentConfig{tail}")
        + _element("SharedConfig", f"{config}sharedConfig{tail}")
        + _element("ExtensionsConfig", f"{config}extensionsConfig{tail}")
        + _element("Certificates", f"{configuration}?comp=certificates{tail}")
        + _element("ConfigName", instance.config_name)
        + "</Configuration></RoleInstance></RoleInstanceList></Container></GoalState>"
    )


def hosting_environment_config(instance: Instance, goal: GoalState) -> str:
    """GET ?comp=config&type=hostingEnvironmentConfig."""
    role = quoteattr(instance.role_name)
    return (
        f'{DECLARATION}<HostingEnvironmentConfig version="1.0.0.0" goalStateIncarnation="{goal.incarnation}">'
        '<StoredCertificates /><Deployment name="' + instance.deployment_id + '" guid="{'
        f'{instance.container_id}}}" incarnation="0" isNonCancellableTopologyChangeEnabled="false">'
        f'<Service name={quoteattr(instance.name)} guid="{{{instance.vm_id}}}" />'
        f'<ServiceInstance name="{instance.deployment_id}" guid="{{{instance.vm_id}}}" /></Deployment>'
        f'<Incarnation number="1" instance={quoteattr(instance.computer_name)} guid="{{{instance.vm_id}}}" />'
        f'<Role guid="{{{instance.vm_id}}}" name={role} settleTimeSeconds="0" />'
        '<HostingEnvironmentSettings name="full" Runtime="rd_fabric_stable">'
        '<CAS mode="full" /><PrivilegeLevel mode="max" /></HostingEnvironmentSettings>'
        "<ResourceReferences /></HostingEnvironmentConfig>"
    )


def shared_config(instance: Instance, goal: GoalState) -> str:
    """GET ?comp=config&type=sharedConfig; the agent keeps it as SharedConfig.xml."""
    role_instance = quoteattr(instance.role_instance_id)
    nic = instance.nics[0] if instance.nics else None
    address = quoteattr(str(nic.private_address) if nic else "")
    return (
        f'{DECLARATION}<SharedConfig version="1.0.0.0" goalStateIncarnation="{goal.incarnation}">'
        f'<Deployment name="{instance.deployment_id}" guid="{{{instance.container_id}}}" incarnation="0">'
        f'<Service name={quoteattr(instance.name)} guid="{{{instance.vm_id}}}" />'
        f'<ServiceInstance name="{instance.deployment_id}" guid="{{{instance.vm_id}}}" /></Deployment>'
        f'<Incarnation number="1" instance={quoteattr(instance.computer_name)} guid="{{{instance.vm_id}}}" />'
        f'<Role guid="{{{instance.vm_id}}}" name={quoteattr(instance.role_name)} settleTimeSeconds="0" />'
        f'<LoadBalancerSettings timeoutSeconds="0" waitLoadBalancerProbeCount="8" />'
        f"<Instances><Instance id={role_instance} address={address} primaryMacAddress="
        f"{quoteattr(bare_mac(nic.mac) if nic else '')}>"
        '<FaultDomains randomId="0" updateId="0" updateCount="0" /></Instance></Instances></SharedConfig>'
    )


def extensions_config(instance: Instance, goal: GoalState) -> str:
    """GET ?comp=config&type=extensionsConfig: the extensions, and where the agent's status goes.

    The status URL has a query because the agent's redaction of it needs one.
    """
    manifest = f"{ENDPOINT}{MANIFEST_PATH}"
    family = f"<GAFamily><Name>Prod</Name><Uris><Uri>{manifest}</Uri></Uris></GAFamily>"
    status = f"{ENDPOINT}{STATUS_PATH}/{instance.vm_id}?sig=local"
    activity = uuid.uuid5(uuid.UUID(instance.vm_id), f"goal state {goal.incarnation}")
    return (
        f'{DECLARATION}<Extensions version="1.0.0.0" goalStateIncarnation="{goal.incarnation}">'
        f"<GuestAgentExtension><GAFamilies>{family}</GAFamilies></GuestAgentExtension>"
        f"{plugins_element(goal.plugins, f'{ENDPOINT}{EXTENSIONS_PATH}')}"
        f'<StatusUploadBlob statusBlobType="BlockBlob">{escape(status)}</StatusUploadBlob>'
        f'<InVMGoalStateMetaData inSvdSeqNo="{goal.incarnation}" '
        f'createdOnTicks="{goal.created_ticks}" activityId="{activity}" correlationId="{activity}" />'
        "</Extensions>"
    )


def agent_manifest() -> str:
    """The Prod family's manifest of agent versions."""
    return (
        f"{DECLARATION}<PluginVersionManifest><Plugins><Plugin><Version>{OFFERED_AGENT_VERSION}</Version>"
        f"<Uris><Uri>{ENDPOINT}/vmstamp/agent-{OFFERED_AGENT_VERSION}.zip</Uri></Uris></Plugin></Plugins>"
        "<InternalPlugins /></PluginVersionManifest>"
    )


def extension_manifest(handler: Handler) -> str:
    """The manifest of an extension handler's versions."""
    return handler_manifest(handler, f"{ENDPOINT}{EXTENSIONS_PATH}")


def certificates(blob: str, goal: GoalState) -> str:
    """GET ?comp=certificates; `blob` is base64 of a CMS EnvelopedData (DER)."""
    return (
        f"{DECLARATION}<CertificateFile><Version>{PROTOCOL_VERSION}</Version><Incarnation>{goal.incarnation}</Incarnation>"
        f"<Format>Pkcs7BlobWithPfxContents</Format><Data>{blob}</Data></CertificateFile>"
    )


def error(code: str, message: str) -> str:
    """The body of a refusal."""
    printable = "".join(character if character.isprintable() else "?" for character in message)
    return (
        f"{DECLARATION}<Error><Code>{code}</Code><Message>{escape(printable)}</Message>"
        "<Details></Details></Error>"
    )


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"
