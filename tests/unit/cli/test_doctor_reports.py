"""What `vmstamp doctor` found, as text, JUnit XML and SARIF: golden structures of one small diagnosis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fastjsonschema
import pytest

from vmstamp.cli.doctor_reports import artifact_uri, junit_report, sarif_report, source_url
from vmstamp.cli.doctor_text import (
    change_lines,
    check_document,
    diagnosis_lines,
    list_lines,
    patience_lines,
    plan_lines,
    planned_lines,
    verdict_text,
)
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import PartitionTable
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.doctor import Diagnosis, Mend, Plan, diagnose_facts
from vmstamp.guest.edits import Run, Write
from vmstamp.guest.facts import Boot, Facts, Mode, Target
from vmstamp.guest.files.fs import Survey
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.system import OperatingSystem

MIB = 1024 * 1024
SCHEMA = Path(__file__).parents[2] / "data" / "sarif-2.1.0-rtm.5.json"


def check(id: str, severity: Severity, verdict: Verdict, **more: Any) -> Check:
    return Check(
        id,
        f"title of {id}",
        severity,
        "the VM does not boot",
        "azure-docs marketplace/faq.yml",
        lambda facts: id != "nothing",
        lambda facts: verdict,
        "use UUIDs",
        **more,
    )


CHOSEN = (
    check(
        "fstab",
        Severity.BOOT,
        failed("/dev/sda1 is \x1b[31mno\x00 name", "/etc/fstab:3"),
        fix=lambda facts: [Write("/etc/fstab", b"")],
    ),
    check("vhd-container-kind", Severity.UPLOAD, failed("it is a raw disk")),
    check("console", Severity.BEST, warned("no console", "/boot/grub/grub.cfg")),
    check("keys", Severity.SECURITY, failed("2 host keys", "/etc/ssh"), identity=True),
    check("sshd", Severity.PROVISION, passed("ssh.service is enabled")),
    check("nothing", Severity.BOOT, passed("")),
)


def diagnosis(mode: Mode | None = None, chosen: tuple[Check, ...] = CHOSEN) -> Diagnosis:
    survey = Survey(PartitionTable(None), "", ())
    facts = Facts(
        MemoryDisk(20 * MIB, {}),
        survey,
        Boot(None, None, (), bios=False),
        os=OperatingSystem("debian", "12", "Debian 12"),
        architecture="x86_64",
        target=Target(mode=mode),
    )
    return diagnose_facts(facts, chosen)


def test_the_text_has_failures_first_and_fits_its_width() -> None:
    lines = diagnosis_lines("d.raw", diagnosis(), everything=False, width=60)
    assert lines[0] == "d.raw: Debian 12, x86_64, boots in no generation"
    text = "\n".join(lines)
    order = [text.index(word) for word in ("FAIL", "WARNING", "LEFT", "MENDED")]
    assert order == sorted(order)
    assert "\x1b[31mno" not in text
    assert "\x00" not in text
    assert "sshd" not in text
    assert "sshd: ssh.service" in "\n".join(diagnosis_lines("d.raw", diagnosis(), everything=True, width=60))


def test_without_colours_no_line_is_longer_than_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for width in (60, 80):
        lines = diagnosis_lines("disk.vhdx", diagnosis(), everything=True, width=width)
        assert max(map(len, lines)) <= width
        assert "\x1b" not in "\n".join(lines)


def test_the_text_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert diagnosis_lines("d.raw", diagnosis(), everything=False, width=72) == [
        "d.raw: Debian 12, x86_64, boots in no generation",
        "1 thing fails; 2 warnings, 1 mended by the upload, 1 passed, 1 not",
        "  applicable",
        "not generalized: 1 leftover (vmstamp generalize d.raw); as it is, a",
        "  specialized disk",
        "",
        "FAIL     fstab                                                      boot",
        "         /dev/sda1 is ?[31mno? name",
        "         at     /etc/fstab:3",
        "         why    the VM does not boot",
        "         mend   use UUIDs",
        "                vmstamp doctor --fix does it on a copy",
        "         source azure-docs marketplace/faq.yml",
        "",
        "WARNING  console                                           best practice",
        "         no console",
        "         at     /boot/grub/grub.cfg",
        "         why    the VM does not boot",
        "         mend   use UUIDs",
        "         source azure-docs marketplace/faq.yml",
        "",
        "LEFT     keys: 2 host keys (/etc/ssh)",
        "",
        "MENDED   vhd-container-kind: it is a raw disk",
    ]


@pytest.mark.parametrize(
    ("mode", "chosen", "expected"),
    [
        (None, CHOSEN[4:], "fit for Azure; 1 passed, 1 not applicable"),
        (None, CHOSEN[3:4], "fit for Azure; 1 warning, 0 passed"),
        ("generalized", CHOSEN[3:4], "1 thing fails (generalized); 0 passed"),
        ("generalized", (CHOSEN[0], CHOSEN[3]), "2 things fail (generalized); 0 passed"),
        ("specialized", CHOSEN[3:4], "fit for Azure (specialized); 0 passed, 1 not applicable"),
    ],
)
def test_the_verdict(mode: Mode | None, chosen: tuple[Check, ...], expected: str) -> None:
    assert verdict_text(diagnosis(mode, chosen)) == expected


# What Jenkins' junit-10.xsd allows: the attributes that must and may be, and the children.
JUNIT = {
    "testsuites": ({"name"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped"}, {"testcase"}),
    "testcase": ({"name", "classname"}, {"skipped", "failure", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "skipped": ({"message"}, set()),
    "system-out": (set(), set()),
}


def test_junit_is_what_a_ci_system_reads() -> None:
    text = junit_report("d\x01.raw", diagnosis())
    root = ElementTree.fromstring(text.encode())
    for element in root.iter():
        attributes, children = JUNIT[element.tag]
        assert set(element.attrib) == attributes
        assert {child.tag for child in element} <= children
    suite = root[0]
    assert suite.attrib == {
        "name": "d\ufffd.raw", "tests": "6", "failures": "1", "errors": "0", "skipped": "1"
    }  # fmt: skip
    outcomes = [(case.get("classname"), case.get("name"), [c.tag for c in case]) for case in suite]
    assert outcomes == [
        ("vmstamp.doctor.boot", "fstab", ["failure"]),
        ("vmstamp.doctor.upload", "vhd-container-kind", ["system-out"]),
        ("vmstamp.doctor.best", "console", ["system-out"]),
        ("vmstamp.doctor.security", "keys", ["system-out"]),
        ("vmstamp.doctor.provision", "sshd", []),
        ("vmstamp.doctor.boot", "nothing", ["skipped"]),
    ]
    failure = suite[0][0]
    assert failure.attrib == {"type": "boot", "message": "/dev/sda1 is \ufffd[31mno\ufffd name"}
    assert (failure.text or "").splitlines()[1] == "where: /etc/fstab:3"
    assert (suite[1][0].text or "").startswith("mended by the upload: it is a raw disk")
    assert (suite[2][0].text or "").startswith("warning: no console")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("c ]]> <x> & \"q' .raw", "c ]]> <x> & \"q' .raw"),
        ("b\udcff\udcfe.raw", "b\ufffd\ufffd.raw"),  # a name that is not UTF-8, as Python has it
        ("d\n\x1b[31m\x07\ufffe.raw", "d\n\ufffd[31m\ufffd\ufffd.raw"),
    ],
)
def test_junit_holds_any_name_and_message(name: str, read: str) -> None:
    chosen = (
        check("fails", Severity.BOOT, failed(name, name)),
        check("warns", Severity.BEST, warned(name, name)),
    )
    data = junit_report(name, diagnosis(None, chosen)).encode("utf-8", "strict")
    suite = ElementTree.fromstring(data)[0]
    assert suite.get("name") == read
    failure, output = suite[0][0], suite[1][0]
    assert failure.get("message") == read
    assert (failure.text or "").startswith(f"{read}\nwhere: {read}\n")
    assert (output.text or "").startswith(f"warning: {read}\nwhere: {read}\n")


# The properties of the objects that we write; each of them forbids others. Spec: SARIF 2.1.0, 3.13-3.49
SARIF: dict[str, tuple[set[str], set[str]]] = {
    "log": ({"version", "runs"}, {"$schema"}),
    "run": ({"tool"}, {"invocations", "artifacts", "results"}),
    "driver": ({"name"}, {"semanticVersion", "rules", "informationUri"}),
    "rule": (
        {"id"},
        {"shortDescription", "fullDescription", "help", "helpUri", "defaultConfiguration", "properties"},
    ),
    "result": ({"message"}, {"ruleId", "ruleIndex", "kind", "level", "locations"}),
    "location": (set(), {"physicalLocation", "logicalLocations"}),
    "artifact": (set(), {"location", "roles"}),
}


def has_properties_of(kind: str, document: dict[str, Any]) -> bool:
    must, may = SARIF[kind]
    return must <= set(document) <= must | may


def test_sarif_has_the_structure_of_the_standard() -> None:
    log = json.loads(json.dumps(sarif_report("a b/d.raw", diagnosis())))
    run = log["runs"][0]
    driver, results = run["tool"]["driver"], run["results"]
    assert log["version"] == "2.1.0"
    assert has_properties_of("log", log)
    assert has_properties_of("run", run)
    assert has_properties_of("driver", driver)
    assert all(has_properties_of("rule", rule) for rule in driver["rules"])
    assert all(has_properties_of("result", result) for result in results)
    assert all(has_properties_of("location", result["locations"][0]) for result in results)
    assert all(has_properties_of("artifact", artifact) for artifact in run["artifacts"])
    assert all(driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] for result in results)
    assert all(result["kind"] == "fail" or result["level"] == "none" for result in results)
    assert [(result["kind"], result["level"]) for result in results] == [
        ("fail", "error"),
        ("informational", "none"),
        ("fail", "warning"),
        ("fail", "warning"),
        ("pass", "none"),
        ("notApplicable", "none"),
    ]
    assert results[0]["locations"] == [
        {
            "physicalLocation": {"artifactLocation": {"uri": "a%20b/d.raw", "index": 0}},
            "logicalLocations": [{"fullyQualifiedName": "/etc/fstab:3"}],
        }
    ]
    assert driver["rules"][0]["helpUri"].endswith(
        "/MicrosoftDocs/azure-docs/blob/main/articles/marketplace/faq.yml"
    )
    assert driver["rules"][0]["defaultConfiguration"] == {"level": "error"}


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ("/images/my disk.vhdx", "file:///images/my%20disk.vhdx"),
        ("disk:data-1", "disk:data-1"),
        ("http://127.0.0.1:10000/a/vhds/web.vhd", "http://127.0.0.1:10000/a/vhds/web.vhd"),
    ],
)
def test_what_was_looked_at_is_a_uri(source: str, uri: str) -> None:
    assert artifact_uri(source) == uri


@pytest.mark.parametrize(
    ("source", "end"),
    [
        ("azure-compute-docs linux/no-agent.md", "/articles/virtual-machines/linux/no-agent.md"),
        ("canonical/cloud-init tools/ds-identify.sh", "/canonical/cloud-init/blob/HEAD/tools/ds-identify.sh"),
        ("UEFI 2.10, 5.3", ""),
        ("vmstamp", ""),
    ],
)
def test_a_source_that_names_a_file_has_an_address(source: str, end: str) -> None:
    assert source_url(source).endswith(end) and bool(source_url(source)) is bool(end)


def test_a_plan_says_each_edit_and_what_is_expected() -> None:
    found = diagnosis().findings[0]
    mends = [
        Mend(found, (Write("/etc/fstab", b"12"),), passed("").status),
        Mend(found, (Run(("update-grub",)),)),
    ]
    lines = plan_lines(mends, 80)
    assert [
        line.strip() for line in lines if not line.startswith("\x1b") and not line.startswith("FAIL")
    ] == [
        "* write /etc/fstab (2 bytes)",
        "then: pass",
        "* run update-grub",
        "then: known when it is done",
    ]


def test_what_has_changed_is_told_by_id() -> None:
    mended = (check("fstab", Severity.BOOT, passed("good")), *CHOSEN[1:])
    assert change_lines(diagnosis(), diagnosis(None, mended)) == ["fstab  fail -> pass"]


def test_the_list_has_every_check_once() -> None:
    lines = list_lines(CHECKS, 80)
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert sorted(listed) == sorted(one.id for one in CHECKS)
    assert max(map(len, lines)) <= 80
    assert check_document(CHOSEN[0])["fix"] is True
    assert check_document(CHOSEN[3])["identity"] is True


def test_the_gravest_comes_first_and_the_marketplaces_rules_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    chosen = (
        check("size", Severity.CERTIFICATION, warned("too small")),
        check("console", Severity.BEST, warned("none")),
        check("sshd", Severity.PROVISION, failed("none")),
        check("fstab", Severity.BOOT, failed("sda")),
    )
    lines = diagnosis_lines("d", diagnosis(None, chosen), everything=False, width=80)
    heads = [line.split()[1].rstrip(":") for line in lines if line.startswith(("FAIL", "WARNING"))]
    assert heads == ["fstab", "sshd", "console", "size"]
    assert lines[-1] == "WARNING  size: too small"


def test_with_all_each_reason_that_makes_checks_not_applicable_is_said_once() -> None:
    chosen = (
        check("nothing", Severity.BOOT, passed("")),
        check("keys", Severity.BOOT, passed(""), identity=True),
    )
    found = diagnosis("specialized", (*chosen, check("more", Severity.BOOT, passed(""), identity=True)))
    lines = diagnosis_lines("d", found, everything=True, width=80)
    assert "-        not a question for this disk: nothing" in lines
    assert "-        a specialized disk keeps its identity: keys, more" in lines


def test_a_plan_tells_what_is_expected_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    before = diagnosis()
    expected = diagnosis(None, (check("fstab", Severity.BOOT, passed("good")), *CHOSEN[1:]))
    edits = (Write("/etc/fstab", b"12"),)
    plan = Plan((Mend(before.findings[0], edits, passed("").status),), before.facts)
    assert planned_lines(plan, before, expected, 100)[-4:] == [
        "expected:",
        "  fstab  fail -> pass",
        "  fit for Azure; 2 warnings, 1 mended by the upload, 2 passed, 1 not applicable",
        "nothing was changed",
    ]
    programs = Plan((Mend(before.findings[0], (*edits, Run(("update-grub",)))),), before.facts)
    assert "the guest's programs" in "".join(planned_lines(programs, before, expected, 200))
    nothing = Plan((), before.facts)
    assert planned_lines(nothing, before, before, 80) == ["nothing of it can be mended offline"]
    sound = diagnosis(None, CHOSEN[4:])
    assert planned_lines(nothing, sound, sound, 80) == ["there is nothing to mend"]


@pytest.mark.parametrize(
    "source",
    [
        "a directory/d.vhdx",
        "/x/\u00fc.vhd",
        "disk:data-1",
        "https://account.blob.core.windows.net/vhds/web.vhd",
    ],
)
def test_the_sarif_log_is_of_the_official_schema(source: str) -> None:
    is_sarif = fastjsonschema.compile(json.loads(SCHEMA.read_text()))
    is_sarif(sarif_report(source, diagnosis()))
    log = sarif_report(source, diagnosis())
    log["runs"][0]["results"][0]["kind"] = "no kind"
    with pytest.raises(fastjsonschema.JsonSchemaException, match="kind"):
        is_sarif(log)


def test_who_waits_for_a_program_of_the_guest_is_told_so() -> None:
    finding = diagnosis().findings[0]
    for argv, told in ((("dracut", "--force"), True), (("update-grub",), False)):
        made = Plan((Mend(finding, (Run(argv),)),), diagnosis().facts)
        assert bool(patience_lines(made, 80)) is told
