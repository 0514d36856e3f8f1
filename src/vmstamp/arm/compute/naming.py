"""What Microsoft.Compute takes as a name, and the styles in which its types speak of operations."""

from __future__ import annotations

import re
from typing import Final

from vmstamp.arm.faults import invalid_parameter
from vmstamp.arm.types import AsyncStyle

API_VERSIONS: Final = ("2019-03-01", "2021-03-01", "2022-11-01", "2024-07-01", "2025-04-01", "2026-04-01")
RULE: Final = r"^[^_\W][\w-._]{0,79}(?<![-.])$"
NAME: Final = re.compile(r"[^_\W][\w\-.]{0,79}(?<![-.])", re.ASCII)

STYLE: Final = AsyncStyle()
VM_STYLE: Final = AsyncStyle(notification=True)
DISK_STYLE: Final = AsyncStyle(
    created_status=202,
    updated_status=202,
    location_header=True,
    body="bare",
    segment="DiskOperations",
    creating="Updating",
)
# Galleries, their image definitions and versions.
CAPS_STYLE: Final = AsyncStyle(segment="capsOperations", notification=True)


def check_name(name: str, parameter: str) -> None:
    """Raises InvalidParameter with Azure's rule."""
    if not NAME.fullmatch(name):
        raise invalid_parameter(
            f"The entity name '{parameter}' is invalid according to its validation rule: {RULE}.", parameter
        )
