"""Microsoft.Compute/galleries and its image definitions, `galleries/images`.

A definition says what its versions are: operating system, OS state, Hyper-V generation, and the publisher,
offer and SKU under which it is the only one of its gallery. Nothing is shared with other subscriptions, for
there are none. The versions, with the bytes, are in `gallery_versions`. REST: Galleries, Gallery Images.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from vmstamp.arm.catalog import Catalog, Clock, utc_now
from vmstamp.arm.compute.naming import CAPS_STYLE, check_name
from vmstamp.arm.faults import (
    change_not_allowed,
    invalid_content,
    invalid_parameter,
    missing_parameter,
    nested_parent_not_found,
    nested_resources,
    unsupported,
)
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, clean
from vmstamp.arm.types import Change, Put, ResourceType
from vmstamp.errors import AzureError

GALLERIES: Final = "Microsoft.Compute/galleries"
DEFINITIONS: Final = "Microsoft.Compute/galleries/images"
VERSIONS: Final = "Microsoft.Compute/galleries/images/versions"
API_VERSIONS: Final = ("2019-12-01", "2021-10-01", "2022-03-03", "2023-07-03", "2024-03-03", "2026-03-03")

GALLERY_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.]{0,78}[A-Za-z0-9])?")
VERSION_NAME: Final = re.compile(r"(\d{1,10})\.(\d{1,10})\.(\d{1,10})", re.ASCII)
LARGEST_NUMBER: Final = 2**31 - 1
# What an identifier's members are made of, and how long each may be (docs: troubleshooting-shared-images).
ASSET_NAME: Final = re.compile(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]")
ASSET_LENGTHS: Final = {"publisher": 128, "offer": 64, "sku": 64}

GALLERY_SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "description": KEEP,
        "identifier": READ_ONLY,
        "provisioningState": READ_ONLY,
        "sharingProfile": {"permissions": Only("Private"), "groups": READ_ONLY},
        "sharingStatus": READ_ONLY,
        "softDeletePolicy": {"isSoftDeleteEnabled": Only(False)},
    },
}
DEFINITION_SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "allowUpdateImage": KEEP,
        "architecture": Only("x64"),
        "description": KEEP,
        "disallowed": KEEP,
        "endOfLifeDate": str,
        "eula": KEEP,
        "features": KEEP,
        "hyperVGeneration": OneOf("V1", "V2"),
        "identifier": {"publisher": str, "offer": str, "sku": str},
        "osState": OneOf("Generalized", "Specialized"),
        "osType": OneOf("Linux", "Windows"),
        "privacyStatementUri": KEEP,
        "provisioningState": READ_ONLY,
        "purchasePlan": KEEP,
        "recommended": KEEP,
        "releaseNoteUri": KEEP,
    },
}
# What of a definition its versions rest on.
FIXED: Final = ("osType", "osState", "hyperVGeneration", "architecture", "identifier")


class Galleries:
    """The two types. `now` tells whether an end of life has come."""

    def __init__(self, catalog: Catalog, now: Clock = utc_now) -> None:
        self._catalog = catalog
        self._now = now

    def types(self) -> list[ResourceType]:
        return [
            ResourceType(
                name=GALLERIES,
                api_versions=API_VERSIONS,
                style=CAPS_STYLE,
                parse=self.parse_gallery,
                apply=lambda gallery, work: gallery,
                view=_view,
                check_delete=self.check_empty,
                patch="all",
            ),
            ResourceType(
                name=DEFINITIONS,
                api_versions=API_VERSIONS,
                style=CAPS_STYLE,
                parse=self.parse_definition,
                apply=lambda definition, work: definition,
                view=_view,
                check_delete=self.check_empty,
                patch="all",
                delete_rank=4,
            ),
        ]

    def parse_gallery(self, put: Put) -> Change:
        if not GALLERY_NAME.fullmatch(put.id.name):
            raise invalid_parameter(
                "Gallery name is invalid. Allowed characters are English alphanumeric characters, with "
                "underscores, and periods allowed in the middle, up to 80 characters total. All other "
                "special characters, including dashes, are disallowed.",
                "galleryName",
            )
        body = clean(put.body, GALLERY_SHAPE)
        if put.existing is None:
            self._check_gallery_unique(put)
        given = body.get("properties", {})
        old = put.existing.document if put.existing else {}
        identifier = {"uniqueName": f"{put.id.subscription}-{put.id.name.upper()}"}
        return Change({**old, **body, "properties": {**given, "identifier": identifier}})

    def _check_gallery_unique(self, put: Put) -> None:
        others = self._catalog.select(type=GALLERIES)
        if any(other.name.lower() == put.id.name.lower() for other in others):
            raise AzureError(
                409,
                "Conflict",
                f"The gallery name {put.id.name} is not unique within the subscription "
                f"{put.id.subscription}. Please pick another gallery name.",
                target="galleryName",
            )

    def parse_definition(self, put: Put) -> Change:
        check_name(put.id.name, "galleryImageName")
        get_parent(put)
        body = clean(put.body, DEFINITION_SHAPE)
        given = body.get("properties", {})
        if put.existing:
            return self._update_definition(put.existing, body, given)
        for name in ("osType", "osState", "identifier"):
            if name not in given:
                raise missing_parameter(f"galleryImage.properties.{name}")
        self._check_identifier(put, given["identifier"])
        if "endOfLifeDate" in given:
            check_end_of_life(given["endOfLifeDate"], "galleryImage.properties.endOfLifeDate", self._now())
        fixed = {"hyperVGeneration": "V1", "architecture": "x64", **given}
        return Change({**body, "properties": fixed})

    def _update_definition(self, existing: Resource, body: Json, given: Json) -> Change:
        old = existing.properties
        for name in FIXED:
            if name in given and given[name] != old[name]:
                raise change_not_allowed(f"galleryImage.properties.{name}")
        ends = given.get("endOfLifeDate")
        if ends is not None and ends != old.get("endOfLifeDate"):
            check_end_of_life(ends, "galleryImage.properties.endOfLifeDate", self._now())
        kept = {name: old[name] for name in FIXED}
        return Change({**existing.document, **body, "properties": {**given, **kept}}, existing.state)

    def _check_identifier(self, put: Put, identifier: Json) -> None:
        for name, longest in ASSET_LENGTHS.items():
            value = identifier.get(name, "")
            if not ASSET_NAME.fullmatch(value) or len(value) > longest:
                raise invalid_parameter(
                    f"Asset name galleryImage.properties.identifier.{name} is not valid. It cannot be empty. "
                    "Allowed characters are uppercase or lowercase letters, digits, hyphen(-), period (.), "
                    "underscore (_). Names are not allowed to end with period(.). The length of the name "
                    f"cannot exceed {longest} characters.",
                    f"galleryImage.properties.identifier.{name}",
                )
        wanted = {name: identifier[name].lower() for name in ASSET_LENGTHS}
        for other in self._catalog.select(type=DEFINITIONS, scope=str(put.id.parent)):
            if {name: other.properties["identifier"][name].lower() for name in ASSET_LENGTHS} == wanted:
                raise AzureError(
                    409,
                    "Conflict",
                    f"Gallery image: {other.name} identified by (publisher:{identifier['publisher']}, "
                    f"offer:{identifier['offer']}, sku:{identifier['sku']}) already exists. Choose a "
                    "different publisher, offer, sku combination.",
                    target="galleryImage.properties.identifier",
                )

    def check_empty(self, resource: Resource) -> None:
        if self._catalog.select(scope=str(resource.id), limit=1):
            raise nested_resources(resource.id)


def get_parent(put: Put) -> Resource:
    """The resource above the one of a request. Raises ParentResourceNotFound."""
    parent = put.catalog.find(put.id.parent)
    if parent is None or parent.provisioning_state == "Deleting":
        raise nested_parent_not_found(put.id.parent)
    return parent


def check_end_of_life(text: str, path: str, now: datetime) -> None:
    """Raises AzureError when an endOfLifeDate is no date, or not one of the future."""
    if parse_date(text, path) <= now:
        raise invalid_parameter("EndOfLifeDate must be set to a future date.", path)


def parse_date(text: str, path: str) -> datetime:
    """A date of a body, in UTC when it names no zone. Raises InvalidRequestContent."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise invalid_content(f"Could not convert string to DateTimeOffset: {text}. Path '{path}'") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def version_number(name: str) -> tuple[int, int, int]:
    """Major, minor and patch of a version's name. Raises InvalidParameter."""
    match = VERSION_NAME.fullmatch(name)
    numbers = [int(digits) for digits in match.groups()] if match else []
    if not numbers or max(numbers) > LARGEST_NUMBER:
        raise invalid_parameter(
            "The image version name is invalid. The image version name should follow "
            "Major(int).Minor(int).Patch(int) format, for e.g: 1.0.0, 2018.12.1 etc.",
            "galleryImageVersionName",
        )
    return numbers[0], numbers[1], numbers[2]


def _view(resource: Resource, expand: str) -> Json:
    if expand:
        raise unsupported(f"The value '{expand}' of query parameter '$expand'", target="$expand")
    return resource.document
