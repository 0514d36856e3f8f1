"""What az, the Azure SDKs and azcopy need to speak to a stamp: environment variables and az's own files.

The files lie in the stamp's home (`azure/`, `bundle.pem`); nothing of the user's own az is read or written.
The formats of az's files are those that az 2.91 writes itself; az takes its first token with the secret in
`service_principal_entries.json`, so no `az login` is needed. The authority ends in `/adfs`, which keeps the
clients from asking Azure's own directory about it.
"""

from __future__ import annotations

import json
import os
import shlex
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmstamp.cli.endpoint import Endpoint
from vmstamp.paths import Home

CLOUD = "vmstamp"
PROFILE = "azureProfile.json"
# The variables that are set; their old values are kept in SAVED + name, for --undo.
NAMES = (
    "AZURE_CONFIG_DIR",
    "AZURE_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_SUBSCRIPTION_ID",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NO_PROXY",
)
SAVED = "VMSTAMP_SAVED_"
ACTIVE = "VMSTAMP_ENV"  # the home whose variables are set
_PRIVATE = 0o600


@dataclass(frozen=True)
class Shell:
    """How a shell is told to set and unset a variable for what it starts."""

    export: Callable[[str, str], str]
    unset: Callable[[str], str]


def _fish_quoted(text: str) -> str:
    """In fish's single quotes only the backslash and the quote are escaped. Spec: fish, Quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


POSIX = Shell(lambda name, value: f"export {name}={shlex.quote(value)}", lambda name: f"unset {name}")
FISH = Shell(lambda name, value: f"set -gx {name} {_fish_quoted(value)}", lambda name: f"set -e {name}")
SHELLS = {"bash": POSIX, "zsh": POSIX, "fish": FISH}


def variables(endpoint: Endpoint, home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for clients of a running stamp, in the order of NAMES."""
    found = {
        "AZURE_CONFIG_DIR": str(home.azure),
        "AZURE_AUTHORITY_HOST": endpoint.arm,
        "AZURE_TENANT_ID": "adfs",
        "AZURE_CLIENT_ID": endpoint.client_id,
        "AZURE_CLIENT_SECRET": endpoint.client_secret,
        "AZURE_SUBSCRIPTION_ID": endpoint.subscription,
        "REQUESTS_CA_BUNDLE": str(home.bundle),
        "SSL_CERT_FILE": str(home.bundle),
    }
    if any(environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")):
        old = original(environ, "NO_PROXY") or environ.get("no_proxy", "")
        found["NO_PROXY"] = ",".join(filter(None, (old, "127.0.0.1", "localhost", ".localhost")))
    return found


def original(environ: Mapping[str, str], name: str) -> str | None:
    """The value that a variable had before `vmstamp env` set it."""
    return environ.get(SAVED + name) if environ.get(ACTIVE) else environ.get(name)


def setting(
    found: Mapping[str, str], home: Home, environ: Mapping[str, str], shell: Shell | None = None
) -> Iterator[str]:
    """Lines of a shell (POSIX by default) that set the variables and keep what they were."""
    shell = shell or POSIX
    for name, value in found.items():
        old = original(environ, name)
        if old is not None:
            yield shell.export(f"{SAVED}{name}", old)
        yield shell.export(name, value)
    yield shell.export(ACTIVE, str(home.root))


def undoing(environ: Mapping[str, str], shell: Shell | None = None) -> Iterator[str]:
    """Lines of a shell that give the variables back what they were; none when they are not set."""
    shell = shell or POSIX
    if not environ.get(ACTIVE):
        return
    for name in NAMES:
        old = environ.get(SAVED + name)
        if old is None:
            yield shell.unset(name)
        else:
            yield f"{shell.export(name, old)}; {shell.unset(SAVED + name)}"
    yield shell.unset(ACTIVE)


def write_files(
    endpoint: Endpoint, home: Home, environ: Mapping[str, str], subscriptions: Mapping[str, str] | None = None
) -> None:
    """Write az's configuration and the bundle of certificates into the stamp's home.

    `subscriptions` are display names by id, the stamp's own when None. The one that `az account set` chose
    stays chosen.
    """
    home.azure.mkdir(mode=0o700, exist_ok=True)
    known = subscriptions or {endpoint.subscription: CLOUD}
    chosen = _chosen(home.azure / PROFILE)
    for name, text in configuration(endpoint, known, chosen if chosen in known else "").items():
        _write(home.azure / name, text)
    _write(home.bundle, f"{_known_authorities(environ)}\n{endpoint.ca.read_text()}")


def _chosen(profile: Path) -> str:
    """The subscription that az's profile has as its default; '' when there is none."""
    try:
        found = json.loads(profile.read_text("utf-8-sig"))["subscriptions"]
        return next((str(one["id"]) for one in found if one.get("isDefault")), "")
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def configuration(
    endpoint: Endpoint, subscriptions: Mapping[str, str] | None = None, chosen: str = ""
) -> dict[str, str]:
    """az's files by name. The suffix has the port of Blob over TLS: az makes https://ACCOUNT.blob.SUFFIX.

    `subscriptions` are display names by id, `chosen` is the id of az's default; the stamp's own by default.
    """
    arm = endpoint.arm
    known = subscriptions or {endpoint.subscription: CLOUD}
    default = chosen or endpoint.subscription
    return {
        "clouds.config": _ini(
            CLOUD,
            {
                "endpoint_resource_manager": arm,
                "endpoint_management": arm,
                "endpoint_active_directory": f"{arm}/adfs",
                "endpoint_active_directory_resource_id": arm,
                "endpoint_active_directory_graph_resource_id": arm,
                "endpoint_vm_image_alias_doc": f"{arm}/aliases.json",
                "suffix_storage_endpoint": f"localhost:{endpoint.blob_https.rpartition(':')[2]}",
                "subscription": default,
            },
        ),
        "config": _ini("cloud", {"name": CLOUD})
        + _ini(
            "core",
            {
                "collect_telemetry": "no",
                "survey_message": "no",
                "encrypt_token_cache": "false",
                "only_show_errors": "true",
            },
        )
        + _ini("defaults", {"location": endpoint.location}),
        PROFILE: json.dumps(
            {
                "installationId": str(uuid.uuid5(uuid.NAMESPACE_URL, endpoint.subscription)),
                "subscriptions": [
                    {
                        "id": id,
                        "name": name,
                        "state": "Enabled",
                        "user": {"name": endpoint.client_id, "type": "servicePrincipal"},
                        "isDefault": id == default,
                        "tenantId": endpoint.tenant,
                        "environmentName": CLOUD,
                    }
                    for id, name in known.items()
                ],
            }
        ),
        "service_principal_entries.json": json.dumps(
            [
                {
                    "client_id": endpoint.client_id,
                    "tenant": endpoint.tenant,
                    "client_secret": endpoint.client_secret,
                }
            ]
        ),
    }


def _ini(section: str, values: Mapping[str, str]) -> str:
    return "\n".join([f"[{section}]", *(f"{key} = {value}" for key, value in values.items()), "", ""])


def _known_authorities(environ: Mapping[str, str]) -> str:
    """The certificates that clients trust without us: the user's own bundle, else certifi's."""
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        old = original(environ, name)
        if old and Path(old).is_file():
            return Path(old).read_text()
    import certifi

    return certifi.contents()


def _write(path: Path, text: str) -> None:
    """For the owner alone, whole or not at all: az may be reading it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    beside.replace(path)
