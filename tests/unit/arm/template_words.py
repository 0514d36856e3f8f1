"""Templates of tests, opened in a group `rg` of the subscription `sub`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vmstamp.arm.template.opened import Opened, Setting, open_template
from vmstamp.arm.template.scope import Place
from vmstamp.arm.template.template import parse_template
from vmstamp.resource_id import ResourceId

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
PREFIX = "/subscriptions/sub/resourceGroups/rg/providers"
PLACE = Place(
    {"id": "/subscriptions/sub", "subscriptionId": "sub"},
    {"tenantId": "ten"},
    {"objectId": "who", "tenantId": "ten", "userPrincipalName": ""},
    {"id": "/subscriptions/sub/resourceGroups/rg", "name": "rg", "location": "westeurope"},
    {"name": "deploy1"},
    {},
    lambda name: {},
)
NOW = datetime(2024, 1, 1, tzinfo=UTC)


def document(resources: Any = (), **sections: Any) -> dict[str, Any]:
    found = list(resources) if isinstance(resources, tuple) else resources
    return {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": found, **sections}


def resource(name: str, kind: str = "A.B/c", **members: Any) -> dict[str, Any]:
    return {"type": kind, "apiVersion": "2024-01-01", "name": name, **members}


def opened(template: Any, given: Mapping[str, Any] | None = None, group: str = "rg") -> Opened:
    setting = Setting(PLACE, ResourceId("sub", group), NOW)
    return open_template(parse_template(template), given or {}, setting)
