"""What `vmstamp doctor` found, for programs: JUnit XML and SARIF 2.1.0. Pure.

JUnit: one test suite, one test case for each check. A failure is a failure; a warning is a test case that
passes with the warning in its output, because what is skipped counts in a CI system as not looked at; what
is no question for the disk is skipped.

SARIF: one run, a rule for each check, a result for each finding. `kind` says pass, fail or notApplicable and
`level` is none unless it fails (3.27.9, 3.27.10); what the upload mends is informational.

Specs: Jenkins xunit-plugin junit-10.xsd; SARIF 2.1.0 plus errata 01 (OASIS).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from vmstamp import __version__
from vmstamp.guest.doctor import Diagnosis, group_name
from vmstamp.guest.finding import Check, Finding, Severity, Status

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
GITHUB = "https://github.com"
# How the checks' sources are written, and where these documents are read.
DOCUMENTS = {
    "azure-compute-docs": f"{GITHUB}/MicrosoftDocs/azure-compute-docs/blob/main/articles/virtual-machines",
    "azure-docs": f"{GITHUB}/MicrosoftDocs/azure-docs/blob/main/articles",
}
# What XML 1.0 cannot hold, not even as a reference. Spec: XML 1.0, 2.2
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(source: str, found: Diagnosis) -> str:
    """The findings as a JUnit XML document."""
    skipped = found.of(Status.NOT_APPLICABLE)
    suite = ElementTree.Element(
        "testsuite",
        name=_xml(source),
        tests=str(len(found.findings)),
        failures=str(len(found.failures)),
        errors="0",
        skipped=str(len(skipped)),
    )
    for finding in found.findings:
        suite.append(_test_case(finding, found))
    root = ElementTree.Element("testsuites", name="vmstamp doctor")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _test_case(finding: Finding, found: Diagnosis) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase", classname=f"vmstamp.doctor.{group_name(finding.severity)}", name=finding.id
    )
    if finding in found.failures:
        failure = ElementTree.SubElement(
            case, "failure", type=group_name(finding.severity), message=_xml(finding.found)
        )
        failure.text = _xml(explained(finding))
    elif finding.status is Status.NOT_APPLICABLE:
        ElementTree.SubElement(case, "skipped", message=_xml(finding.found))
    elif finding.status is not Status.PASS:
        word = "warning" if finding.status is Status.WARNING else "mended by the upload"
        ElementTree.SubElement(case, "system-out").text = _xml(f"{word}: {explained(finding)}")
    return case


def explained(finding: Finding) -> str:
    """All that a finding says, as lines."""
    rows = [
        ("where", finding.where),
        ("why", finding.why),
        ("mend", finding.mend),
        ("source", finding.source),
    ]
    return "\n".join([finding.found, *(f"{name}: {text}" for name, text in rows if text)])


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def sarif_report(source: str, found: Diagnosis) -> dict[str, Any]:
    """The findings as a SARIF log."""
    uri = artifact_uri(source)
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "vmstamp doctor",
                        "semanticVersion": __version__,
                        "rules": [_rule(check) for check in found.checks],
                    }
                },
                "invocations": [{"executionSuccessful": True}],
                "artifacts": [{"location": {"uri": uri}, "roles": ["analysisTarget"]}],
                "results": [_result(number, one, found, uri) for number, one in enumerate(found.findings)],
            }
        ],
    }


def _rule(check: Check) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": check.id,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.why},
        "help": {"text": f"{check.mend}\n\nSource: {check.source}"},
        "defaultConfiguration": {"level": _default_level(check)},
        "properties": {"tags": [group_name(check.severity), *(["identity"] if check.identity else [])]},
    }
    uri = source_url(check.source)
    return {**rule, "helpUri": uri} if uri else rule


def _default_level(check: Check) -> str:
    mild = check.identity or check.severity in (Severity.BEST, Severity.CERTIFICATION)
    return "warning" if mild else "error"


def _result(number: int, finding: Finding, found: Diagnosis, uri: str) -> dict[str, Any]:
    kind, level = _kind_and_level(finding, found)
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri, "index": 0}}}
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.where}]
    return {
        "ruleId": finding.id,
        "ruleIndex": number,
        "kind": kind,
        "level": level,
        "message": {"text": finding.found},
        "locations": [location],
    }


def _kind_and_level(finding: Finding, found: Diagnosis) -> tuple[str, str]:
    if finding.status is Status.FAIL:
        return ("informational", "none") if finding.id in found.mended else ("fail", "error")
    return {
        Status.WARNING: ("fail", "warning"),
        Status.PASS: ("pass", "none"),
        Status.NOT_APPLICABLE: ("notApplicable", "none"),
    }[finding.status]


def artifact_uri(source: str) -> str:
    """A URI of what was looked at: URLs and `disk:NAME` as they are, a file's path relative or file://."""
    if "://" in source or source.startswith("disk:"):
        return source
    return Path(source).as_uri() if source.startswith("/") else quote(source)


def source_url(source: str) -> str:
    """Where a check's source can be read, for one that names a repository and a path in it; '' otherwise."""
    repository, _, path = source.split(";")[0].partition(" ")
    if not re.fullmatch(r"[\w./-]+\.\w+", path):
        return ""
    if repository in DOCUMENTS:
        return f"{DOCUMENTS[repository]}/{path}"
    return f"{GITHUB}/{repository}/blob/HEAD/{path}" if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) else ""
