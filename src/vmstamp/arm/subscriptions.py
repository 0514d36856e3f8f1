"""Subscriptions, their tenants and their aliases: a subscription is made by giving it an alias.

The stamp's own subscription is there from the first start. Tokens are a tenant's: those of another one are
refused. A cancelled subscription is disabled: it can be read, not written, until it is enabled again; one
without groups is gone at once. REST: Subscriptions, 2022-12-01; Subscription Alias and Subscription
Operations, 2021-10-01.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import Final

from vmstamp.arm import faults
from vmstamp.arm.catalog import Catalog
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, clean
from vmstamp.arm.shape import tags as read_tags
from vmstamp.arm.types import Reply, Request, ResourceType
from vmstamp.errors import AzureError, Detail
from vmstamp.resource_id import ResourceId

NAME: Final = "Microsoft.Resources/subscriptions"
PROVIDER: Final = "Microsoft.Subscription"
ALIAS: Final = f"{PROVIDER}/aliases"
ALIAS_NAME = re.compile(r"[\w\-.()]{1,63}")
TYPE: Final = ResourceType(NAME, ("2019-06-01", "2021-01-01", "2022-12-01"), listed=False)

ALIAS_SHAPE: Final = {
    "properties": {
        "displayName": str,
        "workload": OneOf("Production", "DevTest"),
        "billingScope": KEEP,
        "subscriptionId": str,
        "additionalProperties": {"subscriptionTenantId": str, "subscriptionOwnerId": KEEP, "tags": KEEP},
    },
    "id": READ_ONLY,
    "name": READ_ONLY,
    "type": READ_ONLY,
}


def show(subscription: Resource) -> Json:
    """A subscription as clients see it."""
    document = subscription.document
    shown: Json = {
        "id": str(subscription.id),
        "subscriptionId": subscription.id.subscription,
        "tenantId": document["tenantId"],
        "displayName": document["displayName"],
        "state": document["state"],
        "subscriptionPolicies": {
            "locationPlacementId": "Internal_2014-09-01",
            "quotaId": "Internal_2014-09-01",
            "spendingLimit": "Off",
        },
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
    }
    return {**shown, "tags": document["tags"]} if document.get("tags") else shown


class Subscriptions:
    """The subscriptions of one stamp. `first` is its own, of the tenant `tenant`."""

    def __init__(self, catalog: Catalog, first: str, tenant: str, name: str) -> None:
        self._catalog = catalog
        self._first = ResourceId(first)
        document = {"displayName": name, "tenantId": tenant, "state": "Enabled"}
        with catalog.db.write():
            if catalog.find(self._first) is None:
                catalog.save(catalog.new(self._first, "", document, {}))

    def all(self) -> list[Resource]:
        """Every subscription, the stamp's own first, the rest in the order of their making."""
        found = self._catalog.select(type=NAME)
        return sorted(found, key=lambda one: (one.id.key != self._first.key, one.created))

    def tenants(self) -> list[str]:
        return list(dict.fromkeys(one.document["tenantId"] for one in self.all()))

    def get(self, given: str, tenant: str = "") -> Resource:
        """The subscription. Raises 404, and 401 when `tenant`, that of the token, is another one's."""
        found = self._catalog.find(ResourceId(given))
        if found is None:
            raise AzureError(404, "SubscriptionNotFound", f"The subscription '{given}' could not be found.")
        owner = str(found.document["tenantId"])
        if tenant and tenant.lower() != owner.lower():
            raise _wrong_tenant(tenant, owner)
        return found

    def list_page(self, request: Request) -> Reply:
        """Those that the token's tenant has."""
        found = [s for s in self.all() if request.tenant.lower() in ("", s.document["tenantId"].lower())]
        count = {"type": "Total", "value": len(found)}
        return Reply(200, {"value": [show(one) for one in found], "count": count})

    def list_tenants(self) -> Reply:
        value = [
            {"id": f"/tenants/{one}", "tenantId": one, "tenantCategory": "Home"} for one in self.tenants()
        ]
        return Reply(200, {"value": value})

    def check_writable(self, subscription: Resource) -> None:
        """Raises 409 while the subscription is disabled."""
        if subscription.document["state"] != "Enabled":
            raise AzureError(
                409,
                "ReadOnlyDisabledSubscription",
                f"The subscription '{subscription.id.subscription}' is disabled and therefore marked as read "
                "only. You cannot perform any write actions on this subscription until it is re-enabled.",
            )

    # -- providers

    @staticmethod
    def is_registered(subscription: Resource, namespace: str) -> bool:
        """Whether a subscription may write resources of a provider: unless it was unregistered."""
        return namespace.lower() not in subscription.state.get("unregistered", [])

    def check_registered(self, subscription: Resource, namespace: str) -> None:
        """Raises 409 when the subscription was unregistered from a provider."""
        if self.is_registered(subscription, namespace):
            return
        message = (
            "The subscription registration is in 'Unregistered' state. The subscription must be registered "
            f"to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to register "
            "subscriptions."
        )
        code = "MissingSubscriptionRegistration"
        raise AzureError(409, code, message, details=(Detail(code, message, namespace),))

    def set_registered(self, subscription: Resource, namespace: str, registered: bool) -> Resource:
        """Register or unregister a subscription, in the caller's transaction."""
        left = {*subscription.state.get("unregistered", [])} - {namespace.lower()}
        gone = left if registered else left | {namespace.lower()}
        return self._catalog.save(subscription.with_state(unregistered=sorted(gone)))

    # -- aliases

    def handle_alias(self, request: Request, words: tuple[str, ...]) -> Reply:
        """A request at `/providers/Microsoft.Subscription/aliases`; `words` are what follows."""
        match request.method, words:
            case "GET", ():
                aliases = ((s, alias) for s in self.all() for alias in s.state.get("aliases", []))
                return Reply(200, {"value": [_show_alias(*one) for one in aliases]})
            case "GET", (name,):
                return Reply(200, _show_alias(self._get_alias(name), name))
            case "PUT", (name,):
                return self._put_alias(request, name)
            case "DELETE", (name,):
                return self._delete_alias(name)
        raise faults.unsupported(f"The request {request.method} '{request.path}'")

    def _find_alias(self, name: str) -> Resource | None:
        wanted = name.lower()
        return next((s for s in self.all() if wanted in map(str.lower, s.state.get("aliases", []))), None)

    def _get_alias(self, name: str) -> Resource:
        found = self._find_alias(name)
        if found is None:
            raise AzureError(404, "NotFound", f"The alias '{name}' could not be found.")
        return found

    def _put_alias(self, request: Request, name: str) -> Reply:
        if not ALIAS_NAME.fullmatch(name):
            raise faults.invalid_parameter(f"The alias name '{name}' is not valid.", "aliasName")
        given: Json = clean(request.body, ALIAS_SHAPE).get("properties", {})
        with self._catalog.db.write():
            if existing := self._find_alias(name):
                return Reply(200, _show_alias(existing, name))
            subscription = self._for_alias(given, name)
            aliases = [*subscription.state.get("aliases", []), name]
            saved = self._catalog.save(subscription.with_state(aliases=aliases))
        return Reply(201, _show_alias(saved, name))

    def _for_alias(self, given: Json, name: str) -> Resource:
        """The subscription that an alias is to name: one that is there, or a new one."""
        if known := given.get("subscriptionId"):
            return self.get(known)
        more = given.get("additionalProperties", {})
        tenant = more.get("subscriptionTenantId") or self.get(self._first.subscription).document["tenantId"]
        document = {
            "displayName": given.get("displayName", name),
            "tenantId": _guid(tenant, "subscriptionTenantId"),
            "state": "Enabled",
            "tags": read_tags(more),
        }
        return self._catalog.new(ResourceId(str(uuid.uuid4())), "", document, {})

    def _delete_alias(self, name: str) -> Reply:
        """The name goes, the subscription stays."""
        with self._catalog.db.write():
            found = self._find_alias(name)
            if found is None:
                return Reply(204)
            left = [one for one in found.state["aliases"] if one.lower() != name.lower()]
            self._catalog.save(found.with_state(aliases=left))
        return Reply(200)

    # -- operations on one

    def act(self, request: Request, subscription: Resource, action: str) -> Reply:
        """POST cancel, enable or rename below `providers/Microsoft.Subscription`."""
        with self._catalog.db.write():
            fresh = self.get(subscription.id.subscription)
            match action.lower():
                case "cancel":
                    self._cancel(fresh, ignore=request.query.get("ignoreresourcecheck", "").lower() == "true")
                case "enable":
                    self._change(fresh, state="Enabled")
                case "rename":
                    self._change(fresh, displayName=_new_name(request))
                case _:
                    raise faults.unsupported(f"The action '{action}' on '{PROVIDER}'")
        return Reply(200, {"subscriptionId": subscription.id.subscription})

    def _change(self, subscription: Resource, **members: str) -> None:
        self._catalog.save(replace(subscription, document={**subscription.document, **members}))

    def _cancel(self, subscription: Resource, *, ignore: bool) -> None:
        if subscription.id.key == self._first.key:
            raise faults.unsupported("Cancelling the stamp's own subscription")
        within = self._catalog.select(scope=str(subscription.id))
        groups = [one for one in within if one.id.group]
        if groups and not ignore:
            raise AzureError(
                400,
                "SubscriptionCancelNotAllowed",
                f"The subscription '{subscription.id.subscription}' cannot be cancelled because it has "
                "resource groups. Delete them, or set IgnoreResourceCheck=true.",
            )
        if groups:
            self._change(subscription, state="Disabled")
            return
        for one in (*within, subscription):
            self._catalog.delete(one.id)


