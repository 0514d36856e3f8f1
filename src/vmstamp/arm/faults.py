"""Azure's errors that more than one resource type gives, with Azure's own codes and texts.

`unsupported` is the stamp's own: it names what this stamp does not do, so that nobody takes silence
for consent.
"""

from __future__ import annotations

from collections.abc import Iterable

from vmstamp.arm.resource import Resource
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

UNSUPPORTED = "NotSupportedByStamp"


def unsupported(what: str, *, target: str | None = None) -> AzureError:
    """400: `what` (a property with its value, an action, a type) is not something this stamp does."""
    return AzureError(400, UNSUPPORTED, f"{what} is not supported by this stamp.", target=target)


def resource_not_found(id: ResourceId) -> AzureError:
    kind = "/".join([id.provider, *(word for pair in zip(id.types, id.names, strict=True) for word in pair)])
    where = f" under resource group '{id.group}'" if id.group else ""
    return AzureError(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}'{where} was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix",
    )


def group_not_found(name: str) -> AzureError:
    return AzureError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def refuse_while_deleting(group: Resource) -> None:
    """Raises 409 for a write in, or of, a group that is being deleted."""
    if group.provisioning_state == "Deleting":
        raise AzureError(
            409,
            "ResourceGroupBeingDeleted",
            f"The resource group '{group.name}' is in deprovisioning state and cannot perform this "
            "operation.",
        )


def parent_not_found(id: ResourceId, parent: ResourceId | None = None) -> AzureError:
    """404 of a write below a resource that is not there: the one above, unless another is named."""
    return AzureError(
        404,
        "ParentResourceNotFound",
        f"Failed to perform 'write' on resource(s) of type '{'/'.join(id.types)}', because the parent "
        f"resource '{parent or id.parent}' could not be found.",
    )


def nested_parent_not_found(parent: ResourceId) -> AzureError:
    """The compute provider's answer to a request below a resource that is not there."""
    return AzureError(
        404,
        "ParentResourceNotFound",
        "Can not perform requested operation on nested resource. Parent resource "
        f"'{'/'.join(parent.names)}' not found.",
    )


def nested_resources(id: ResourceId) -> AzureError:
    """The refusal to delete a resource that has others below it."""
    return AzureError(
        409,
        "CannotDeleteResource",
        "Can not delete resource before nested resources are deleted.",
        target=str(id),
    )


def not_found(message: str = "The entity was not found in this Azure location.") -> AzureError:
    return AzureError(404, "NotFound", message)


def conflict(
    message: str = "The request failed due to conflict with a concurrent request.",
) -> AzureError:
    return AzureError(409, "Conflict", message)


def not_allowed(message: str, *, target: str | None = None) -> AzureError:
    return AzureError(409, "OperationNotAllowed", message, target=target)


def change_not_allowed(path: str) -> AzureError:
    return AzureError(
        409, "PropertyChangeNotAllowed", f"Changing property '{path}' is not allowed.", target=path
    )


def invalid_parameter(message: str, target: str | None = None) -> AzureError:
    return AzureError(400, "InvalidParameter", message, target=target)


def missing_parameter(name: str) -> AzureError:
    return invalid_parameter(f"Required parameter '{name}' is missing (null).", name)


def invalid_content(why: str) -> AzureError:
    return AzureError(
        400,
        "InvalidRequestContent",
        f"The request content was invalid and could not be deserialized: '{why}'.",
    )


def invalid_property_id(value: object, path: str) -> AzureError:
    return AzureError(
        400,
        "LinkedInvalidPropertyId",
        f"Property id '{value}' at path '{path}' is invalid. Expect fully qualified resource Id that start "
        "with '/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'.",
    )


def invalid_reference(target: str, source: str) -> AzureError:
    """The network provider's answer to a reference to something that does not exist."""
    return AzureError(
        400,
        "InvalidResourceReference",
        f"Resource {target} referenced by resource {source} was not found. Please make sure that the "
        "referenced resource exists, and that both resources are in the same region.",
    )


def other_region(name: str, kind: str, group: str, existing: str, wanted: str) -> AzureError:
    return AzureError(
        409,
        "InvalidResourceLocation",
        f"The resource '{name}' already exists in location '{existing}' in resource group '{group}'. A "
        f"resource with the same name cannot be created in location '{wanted}'. Please select a new "
        "resource name.",
    )


def no_registered_provider(
    kind: str, known: Iterable[str], version: str, group: Resource | None, locations: Iterable[str]
) -> AzureError:
    """400: the type `kind` has the api-versions `known`. `group` is the one that was asked, if any."""
    where = group.location if group else ""
    return AzureError(
        400,
        "NoRegisteredProviderFound",
        f"No registered resource provider found for location '{where}' and API version '{version}' for type "
        f"'{kind.split('/', 1)[1]}'. The supported api-versions are '{', '.join(known)}'. "
        f"The supported locations are '{', '.join(locations)}'.",
    )


def quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
