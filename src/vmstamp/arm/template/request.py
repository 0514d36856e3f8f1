"""What a deployment's request says: mode, template or link, parameters.

REST: Deployments - Create Or Update, 2024-11-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from vmstamp.arm.faults import invalid_content, unsupported
from vmstamp.arm.resource import Json
from vmstamp.arm.template.faults import unparsable_template
from vmstamp.arm.template.parameters import read_given
from vmstamp.arm.template.reader import ReadError, read
from vmstamp.arm.template.template import Template, parse_template
from vmstamp.arm.template.values import get_member
from vmstamp.errors import AzureError

MODES = {"incremental": "Incremental", "complete": "Complete"}
KNOWN = (
    "mode",
    "template",
    "templatelink",
    "parameters",
    "parameterslink",
    "expressionevaluationoptions",
    "debugsetting",
    "whatifsettings",
    "provisioningstate",
    "validationlevel",
)


class Fetch(Protocol):
    """Reads a linked file: the text at a URL. Raises AzureError."""

    def __call__(self, url: str) -> str: ...


@dataclass(frozen=True)
class Asked:
    """A deployment's request, understood. `link` is the templateLink to be shown, with its URL whole."""

    mode: str
    template: Template
    values: Mapping[str, Any]
    link: Json | None
    tags: Json
    location: str
    inner: bool
    result_format: str = "FullResourcePayloads"  # of a what-if


def read_request(body: Any, fetch: Fetch, parent_url: str = "") -> Asked:
    """Understand a body. `parent_url` is where the template lies that this deployment is nested in.

    Raises AzureError: InvalidRequestContent, InvalidTemplate, or a refusal by name.
    """
    if not isinstance(body, dict) or not isinstance(get_member(body, "properties"), dict):
        raise invalid_content(
            "Required property 'properties' not found in JSON. Path '', line 1, position 1."
        )
    properties = get_member(body, "properties")
    for name, value in properties.items():
        if name.lower() not in KNOWN and value:
            raise unsupported(
                f"The property 'properties.{name}' of a deployment", target=f"properties.{name}"
            )
    detail = str(get_member(get_member(properties, "debugSetting") or {}, "detailLevel") or "none")
    if detail.lower() != "none":
        raise unsupported(
            f"The value '{detail}' of 'properties.debugSetting.detailLevel'", target="debugSetting"
        )
    mode = MODES.get(str(get_member(properties, "mode") or "").lower())
    if mode is None:
        raise invalid_content(
            f"Error converting value '{get_member(properties, 'mode')}' to type 'DeploymentMode'. Path "
            "'properties.mode'"
        )
    document, link = _template_of(properties, fetch, parent_url)
    options = get_member(properties, "expressionEvaluationOptions") or {}
    settings = get_member(properties, "whatIfSettings") or {}
    return Asked(
        mode=mode,
        template=parse_template(document),
        values=read_given(_parameters_of(properties, fetch, parent_url)),
        link=link,
        tags=get_member(body, "tags") or {},
        location=str(get_member(body, "location") or ""),
        inner=link is not None or str(get_member(options, "scope") or "outer").lower() == "inner",
        result_format=str(get_member(settings, "resultFormat") or "FullResourcePayloads"),
    )


def _template_of(properties: Mapping[str, Any], fetch: Fetch, parent_url: str) -> tuple[Any, Json | None]:
    template, link = get_member(properties, "template"), get_member(properties, "templateLink")
    if template is not None and link is not None:
        raise AzureError(
            400,
            "InvalidTemplate",
            "Deployment template validation failed: 'The deployment may have a template or a templateLink, "
            "not both'.",
        )
    if template is not None:
        return template, None
    if not isinstance(link, dict):
        raise AzureError(
            400,
            "InvalidTemplate",
            "Deployment template validation failed: 'Either the template or the template link must be "
            "specified'.",
        )
    url = _url_of(link, parent_url, "templateLink")
    return _fetched(fetch, url), {"uri": url.split("?", 1)[0], "contentVersion": "1.0.0.0"}


def _url_of(link: Mapping[str, Any], parent_url: str, where: str) -> str:
    if get_member(link, "id"):
        raise unsupported(f"A template spec (the property '{where}.id')", target=f"properties.{where}.id")
    url, relative = get_member(link, "uri"), get_member(link, "relativePath")
    if relative and not parent_url:
        raise AzureError(
            400,
            "InvalidTemplate",
            "Deployment template validation failed: 'A relativePath can be used only in a template that was "
            "deployed by "
            "a templateLink with a uri'.",
        )
    found = urljoin(parent_url, str(relative)) if relative else str(url or "")
    if urlsplit(found).scheme not in ("http", "https"):
        raise AzureError(
            400,
            "InvalidContentLink",
            f"The provided content link '{found}' is invalid or not supported. Content link must be an "
            "absolute URI "
            "not referencing local host or UNC path.",
        )
    query = str(get_member(link, "queryString") or "").lstrip("?")
    return f"{found}?{query}" if query else found


def _fetched(fetch: Fetch, url: str) -> Any:
    text = fetch(url)
    try:
        return read(text)
    except ReadError as error:
        raise unparsable_template(error.message) from error


def _parameters_of(properties: Mapping[str, Any], fetch: Fetch, parent_url: str) -> Any:
    link = get_member(properties, "parametersLink")
    if link is None:
        return get_member(properties, "parameters")
    return _fetched(fetch, _url_of(link, parent_url, "parametersLink"))
