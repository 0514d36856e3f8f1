"""The regions: one stamp answers for all of Azure's, so that a resource lies in one and not in another.

Names are compared without case and spaces: `West Europe` is `westeurope`. `local` is the stamp's own.
"""

from __future__ import annotations

from collections.abc import Mapping

DISPLAY_NAMES: Mapping[str, str] = {
    name.lower().replace(" ", ""): name
    for name in (
        "Local",
        "Australia Central",
        "Australia Central 2",
        "Australia East",
        "Australia Southeast",
        "Austria East",
        "Belgium Central",
        "Brazil South",
        "Brazil Southeast",
        "Canada Central",
        "Canada East",
        "Central India",
        "Central US",
        "Chile Central",
        "East Asia",
        "East US",
        "East US 2",
        "France Central",
        "France South",
        "Germany North",
        "Germany West Central",
        "Indonesia Central",
        "Israel Central",
        "Italy North",
        "Japan East",
        "Japan West",
        "Jio India Central",
        "Jio India West",
        "Korea Central",
        "Korea South",
        "Malaysia West",
        "Mexico Central",
        "New Zealand North",
        "North Central US",
        "North Europe",
        "Norway East",
        "Norway West",
        "Poland Central",
        "Qatar Central",
        "South Africa North",
        "South Africa West",
        "South Central US",
        "South India",
        "Southeast Asia",
        "Spain Central",
        "Sweden Central",
        "Sweden South",
        "Switzerland North",
        "Switzerland West",
        "UAE Central",
        "UAE North",
        "UK South",
        "UK West",
        "West Central US",
        "West Europe",
        "West India",
        "West US",
        "West US 2",
        "West US 3",
    )
}


class Locations:
    """The regions that a stamp serves, as a mapping from names to display names."""

    def __init__(self, display_names: Mapping[str, str] = DISPLAY_NAMES) -> None:
        self._display_names = dict(display_names)

    @staticmethod
    def normalize(name: str) -> str:
        return name.lower().replace(" ", "")

    def known(self, name: str) -> bool:
        return name in self._display_names

    def names(self) -> list[str]:
        return list(self._display_names)

    def display_name(self, name: str) -> str:
        return self._display_names[name]
