"""The clouds that commands act in, as data: a stamp's own ARM, or one of Azure's. The rest is the same code.

Endpoints, authorities and scopes: azure.mgmt.core.tools.get_arm_endpoints and azure.identity's
AzureAuthorityHosts; the suffixes of storage: azure-cli-core, `cloud.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from vmstamp import settings
from vmstamp.cli.endpoint import Endpoint, get_endpoint
from vmstamp.errors import CloudError, VmstampError

if TYPE_CHECKING:
    from vmstamp.cli.arm_credential import TokenCredential

STAMP = settings.CLOUD.default


@dataclass(frozen=True)
class Cloud:
    """One of Azure's clouds. `arm` and `authority` are URLs without a trailing slash; `scope` is of ARM."""

    name: str
    arm: str
    scope: str
    authority: str
    storage_suffix: str


CLOUDS = (
    Cloud(
        "azure",
        "https://management.azure.com",
        "https://management.azure.com/.default",
        "https://login.microsoftonline.com",
        "core.windows.net",
    ),
    Cloud(
        "AzureUSGovernment",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/.default",
        "https://login.microsoftonline.us",
        "core.usgovcloudapi.net",
    ),
    Cloud(
        "AzureChinaCloud",
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/.default",
        "https://login.chinacloudapi.cn",
        "core.chinacloudapi.cn",
    ),
)
NAMES = (STAMP, *(cloud.name for cloud in CLOUDS))
INTERVAL = 5.0  # seconds between two looks at an operation, where the service sends no Retry-After


@dataclass(frozen=True)
class CloudEndpoint:
    """ARM of one subscription in a cloud. `location` empty: what is made lies in its group's region."""

    cloud: str
    arm: str
    scope: str
    authority: str
    subscription: str = ""
    location: str = ""
    interval: float = INTERVAL

    @property
    def ca(self) -> Path | None:
        """None: the authorities that this computer trusts, or those of REQUESTS_CA_BUNDLE."""
        return None


@dataclass(frozen=True)
class Chosen:
    """What flags and settings say: a cloud's name, a subscription's id or name, a region; empty: not said."""

    cloud: str = STAMP
    endpoint: str = ""
    subscription: str = ""
    location: str = ""

    @property
    def is_stamp(self) -> bool:
        return self.cloud == STAMP


def find_cloud(name: str) -> Cloud:
    """A cloud by its name, in any case. Raises VmstampError for a name that none has."""
    for cloud in CLOUDS:
        if cloud.name.lower() == name.lower():
            return cloud
    raise VmstampError(f"there is no cloud {name!r}", hint=f"expected one of {', '.join(NAMES)}")


def cloud_endpoint(chosen: Chosen) -> CloudEndpoint:
    """The endpoint of the chosen cloud; another URL of ARM stands for its own scope and authority.

    Raises VmstampError for a cloud that is not there, or a URL that is none.
    """
    cloud = find_cloud(chosen.cloud)
    if not chosen.endpoint:
        return CloudEndpoint(
            cloud.name, cloud.arm, cloud.scope, cloud.authority, chosen.subscription, chosen.location
        )
    url = urlsplit(chosen.endpoint)
    if url.scheme != "https" or not url.netloc:
        raise VmstampError(
            f"{settings.CLOUD_ENDPOINT.variable} is {chosen.endpoint!r}, expected an https URL of ARM"
        )
    arm = chosen.endpoint.rstrip("/")
    return CloudEndpoint(cloud.name, arm, f"{arm}/.default", "", chosen.subscription, chosen.location)


def authority_of(url: str) -> str:
    """The authority that signs in to the cloud where a blob's URL lies; '' where it is not known."""
    host = urlsplit(url).hostname or ""
    return next((cloud.authority for cloud in CLOUDS if host.endswith(f".{cloud.storage_suffix}")), "")


def stamp_endpoint(chosen: Chosen) -> Endpoint:
    """The running stamp, with another subscription or region where one was chosen. Raises StampError."""
    from dataclasses import replace

    found = get_endpoint(settings.home())
    return replace(
        found,
        subscription=chosen.subscription or found.subscription,
        location=chosen.location or found.location,
    )


def sign_in(endpoint: CloudEndpoint) -> TokenCredential:
    """The credential for a cloud; nothing is sent yet. Raises CloudError when azure-identity is missing."""
    import logging

    from vmstamp.transfer.blobs import default_token

    logging.getLogger("azure.identity").addHandler(logging.NullHandler())  # an error says it, in our words
    try:
        return default_token(endpoint.authority)
    except VmstampError as error:
        raise CloudError(error.message, hint="pip install 'vmstamp[azure]'") from error


def choose_subscription(found: Iterable[dict[str, Any]], wanted: str) -> str:
    """The id of the subscription that is meant: by its name, or the only one. Raises CloudError."""
    able = [one for one in found if one.get("state", "Enabled") == "Enabled"]
    named = [one for one in able if not wanted or str(one.get("displayName")) == wanted]
    if len(named) == 1:
        return str(named[0]["subscriptionId"])
    hint = f"pass --subscription, or set {settings.SUBSCRIPTION.variable}"
    if not able:
        raise CloudError("who is signed in sees no subscription", hint=hint)
    names = ", ".join(f"{one['subscriptionId']} ({one.get('displayName')})" for one in able[:10])
    if wanted and named:
        raise CloudError(f"{len(named)} subscriptions are named {wanted!r}", hint=f"pass its id: {names}")
    if wanted:
        raise CloudError(f"no subscription is named {wanted!r}", hint=f"there are: {names}")
    raise CloudError(f"there are {len(able)} subscriptions: {names}", hint=hint)


def is_id(subscription: str) -> bool:
    """Whether this is a subscription's id, and not its name."""
    try:
        UUID(subscription)
    except ValueError:
        return False
    return True


def refuse_foreign_environment(chosen: Chosen, environ: dict[str, str]) -> None:
    """The variables of `vmstamp env` sign in to a stamp, not to Azure. Raises CloudError."""
    if environ.get("VMSTAMP_ENV") and not chosen.endpoint:
        raise CloudError(
            f"this shell is turned to the stamp of {environ['VMSTAMP_ENV']}: its variables sign in there",
            hint='eval "$(vmstamp env --undo)"',
        )