def _show_alias(subscription: Resource, name: str) -> Json:
    properties = {
        "subscriptionId": subscription.id.subscription,
        "displayName": subscription.document["displayName"],
        "provisioningState": "Succeeded",
        "acceptOwnershipState": "Completed",
        "createdTime": subscription.created,
        "tags": subscription.document.get("tags", {}),
    }
    return {"id": f"/providers/{ALIAS}/{name}", "name": name, "type": ALIAS, "properties": properties}


def _new_name(request: Request) -> str:
    name = request.json.get("subscriptionName")
    if not isinstance(name, str) or not name.strip():
        raise faults.missing_parameter("subscriptionName")
    return name


def _guid(text: str, name: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise faults.invalid_parameter(f"The value '{text}' of '{name}' is no GUID.", name) from None


def _wrong_tenant(given: str, owner: str) -> AzureError:
    return AzureError(
        401,
        "InvalidAuthenticationTokenTenant",
        f"The access token is from the wrong issuer 'https://sts.windows.net/{given}/'. It must match the "
        f"tenant 'https://sts.windows.net/{owner}/' associated with this subscription. Please use the "
        f"authority (URL) 'https://login.windows.net/{owner}' to get the token. Note, if the subscription is "
        "transferred to another tenant there is no impact to the services, but information about new tenant "
        "could take time to propagate (up to an hour). If you just transferred your subscription and see "
        "this error message, please try back later.",
    )
