"""Microsoft.Compute/virtualMachines/extensions: handlers that the guest's own agent runs.

    state of an extension (never shown)
    protected  protectedSettings, until the agent has been told; then they are gone
    sent       whether there were any, which the agent has been told
    told       what the handler said when it last ended: status, message, when
    settled    what was applied last (settings, forceUpdateTag): a PUT of the same runs nothing again

An extension goes with its VM; its DELETE uninstalls the handler in the guest.
"""

from __future__ import annotations

from typing import Any, Final

from vmstamp.arm.compute.agent_children import AgentChildren
from vmstamp.arm.compute.guest_agent import Task, reported_failure
from vmstamp.arm.compute.naming import check_name
from vmstamp.arm.faults import (
    change_not_allowed,
    invalid_parameter,
    missing_parameter,
    unsupported,
)
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, Only, clean
from vmstamp.arm.types import Change, Put, Work
from vmstamp.errors import AzureError
from vmstamp.fabric.extensions import CUSTOM_SCRIPT, VM_ACCESS, Handler, HandlerStatus, find_handler
from vmstamp.resource_id import ResourceId

NAME: Final = "Microsoft.Compute/virtualMachines/extensions"
# Handlers that clients may ask for by name; run commands have an action of their own.
OFFERED: Final = (CUSTOM_SCRIPT, VM_ACCESS)

SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "publisher": str,
        "type": str,
        "typeHandlerVersion": str,
        "autoUpgradeMinorVersion": bool,
        "enableAutomaticUpgrade": Only(False),
        "forceUpdateTag": str,
        "settings": KEEP,
        "protectedSettings": KEEP,
        "suppressFailures": bool,
        "provisionAfterExtensions": [str],
        # What Azure fills in:
        "provisioningState": READ_ONLY,
        "instanceView": READ_ONLY,
    },
}


class Extensions(AgentChildren):
    """The type."""

    name = NAME
    what = "extension"
    not_running = "Cannot modify extensions in the VM when the VM is not running."

    def handler_of(self, child: Resource) -> Handler:
        return _handler(child)

    # -- GET

    def view(self, child: Resource, expand: str) -> Json:
        if expand and expand.lower() != "instanceview":
            raise unsupported(f"The value '{expand}' of query parameter '$expand'")
        if not expand:
            return child.document
        return child.with_properties(instanceView=extension_view(child)).document

    # -- PUT

    def parse(self, put: Put) -> Change:
        check_name(put.id.name, "vmExtensionName")
        vm = self.find_vm(put.id)
        body = clean(put.body, SHAPE)
        properties = body.get("properties", {})
        for name in ("publisher", "type", "typeHandlerVersion"):
            if not properties.get(name):
                raise missing_parameter(name)
        self.check_vm(vm)
        handler = get_handler(properties, put.location)
        self._check_alone(put, handler)
        self._check_order(put, properties.get("provisionAfterExtensions", []))
        protected = properties.pop("protectedSettings", None)
        for name, settings in (("settings", properties.get("settings")), ("protectedSettings", protected)):
            if settings is not None and not isinstance(settings, dict):
                raise unsupported(f"'{name}' that are not a JSON object", target=f"properties.{name}")
        shown = {"autoUpgradeMinorVersion": False, **properties}
        before = put.existing
        if before:
            for name in ("publisher", "type"):
                if shown[name].lower() != before.properties[name].lower():
                    raise change_not_allowed(name)
        state = {**(before.state if before else {}), "protected": protected, "sent": False}
        return Change({**body, "properties": shown}, state)

    def _check_alone(self, put: Put, handler: Handler) -> None:
        for other in self._catalog.select(type=NAME, scope=str(put.id.parent)):
            if other.id.key != put.id.key and _handler(other) == handler:
                raise AzureError(
                    400,
                    "BadRequest",
                    "Multiple VMExtensions per handler not supported for OS type 'Linux'. VMExtension "
                    f"'{put.id.name}' with handler '{handler.name}' already added or specified in input.",
                )

    def _check_order(self, put: Put, names: list[str]) -> None:
        """Raises AzureError when an extension that is to come first is not there, or waits for this one."""
        others = {one.name.lower(): one for one in self._catalog.select(type=NAME, scope=str(put.id.parent))}
        left, seen = [name.lower() for name in names], set[str]()
        for name in left:
            if name == put.id.name.lower() or name not in others:
                raise invalid_parameter(
                    f"The extension '{put.id.name}' cannot be provisioned after the extension '{name}', "
                    "which the virtual machine does not have or which waits for it.",
                    "provisionAfterExtensions",
                )
            if name not in seen:
                seen.add(name)
                later = others[name].properties.get("provisionAfterExtensions", [])
                left += [one.lower() for one in later if one.lower() in others]

    def _await_others(self, extension: Resource, task: Task, work: Work) -> None:
        """Wait until the extensions that come first are provisioned. Raises AzureError when one failed."""
        for name in extension.properties.get("provisionAfterExtensions", []):
            id = extension.id.parent.child("extensions", name)

            def ended(id: ResourceId = id) -> bool:
                other = self._catalog.find(id)
                return other is None or other.provisioning_state in ("Succeeded", "Failed")

            self._agents.wait(self.find_vm(extension.id), task, ended, work.cancelled)
            other = self._catalog.find(id)
            if other is None or other.provisioning_state == "Failed":
                reason = f"Dependent Extension {name} did not succeed. Status was error"
                raise reported_failure(task, f"Skipped: {reason}")

    def apply(self, extension: Resource, work: Work) -> Resource:
        """Have the agent run the handler, unless it ran with the same settings."""
        settled = _settled(extension)
        protected = extension.state.get("protected")
        if protected is None and extension.state.get("settled") == settled:
            return extension
        task = Task(extension.name, _handler(extension), extension.properties.get("settings", {}), protected)
        self._await_others(extension, task, work)
        forgotten = self.hand_over(extension.with_state(settled=None), work)
        told = self._agents.run(self.find_vm(extension.id), task, work.cancelled)
        kept = forgotten.with_state(told=self._record(told))
        if told.status == "error":
            self.save(kept)
            if not extension.properties.get("suppressFailures"):
                raise reported_failure(task, told.report)
        return kept.with_state(settled=settled)

    def _record(self, told: HandlerStatus) -> Json:
        return {"status": told.status, "message": told.report, "at": self._catalog.now()}


