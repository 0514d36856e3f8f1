"""Rules of galleries: names, replication, what may not change, and VMs of gallery images."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, SUBSCRIPTION, Row, ask

TITLE: Final = "Galleries"

GALLERY: Final = f"{COMPUTE}/galleries/gallery1"

DEFINITION: Final = f"{GALLERY}/images/linux"

VERSION: Final = f"{DEFINITION}/versions/1.0.0"

IDENTIFIER: Final = {"publisher": "me", "offer": "linux", "sku": "gen2"}

KIND: Final[dict[str, Any]] = {
    "osType": "Linux",
    "osState": "Generalized",
    "hyperVGeneration": "V2",
    "identifier": IDENTIFIER,
}


def body(location: str = "westeurope", **properties: Any) -> dict[str, Any]:
    return {"location": location, "properties": properties}


def put(arm: Any, path: str, location: str = "westeurope", **properties: Any) -> requests.Response:
    """A PUT whose operation has ended when this returns."""
    reply = ask(arm, "PUT", path, body(location, **properties))
    arm.plane.engine.operations.wait()
    return reply


def gallery(arm: Any) -> None:
    put(arm, GALLERY)


def definition(arm: Any, **changes: Any) -> None:
    gallery(arm)
    put(arm, DEFINITION, **{**KIND, **changes})


def publish(arm: Any, path: str = VERSION, *regions: str, **profile: Any) -> requests.Response:
    """Put a version of the image `image1`, which is made when it is not there."""
    if ask(arm, "GET", f"{COMPUTE}/images/image1").status_code == 404:
        arm.image()
    if regions:
        profile["targetRegions"] = [{"name": region} for region in regions]
    source = {"source": {"id": f"{COMPUTE}/images/image1"}}
    return put(arm, path, storageProfile=source, publishingProfile=profile)


def version(arm: Any, *regions: str, **profile: Any) -> None:
    definition(arm)
    publish(arm, VERSION, *regions, **profile)


# -- galleries


def _gallery(arm: Any) -> requests.Response:
    return put(arm, GALLERY)


def _gallery_got(arm: Any) -> requests.Response:
    gallery(arm)
    return ask(arm, "GET", GALLERY)


def _gallery_with_dash(arm: Any) -> requests.Response:
    return put(arm, f"{COMPUTE}/galleries/gallery-1")


def _gallery_twice(arm: Any) -> requests.Response:
    gallery(arm)
    arm.resources.resource_groups.create_or_update("rg2", {"location": "westeurope"})
    return put(arm, GALLERY.replace("/rg/", "/rg2/"))


def _gallery_elsewhere(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, GALLERY, "eastus")


def _delete_gallery(arm: Any) -> requests.Response:
    gallery(arm)
    return ask(arm, "DELETE", GALLERY)


def _delete_full_gallery(arm: Any) -> requests.Response:
    definition(arm)
    return ask(arm, "DELETE", GALLERY)


# -- definitions


def _definition_without_gallery(arm: Any) -> requests.Response:
    return put(arm, DEFINITION, **KIND)


def _definition(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **{k: v for k, v in KIND.items() if k != "hyperVGeneration"})


def _same_identifier(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, f"{GALLERY}/images/other", **KIND)


def _bad_identifier(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **{**KIND, "identifier": {**IDENTIFIER, "offer": "ends with."}})


def _other_os_state(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, DEFINITION, **{**KIND, "osState": "Specialized"})


def _other_identifier(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, DEFINITION, **{**KIND, "identifier": {**IDENTIFIER, "sku": "other"}})


def _other_os_type(arm: Any) -> requests.Response:
    definition(arm)
    return put(arm, DEFINITION, **{**KIND, "osType": "Windows"})


def _ended(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **KIND, endOfLifeDate="2020-01-01T00:00:00Z")


def _no_date(arm: Any) -> requests.Response:
    gallery(arm)
    return put(arm, DEFINITION, **KIND, endOfLifeDate="some day")


def _delete_full_definition(arm: Any) -> requests.Response:
    version(arm)
    return ask(arm, "DELETE", DEFINITION)


def polls_caps(reply: requests.Response) -> bool:
    url = reply.headers["Azure-AsyncOperation"]
    return "/Microsoft.Compute/locations/westeurope/capsOperations/" in url


def accepted(reply: requests.Response) -> bool:
    return "Azure-AsyncOperation" in reply.headers and "monitor=true" in reply.headers["Location"]


NESTED: Final = "Can not delete resource before nested resources are deleted."


ROWS: Final = (
    Row("PUT of a gallery is asynchronous, polled at capsOperations", "R", _gallery, 201, holds=polls_caps),
    Row(
        "a gallery's unique name: subscription and name in upper case",
        "R",
        _gallery_got,
        200,
        holds=lambda reply: (
            reply.json()["properties"]["identifier"]["uniqueName"] == f"{SUBSCRIPTION}-GALLERY1"
        ),
    ),
    Row(
        "a gallery's name with a dash",
        "D",
        _gallery_with_dash,
        400,
        "InvalidParameter",
        "Gallery name is invalid. Allowed characters are English alphanumeric characters, with underscores, "
        "and periods allowed in the middle, up to 80 characters total. All other special characters, "
        "including dashes, are disallowed.",
    ),
    Row(
        "a second gallery of a name in the subscription",
        "D",
        _gallery_twice,
        409,
        "Conflict",
        f"The gallery name gallery1 is not unique within the subscription {SUBSCRIPTION}. Please pick "
        "another gallery name.",
    ),
    Row(
        "a gallery that exists, in another region",
        "D",
        _gallery_elsewhere,
        409,
        "InvalidResourceLocation",
        "The resource 'gallery1' already exists in location 'westeurope' in resource group 'rg'. A resource "
        "with the same name cannot be created in location 'eastus'. Please select a new resource name.",
    ),
    Row("DELETE of a gallery", "R", _delete_gallery, 202, holds=accepted),
    Row(
        "DELETE of a gallery with definitions",
        "DI",
        _delete_full_gallery,
        409,
        "CannotDeleteResource",
        NESTED,
    ),
    Row(
        "a definition in a gallery that is not there",
        "D",
        _definition_without_gallery,
        404,
        "ParentResourceNotFound",
        "Can not perform requested operation on nested resource. Parent resource 'gallery1' not found.",
    ),
    Row(
        "a definition is of generation V1 and x64 unless it says otherwise",
        "R",
        _definition,
        201,
        holds=lambda reply: (
            reply.json()["properties"]["hyperVGeneration"] == "V1"
            and reply.json()["properties"]["architecture"] == "x64"
        ),
    ),
    Row(
        "a second definition with the same publisher, offer and SKU",
        "D",
        _same_identifier,
        409,
        "Conflict",
        "Gallery image: linux identified by (publisher:me, offer:linux, sku:gen2) already exists. Choose a "
        "different publisher, offer, sku combination.",
    ),
    Row(
        "an identifier with characters that are not allowed",
        "D",
        _bad_identifier,
        400,
        "InvalidParameter",
        "Asset name galleryImage.properties.identifier.offer is not valid. It cannot be empty. Allowed "
        "characters are uppercase or lowercase letters, digits, hyphen(-), period (.), underscore (_). Names "
        "are not allowed to end with period(.). The length of the name cannot exceed 64 characters.",
    ),
    *(
        Row(
            f"another {name} of a definition",
            "D",
            send,
            409,
            "PropertyChangeNotAllowed",
            f"Changing property 'galleryImage.properties.{name}' is not allowed.",
        )
        for name, send in (
            ("osState", _other_os_state),
            ("osType", _other_os_type),
            ("identifier", _other_identifier),
        )
    ),
    Row(
        "an end of life that is past",
        "D",
        _ended,
        400,
        "InvalidParameter",
        "EndOfLifeDate must be set to a future date.",
    ),
    Row(
        "an end of life that is no date",
        "D",
        _no_date,
        400,
        "InvalidRequestContent",
        "...Could not convert string to DateTimeOffset: some day. Path '...endOfLifeDate'...",
    ),
    Row(
        "DELETE of a definition with versions",
        "DI",
        _delete_full_definition,
        409,
        "CannotDeleteResource",
        NESTED,
    ),
)
