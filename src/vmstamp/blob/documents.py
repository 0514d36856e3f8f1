"""XML bodies of the Blob service: listings, page ranges, access policies, errors. Pure.

REST: List Containers; List Blobs; Get Page Ranges; Get/Set Container ACL; Status and error codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from vmstamp.blob import faults, lease
from vmstamp.blob.records import PAGE_BLOB, AccessPolicy, Blob, Container
from vmstamp.blob.request import http_time
from vmstamp.blob.sas import parse_sas_time
from vmstamp.extents import Extent

CONTENT_TYPE: Final = "application/xml"
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_POLICY_TIME: Final = "%Y-%m-%dT%H:%M:%S.%f"


def error(code: str, message: str) -> bytes:
    root = Element("Error")
    _text(root, "Code", code)
    _text(root, "Message", message)
    return _document(root)


def containers(
    base: str, found: Sequence[Container], query: dict[str, str], next_marker: str, *, metadata: bool
) -> bytes:
    root = _enumeration(query, ServiceEndpoint=base)
    listed = SubElement(root, "Containers")
    for container in found:
        entry = SubElement(listed, "Container")
        _text(entry, "Name", container.name)
        properties = SubElement(entry, "Properties")
        _text(properties, "Last-Modified", http_time(container.last_modified))
        _text(properties, "Etag", container.etag)
        _text(properties, "LeaseStatus", "unlocked")
        _text(properties, "LeaseState", "available")
        if container.public_access:
            _text(properties, "PublicAccess", container.public_access)
        if metadata:
            _metadata(entry, container.metadata)
    _text(root, "NextMarker", next_marker)
    return _document(root)


def blobs(
    base: str,
    container: str,
    found: Iterable[Blob | str],
    query: dict[str, str],
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
    properties = SubElement(entry, "Properties")
    state = lease.state(blob.lease, now)
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
        "LeaseStatus": "locked" if state in ("leased", "breaking") else "unlocked",
        "LeaseState": state,
    }
    if blob.type == PAGE_BLOB:
        values["x-ms-blob-sequence-number"] = str(blob.sequence_number)
    if state == "leased" and blob.lease is not None:
        values["LeaseDuration"] = "infinite" if blob.lease.seconds == lease.INFINITE else "fixed"
    if "copy" in include and blob.copy is not None:
        values |= {
            "CopyId": blob.copy.id,
            "CopyStatus": "success",
            "CopySource": blob.copy.source,
            "CopyProgress": blob.copy.progress,
            "CopyCompletionTime": http_time(blob.copy.completed),
        }
    values["ServerEncrypted"] = "false"
    for name, value in values.items():
        _text(properties, name, value)
    if "metadata" in include:
        _metadata(entry, blob.metadata)


def page_list(ranges: Iterable[Extent], next_marker: str) -> bytes:
    root = Element("PageList")
    for start, end in ranges:
        entry = SubElement(root, "PageRange")
        _text(entry, "Start", str(start))
        _text(entry, "End", str(end - 1))
    if next_marker:
        _text(root, "NextMarker", next_marker)
    return _document(root)


def access_policies(policies: Sequence[AccessPolicy]) -> bytes:
    root = Element("SignedIdentifiers")
    for policy in policies:
        entry = SubElement(root, "SignedIdentifier")
        _text(entry, "Id", policy.id)
        values = SubElement(entry, "AccessPolicy")
        for name, time in (("Start", policy.start), ("Expiry", policy.expiry)):
            if time is not None:
                _text(values, name, time.strftime(_POLICY_TIME) + "0Z")
        if policy.permissions:
            _text(values, "Permission", policy.permissions)
    return _document(root)


def parse_access_policies(body: bytes | bytearray) -> tuple[AccessPolicy, ...]:
    """The policies of a Set Container ACL; no body means none. Raises 400 InvalidXmlDocument."""
    if not body:
        return ()
    try:
        root = fromstring(bytes(body))
        found = tuple(_policy(entry) for entry in root.findall("SignedIdentifier"))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise faults.fault("InvalidXmlDocument") from error
    if root.tag != "SignedIdentifiers" or any(not 1 <= len(policy.id) <= 64 for policy in found):
        raise faults.fault("InvalidXmlDocument")
    return found


def _policy(entry: Element) -> AccessPolicy:
    start, expiry = (
        parse_sas_time(entry.findtext(f"AccessPolicy/{name}") or "") for name in ("Start", "Expiry")
    )
    permissions = entry.findtext("AccessPolicy/Permission") or ""
    return AccessPolicy(entry.findtext("Id") or "", permissions, start, expiry)


def _enumeration(query: dict[str, str], **attributes: str) -> Element:
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
