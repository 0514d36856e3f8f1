"""Where deployments go: what `resourceGroup()`, `subscription()` and their like give.

Document: Scope functions for ARM templates.
"""

from __future__ import annotations

from collections.abc import Callable

from vmstamp.arm.engine import Engine
from vmstamp.arm.resource import Json
from vmstamp.arm.template.documents import environment, group_document
from vmstamp.arm.template.faults import ExpressionError
from vmstamp.arm.template.request import Asked
from vmstamp.arm.template.scope import Place
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


class Places:
    """The places of one stamp. `storage_suffix` is what `environment()` says of the Blob service.

    `describe_provider` is set once the control plane has its door: what `providers()` shows of one.
    """

    def __init__(self, engine: Engine, storage_suffix: str) -> None:
        self._engine = engine
        self._storage_suffix = storage_suffix
        self.describe_provider: Callable[[str], Json] = lambda name: {}

    def of(self, id: ResourceId, asked: Asked, base: str) -> Place:
        """The place of the deployment `id`. Raises AzureError: SubscriptionNotFound."""
        subscription = self._engine.subscriptions.get(id.subscription)
        tenant, name = subscription.document["tenantId"], subscription.document["displayName"]
        group = self._engine.catalog.find(ResourceId(id.subscription, id.group)) if id.group else None
        properties: Json = {
            "template": asked.template.document,
            "templateHash": asked.template.hash,
            "parameters": {},
            "mode": asked.mode,
            "provisioningState": "Accepted",
        }
        if asked.link:
            properties["templateLink"] = asked.link
        deployment: Json = {"name": id.name, "properties": properties}
        if asked.location:
            deployment["location"] = asked.location
        return Place(
            subscription={
                "id": str(subscription.id),
                "subscriptionId": subscription.id.subscription,
                "tenantId": tenant,
                "displayName": name,
            },
            tenant={
                "id": f"/tenants/{tenant}",
                "tenantId": tenant,
                "displayName": name,
                "countryCode": "",
            },
            deployer={
                "objectId": self._engine.settings.principal,
                "tenantId": tenant,
                "userPrincipalName": "",
            },
            group=group_document(id, group),
            deployment=deployment,
            environment=environment(base, tenant, self._storage_suffix),
            providers=self._provider,
        )

    def _provider(self, name: str) -> Json:
        try:
            return self.describe_provider(name)
        except AzureError as error:
            raise ExpressionError(error.message) from error
