"""XML bodies of the Blob service: listings, page ranges, access policies, errors. Pure.

REST: List Containers; List Blobs; Get Page Ranges; Get/Set Container ACL; Status and error codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from vmstamp.blob import faults, lease
from vmstamp.blob.blocks import Where
from vmstamp.blob.body import Data
from vmstamp.blob.lease import Lease
from vmstamp.blob.records import (
    BLOCK_BLOB,
    PAGE_BLOB,
    AccessPolicy,
    Blob,
    Block,
    Container,
    CopyState,
    CorsRule,
    ServiceProperties,
)
from vmstamp.blob.request import http_time
from vmstamp.blob.sas import parse_sas_time
from vmstamp.extents import Extent

CONTENT_TYPE: Final = "application/xml"
MAXIMUM_RULES: Final = 5
_CORS_METHODS: Final = {"DELETE", "GET", "HEAD", "MERGE", "OPTIONS", "PATCH", "POST", "PUT"}
_WHERE: Final[dict[str, Where]] = {
    "Committed": "Committed",
    "Uncommitted": "Uncommitted",
    "Latest": "Latest",
}
# What service properties can switch on and this service does not offer.
_SWITCHES: Final = {
    "Logging/Delete": "logging of requests",
    "Logging/Read": "logging of requests",
    "Logging/Write": "logging of requests",
    "HourMetrics/Enabled": "metrics of requests",
    "MinuteMetrics/Enabled": "metrics of requests",
    "StaticWebsite/Enabled": "static websites",
    "DeleteRetentionPolicy/AllowPermanentDelete": "deleting for good what is soft-deleted",
}
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_POLICY_TIME: Final = "%Y-%m-%dT%H:%M:%S.%f"


def error(code: str, message: str) -> bytes:
    root = Element("Error")
    _text(root, "Code", code)
    _text(root, "Message", message)
    return _document(root)


def containers(
    base: str,
    found: Sequence[Container],
    query: Mapping[str, str],
    next_marker: str,
    now: datetime,
    *,
    metadata: bool,
) -> bytes:
    root = _enumeration(query, ServiceEndpoint=base)
    listed = SubElement(root, "Containers")
    for container in found:
        entry = SubElement(listed, "Container")
        _text(entry, "Name", container.name)
        properties = SubElement(entry, "Properties")
        _text(properties, "Last-Modified", http_time(container.last_modified))
        _text(properties, "Etag", container.etag)
        for name, value in _lease_values(container.lease, now).items():
            _text(properties, name, value)
        if container.public_access:
            _text(properties, "PublicAccess", container.public_access)
        _text(properties, "HasImmutabilityPolicy", "false")
        _text(properties, "HasLegalHold", "false")
        _text(properties, "ImmutableStorageWithVersioningEnabled", "false")
        if metadata:
            _metadata(entry, container.metadata)
    _text(root, "NextMarker", next_marker)
    return _document(root)


def blobs(
    base: str,
    container: str,
    found: Iterable[Blob | str],
    query: Mapping[str, str],
    next_marker: str,
    now: datetime,
    *,
    include: frozenset[str],
) -> bytes:
    """`found`: blobs, and the common prefixes of those that are folded at the delimiter."""
    root = _enumeration(query, ServiceEndpoint=base, ContainerName=container)
    listed = SubElement(root, "Blobs")
    for item in found:
        if isinstance(item, str):
            _name(SubElement(listed, "BlobPrefix"), item)
        else:
            _blob(listed, item, now, include)
    _text(root, "NextMarker", next_marker)
    return _document(root)


def _blob(parent: Element, blob: Blob, now: datetime, include: frozenset[str]) -> None:
    entry = SubElement(parent, "Blob")
    _name(entry, blob.ref.name)
    if blob.ref.snapshot:
        _text(entry, "Snapshot", blob.ref.snapshot)
    if blob.deleted is not None:
        _text(entry, "Deleted", "true")
    properties = SubElement(entry, "Properties")
    for name, value in _properties(blob, now, include).items():
        _text(properties, name, value)
    if "metadata" in include:
        _metadata(entry, blob.metadata)
    if "tags" in include and blob.tags:
        _tags(entry, blob.tags)


def _properties(blob: Blob, now: datetime, include: frozenset[str]) -> dict[str, str]:
    values = {
        "Creation-Time": http_time(blob.created),
        "Last-Modified": http_time(blob.last_modified),
        "Etag": blob.etag.strip('"'),
        "Content-Length": str(blob.size),
        "Content-Type": blob.headers.content_type,
        "Content-Encoding": blob.headers.content_encoding,
        "Content-Language": blob.headers.content_language,
        "Content-MD5": blob.headers.content_md5,
        "Cache-Control": blob.headers.cache_control,
        "Content-Disposition": blob.headers.content_disposition,
        "BlobType": blob.type,
    }
    if not blob.ref.snapshot:
        values |= _lease_values(blob.lease, now)
    if blob.type == PAGE_BLOB:
        values["x-ms-blob-sequence-number"] = str(blob.sequence_number)
    if blob.type == BLOCK_BLOB:
        values |= {"AccessTier": blob.tier or "Hot"} | ({} if blob.tier else {"AccessTierInferred": "true"})
    if blob.append_sealed:
        values["Sealed"] = "true"
    if blob.incremental:
        values["IncrementalCopy"] = "true"
    if blob.tags:
        values["TagCount"] = str(len(blob.tags))
    if "copy" in include and blob.copy is not None:
        values |= _copy_values(blob.copy)
    if blob.deleted is not None and blob.expires is not None:
        values["DeletedTime"] = http_time(blob.deleted)
        values["RemainingRetentionDays"] = str(max(0, (blob.expires - now).days))
    return values | {"ServerEncrypted": "false"}


def _lease_values(held: Lease | None, now: datetime) -> dict[str, str]:
    state = lease.state(held, now)
    values = {
        "LeaseStatus": "locked" if state in ("leased", "breaking") else "unlocked",
        "LeaseState": state,
    }
    if state == "leased" and held is not None:
        values["LeaseDuration"] = "infinite" if held.seconds == lease.INFINITE else "fixed"
    return values


def _copy_values(copy: CopyState) -> dict[str, str]:
    values = {
        "CopyId": copy.id,
        "CopyStatus": copy.status,
        "CopySource": copy.source,
        "CopyProgress": copy.progress,
    }
    if copy.completed is not None:
        values["CopyCompletionTime"] = http_time(copy.completed)
    if copy.description:
        values["CopyStatusDescription"] = copy.description
    if copy.snapshot:
        values["CopyDestinationSnapshot"] = copy.snapshot
    return values


def page_list(ranges: Iterable[tuple[int, int]], count: int) -> bytes:
    """At most `count` ranges that hold data, and where to go on. As text: there may be ten thousand."""
    following = iter(ranges)
    listed = [
        f"<PageRange><Start>{start}</Start><End>{end - 1}</End></PageRange>"
        for start, end in islice(following, count)
    ]
    return _page_list(listed, next(following, None))


def page_changes(ranges: Iterable[tuple[Extent, bool]], count: int) -> bytes:
    """As `page_list`: ranges that were written, and those that were cleared (True)."""
    following, names = iter(ranges), ("PageRange", "ClearRange")
    listed = [
        f"<{names[cleared]}><Start>{start}</Start><End>{end - 1}</End></{names[cleared]}>"
        for (start, end), cleared in islice(following, count)
    ]
    more = next(following, None)
    return _page_list(listed, None if more is None else more[0])


def _page_list(ranges: list[str], following: tuple[int, int] | None) -> bytes:
    marker = "" if following is None else f"<NextMarker>{following[0]}</NextMarker>"
    head = "<?xml version='1.0' encoding='utf-8'?>\n<PageList>"
    return f"{head}{''.join(ranges)}{marker}</PageList>".encode()


def block_list(committed: Sequence[Block] | None, uncommitted: Sequence[Block] | None) -> bytes:
    """The lists that were asked for; None: not asked for."""
    root = Element("BlockList")
    for name, blocks in (("CommittedBlocks", committed), ("UncommittedBlocks", uncommitted)):
        if blocks is not None:
            listed = SubElement(root, name)
            for block in blocks:
                entry = SubElement(listed, "Block")
                _text(entry, "Name", block.id)
                _text(entry, "Size", str(block.size))
    return _document(root)


def parse_block_list(body: Data) -> list[tuple[Where, str]]:
    """The blocks of a Put Block List, and where to look for each. Raises 400."""
    root = _parse(body, "BlockList")
    if any(entry.tag not in _WHERE for entry in root):
        raise faults.fault("InvalidXmlDocument")
    return [(_WHERE[entry.tag], entry.text or "") for entry in root]


# -- tags


def tags(found: Mapping[str, str]) -> bytes:
    root = Element("Tags")
    _tag_set(root, found)
    return _document(root)


def _tags(parent: Element, found: Mapping[str, str]) -> None:
    _tag_set(SubElement(parent, "Tags"), found)


def _tag_set(parent: Element, found: Mapping[str, str]) -> None:
    listed = SubElement(parent, "TagSet")
    for key, value in found.items():
        entry = SubElement(listed, "Tag")
        _text(entry, "Key", key)
        _text(entry, "Value", value)


def parse_tags(body: Data) -> dict[str, str]:
    """The tags of a Set Blob Tags. Raises 400 InvalidXmlDocument."""
    root = _parse(body, "Tags")
    return {
        entry.findtext("Key") or "": entry.findtext("Value") or "" for entry in root.findall("TagSet/Tag")
    }


def tagged_blobs(base: str, where: str, found: Iterable[Blob], next_marker: str) -> bytes:
    root = Element("EnumerationResults", {"ServiceEndpoint": base})
    _text(root, "Where", where)
    listed = SubElement(root, "Blobs")
    for blob in found:
        entry = SubElement(listed, "Blob")
        _name(entry, blob.ref.name)
        _text(entry, "ContainerName", blob.ref.container)
        _tags(entry, blob.tags)
    _text(root, "NextMarker", next_marker)
    return _document(root)


# -- the service


def user_delegation_key(values: Mapping[str, str]) -> bytes:
    root = Element("UserDelegationKey")
    for name, value in values.items():
        _text(root, name, value)
    return _document(root)


def parse_key_info(body: Data) -> tuple[datetime | None, datetime]:
    """From when and until when a user delegation key is wanted. Raises 400."""
    root = _parse(body, "KeyInfo")
    if root.findtext("DelegatedUserTid"):
        raise faults.unsupported("user delegation keys for the users of another tenant")
    try:
        start, expiry = (parse_sas_time(root.findtext(name) or "") for name in ("Start", "Expiry"))
    except ValueError:
        raise faults.fault("InvalidXmlNodeValue") from None
    if expiry is None:
        raise faults.fault("InvalidXmlDocument", "Expiry is missing.")
    return start, expiry


def service_properties(found: ServiceProperties) -> bytes:
    """All of them; what is not offered is shown switched off."""
    root = Element("StorageServiceProperties")
    logging = SubElement(root, "Logging")
    for name, value in (("Version", "1.0"), ("Delete", "false"), ("Read", "false"), ("Write", "false")):
        _text(logging, name, value)
    _text(SubElement(logging, "RetentionPolicy"), "Enabled", "false")
    for name in ("HourMetrics", "MinuteMetrics"):
        metrics = SubElement(root, name)
        _text(metrics, "Version", "1.0")
        _text(metrics, "Enabled", "false")
        _text(SubElement(metrics, "RetentionPolicy"), "Enabled", "false")
    _cors(SubElement(root, "Cors"), found.cors)
    if found.default_version:
        _text(root, "DefaultServiceVersion", found.default_version)
    retention = SubElement(root, "DeleteRetentionPolicy")
    _text(retention, "Enabled", str(bool(found.retention_days)).lower())
    if found.retention_days:
        _text(retention, "Days", str(found.retention_days))
    _text(SubElement(root, "StaticWebsite"), "Enabled", "false")
    return _document(root)


def _cors(parent: Element, rules: Iterable[CorsRule]) -> None:
    for rule in rules:
        entry = SubElement(parent, "CorsRule")
        _text(entry, "AllowedOrigins", ",".join(rule.origins))
        _text(entry, "AllowedMethods", ",".join(rule.methods))
        _text(entry, "MaxAgeInSeconds", str(rule.max_age))
        _text(entry, "ExposedHeaders", ",".join(rule.exposed_headers))
        _text(entry, "AllowedHeaders", ",".join(rule.allowed_headers))


def parse_service_properties(
    body: Data,
) -> Callable[[ServiceProperties], ServiceProperties]:
    """What a Set Blob Service Properties changes. Raises 400, and 501 for what is not offered."""
    root = _parse(body, "StorageServiceProperties")
    for path, what in _SWITCHES.items():
        if (root.findtext(path) or "false").lower() == "true":
            raise faults.unsupported(what)
    cors, retention = root.find("Cors"), root.find("DeleteRetentionPolicy")
    changes: dict[str, Any] = {}
    if cors is not None:
        changes["cors"] = _parse_rules(cors)
    if retention is not None:
        changes["retention_days"] = _parse_days(retention)
    version = root.findtext("DefaultServiceVersion")
    if version:
        changes["default_version"] = version
    return lambda found: replace(found, **changes)


def _parse_rules(cors: Element) -> tuple[CorsRule, ...]:
    rules = tuple(_parse_rule(entry) for entry in cors.findall("CorsRule"))
    if len(rules) > MAXIMUM_RULES:
        raise faults.fault("InvalidXmlDocument", f"At most {MAXIMUM_RULES} CORS rules are allowed.")
    return rules


def _parse_rule(entry: Element) -> CorsRule:
    origins, methods, allowed, exposed = (
        tuple(filter(None, (word.strip() for word in (entry.findtext(name) or "").split(","))))
        for name in ("AllowedOrigins", "AllowedMethods", "AllowedHeaders", "ExposedHeaders")
    )
    age = entry.findtext("MaxAgeInSeconds") or ""
    if not origins or not methods or not set(methods) <= _CORS_METHODS or not re.fullmatch(r"\d{1,9}", age):
        raise faults.fault("InvalidXmlNodeValue", "CorsRule.")
    return CorsRule(origins, methods, allowed, exposed, int(age))


def _parse_days(retention: Element) -> int:
    if (retention.findtext("Enabled") or "").lower() != "true":
        return 0
    days = retention.findtext("Days") or ""
    if not re.fullmatch(r"\d{1,3}", days) or not 1 <= int(days) <= 365:
        raise faults.fault("InvalidXmlNodeValue", f"Days is {days}; 1 to 365 are allowed.")
    return int(days)


def _parse(body: Data, name: str) -> Element:
    """The root of an XML document, which has this name. Raises 400 InvalidXmlDocument."""
    try:
        root: Element = fromstring(bytes(body))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise faults.fault("InvalidXmlDocument") from error
    if root.tag != name:
        raise faults.fault("InvalidXmlDocument", f"The document is {root.tag}, not {name}.")
    return root


def access_policies(policies: Sequence[AccessPolicy]) -> bytes:
    root = Element("SignedIdentifiers")
    for policy in policies:
        entry = SubElement(root, "SignedIdentifier")
        _text(entry, "Id", policy.id)
        if policy == AccessPolicy(policy.id):
            continue
        values = SubElement(entry, "AccessPolicy")
        for name, time in (("Start", policy.start), ("Expiry", policy.expiry)):
            if time is not None:
                _text(values, name, time.strftime(_POLICY_TIME) + "0Z")
        if policy.permissions:
            _text(values, "Permission", policy.permissions)
    return _document(root)


def parse_access_policies(body: Data) -> tuple[AccessPolicy, ...]:
    """The policies of a Set Container ACL; no body means none. Raises 400 InvalidXmlDocument."""
    if not body:
        return ()
    root = _parse(body, "SignedIdentifiers")
    try:
        found = tuple(_policy(entry) for entry in root.findall("SignedIdentifier"))
    except ValueError as error:
        raise faults.fault("InvalidXmlDocument") from error
    if any(not 1 <= len(policy.id) <= 64 for policy in found):
        raise faults.fault("InvalidXmlDocument")
    return found


def _policy(entry: Element) -> AccessPolicy:
    start, expiry = (
        parse_sas_time(entry.findtext(f"AccessPolicy/{name}") or "") for name in ("Start", "Expiry")
    )
    permissions = entry.findtext("AccessPolicy/Permission") or ""
    return AccessPolicy(entry.findtext("Id") or "", permissions, start, expiry)


def _enumeration(query: Mapping[str, str], **attributes: str) -> Element:
    root = Element("EnumerationResults", attributes)
    for parameter, name in (
        ("prefix", "Prefix"),
        ("marker", "Marker"),
        ("maxresults", "MaxResults"),
        ("delimiter", "Delimiter"),
    ):
        if query.get(parameter):
            _text(root, name, query[parameter])
    return root


def _name(parent: Element, name: str) -> None:
    element = SubElement(parent, "Name")
    if _NOT_XML.search(name):
        element.set("Encoded", "true")
        name = quote(name)
    element.text = name


def _metadata(parent: Element, metadata: dict[str, str]) -> None:
    element = SubElement(parent, "Metadata")
    for name, value in metadata.items():
        _text(element, name, value)


def _text(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = _NOT_XML.sub("\ufffd", text)


def _document(root: Element) -> bytes:
    body: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return body
