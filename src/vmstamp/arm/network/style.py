"""What all types of Microsoft.Network share: how they speak of operations, what a name may be."""

from __future__ import annotations

import re
from typing import Final

from vmstamp.arm.types import AsyncStyle
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

API_VERSIONS: Final = ("2015-06-15", "2020-11-01", "2022-01-01", "2024-05-01", "2025-05-01")
STYLE: Final = AsyncStyle(creating="Updating", result_segment="operationResults")
RESOURCE_NAME = re.compile(r"[A-Za-z0-9](?:[\w.\-]{0,78}\w)?", re.ASCII)


def check_name(id: ResourceId) -> None:
    """Raises InvalidResourceName."""
    if not RESOURCE_NAME.fullmatch(id.name):
        raise AzureError(
            400,
            "InvalidResourceName",
            f"Resource name {id.name} is invalid. The name can be up to 80 characters long. It must begin "
            "with a word character, and it must end with a word character or with '_'. The name may "
            "contain word characters or '.', '-', '_'.",
        )