def get_handler(properties: Json, location: str) -> Handler:
    """The handler that an extension asks for. Raises AzureError that names what is not there."""
    publisher, kind, version = (properties[n] for n in ("publisher", "type", "typeHandlerVersion"))
    handler = find_handler(f"{publisher}.{kind}")
    if handler is None or handler not in OFFERED:
        offered = ", ".join(f"'{one.name}'" for one in OFFERED)
        raise AzureError(
            404,
            "ArtifactNotFound",
            f"The VM extension with publisher '{publisher}' and type '{kind}' could not be found in "
            f"location '{location}'. This stamp has {offered}.",
        )
    if not _satisfies(handler.version, str(version), bool(properties.get("autoUpgradeMinorVersion"))):
        raise AzureError(
            404,
            "ArtifactVersionNotFound",
            "No version found in the artifact repository that satisfies the requested version "
            f"'{version}' for VM extension with publisher '{publisher}' and type '{kind}'.",
        )
    return handler


def _satisfies(offered: str, asked: str, minor_upgrade: bool) -> bool:
    """Whether the version that there is does for one that is asked for: same major, at least the minor."""
    have, want = offered.split("."), asked.split(".")
    if not all(word.isdecimal() for word in want) or have[0] != want[0]:
        return False
    minor = int(want[1]) if len(want) > 1 else 0
    return int(have[1]) >= minor if minor_upgrade else int(have[1]) == minor


def _handler(extension: Resource) -> Handler:
    found = find_handler(f"{extension.properties['publisher']}.{extension.properties['type']}")
    assert found is not None, "parse let only known handlers pass"
    return found


def _settled(extension: Resource) -> Json:
    names = ("settings", "forceUpdateTag", "typeHandlerVersion")
    return {name: extension.properties.get(name) for name in names}


def extension_view(extension: Resource) -> Json:
    """The instance view of one extension."""
    handler = _handler(extension)
    return {
        "name": extension.name,
        "type": handler.name,
        "typeHandlerVersion": handler.version,
        "statuses": [_status(extension)],
    }


def _status(extension: Resource) -> Json:
    told: Any = extension.state.get("told")
    if not told:
        words = "transitioning"
        return {"code": f"ProvisioningState/{words}", "level": "Info", "displayStatus": "Transitioning"}
    failed = told["status"] == "error"
    words = "failed" if failed else "succeeded"
    return {
        "code": f"ProvisioningState/{words}/0" if failed else f"ProvisioningState/{words}",
        "level": "Error" if failed else "Info",
        "displayStatus": f"Provisioning {words}",
        "message": told["message"],
        "time": told["at"],
    }
