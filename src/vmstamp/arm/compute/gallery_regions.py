"""The target regions of a gallery image version. Texts of refusals: docs, troubleshooting-shared-images."""

from __future__ import annotations

from typing import Final

from vmstamp.arm.faults import change_not_allowed, invalid_parameter, missing_parameter, quoted
from vmstamp.arm.locations import Locations
from vmstamp.arm.resource import Json

PATH: Final = "galleryImageVersion.properties.publishingProfile.targetRegions"
MOST_REPLICAS: Final = 100


def target_regions(locations: Locations, home: str, publishing: Json, old: list[Json]) -> list[Json]:
    """The regions with Azure's defaults and names for people; the home region alone when none are given.

    `home` is the version's own region; it must be among them. `old` are the regions before a change.
    """
    given = publishing.get("targetRegions") or [{"name": home}]
    was = {locations.normalize(region["name"]): region for region in old}
    _check_count(publishing["replicaCount"], "replicaCount")
    found: dict[str, Json] = {}
    for region in given:
        if "name" not in region:
            raise missing_parameter(f"{PATH}.name")
        name = locations.normalize(region["name"])
        if not locations.known(name):
            raise invalid_parameter(
                f"The region '{region['name']}' is not one that image versions can be replicated to. Regions "
                f"are {quoted(locations.names())}.",
                f"{PATH}.name",
            )
        if name in found:
            raise invalid_parameter("Duplicate regions are not allowed in target publishing regions.", PATH)
        defaults = {
            "regionalReplicaCount": publishing["replicaCount"],
            "storageAccountType": publishing["storageAccountType"],
        }
        found[name] = {**defaults, **region, "name": locations.display_name(name)}
        _check_count(found[name]["regionalReplicaCount"], "regionalReplicaCount")
        if name in was and found[name]["storageAccountType"] != was[name]["storageAccountType"]:
            raise change_not_allowed(f"{PATH}.storageAccountType")
    if home not in found:
        shown = ", ".join(region["name"] for region in found.values())
        raise invalid_parameter(
            f"Gallery image version publishing profile regions '{shown}' must contain the location of image "
            f"version '{locations.display_name(home)}'.",
            PATH,
        )
    return list(found.values())


def _check_count(count: int, name: str) -> None:
    if not 1 <= count <= MOST_REPLICAS:
        raise invalid_parameter(
            f"The value '{count}' of parameter '{name}' is out of range. The value must be between '1' and "
            f"'{MOST_REPLICAS}', inclusive.",
            name,
        )
