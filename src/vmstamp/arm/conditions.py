"""If-Match and If-None-Match of requests that change a resource."""

from __future__ import annotations

from collections.abc import Mapping

from vmstamp.arm.resource import Resource
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId


def check_conditions(
    headers: Mapping[str, str], existing: Resource | None, id: ResourceId, *, delete: bool = False
) -> None:
    """If-Match and If-None-Match. Raises 412."""
    wanted = headers.get("if-match", "")
    if (
        wanted
        and not (delete and existing is None)
        and (existing is None or (wanted != "*" and _tag(wanted) != _tag(existing.etag)))
    ):
        raise AzureError(
            412,
            "PreconditionFailed",
            f"Etag provided in if-match header {wanted} does not match etag "
            f"{existing.etag if existing else '(none)'} of resource {id}.",
        )
    unwanted = headers.get("if-none-match", "")
    if unwanted and existing and (unwanted == "*" or _tag(unwanted) == _tag(existing.etag)):
        raise AzureError(
            412,
            "PreconditionFailed",
            f"The resource {id} exists with etag {existing.etag}, which if-none-match {unwanted} excludes.",
        )


def _tag(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')
