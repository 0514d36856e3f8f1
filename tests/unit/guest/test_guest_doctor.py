"""diagnose: how findings are weighed for a target, which checks are chosen, and how mends are planned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from vmstamp.errors import GuestError, VmstampError
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.doctor import (
    BAD,
    diagnose_facts,
    groups_of,
    plan_mends,
    select,
    to_be_fixed,
)
from vmstamp.guest.edits import Edit, Run, SetValue, Write
from vmstamp.guest.facts import Facts, Target
from vmstamp.guest.finding import Check, Severity, Status, Verdict, failed, judge, passed, warned
from vmstamp.guest.identity import identity_in

FAIL, WARNING, PASS, NOT = Status.FAIL, Status.WARNING, Status.PASS, Status.NOT_APPLICABLE
LIST = "/etc/list"


def a_check(id: str = "x", run: Any = lambda facts: failed("bad"), **changes: Any) -> Check:
    check = Check(id, "t", Severity.BOOT, "w", "s", lambda facts: True, run, "m")
    return replace(check, **changes)


@pytest.mark.parametrize(
    ("changes", "target", "expected"),
    [
        ({}, Target(), FAIL),
        ({}, Target(mode="specialized"), FAIL),
        ({"identity": True}, Target(), WARNING),
        ({"identity": True}, Target(mode="generalized"), FAIL),
        ({"identity": True}, Target(mode="marketplace"), FAIL),
        ({"identity": True}, Target(mode="specialized"), NOT),
        ({"identity": True, "run": lambda facts: warned("a trace")}, Target(mode="generalized"), WARNING),
        ({"severity": Severity.CERTIFICATION}, Target(), WARNING),
        ({"severity": Severity.CERTIFICATION}, Target(mode="generalized"), WARNING),
        ({"severity": Severity.CERTIFICATION}, Target(mode="marketplace"), FAIL),
        (
            {"severity": Severity.CERTIFICATION, "run": lambda facts: warned("small")},
            Target(mode="marketplace"),
            FAIL,
        ),
        ({"generations": (1,)}, Target(), NOT),  # the guest boots as Gen2 only
        ({"generations": (1,)}, Target(1), FAIL),
        ({"generations": (2,)}, Target(1), NOT),
        ({"generations": (2,)}, Target(2), FAIL),
        ({"run": lambda facts: passed("good"), "identity": True}, Target(mode="marketplace"), PASS),
    ],
)
def test_a_verdict_is_weighed_for_the_target(
    guests: Any, changes: dict[str, Any], target: Target, expected: Status
) -> None:
    facts = replace(guests.facts({}), target=target)
    assert judge(a_check(**changes), facts).status is expected


def unreadable(facts: Facts) -> Verdict:
    raise GuestError("damaged")


@pytest.mark.parametrize(
    ("identity", "mode", "expected"),
    [(False, "generalized", WARNING), (True, None, WARNING), (True, "generalized", FAIL)],
)
def test_what_cannot_be_read_is_never_called_generalized(
    guests: Any, identity: bool, mode: Any, expected: Status
) -> None:
    finding = judge(
        a_check(run=unreadable, identity=identity), replace(guests.facts({}), target=Target(mode=mode))
    )
    assert (finding.status, finding.found) == (expected, "could not be checked: damaged")


def test_a_dirty_file_system_is_asked_of_with_identity_and_fails_then(guests: Any) -> None:
    facts = guests.with_root(guests.facts({}), dirty="its journal needs recovery")
    for target, expected in ((Target(), WARNING), (Target(mode="generalized"), FAIL)):
        found = diagnose_facts(replace(facts, target=target), select(["generalized"]))
        assert [(one.id, one.status) for one in found.findings if one.status in BAD] == [
            ("fs-dirty", expected)
        ]
    assert not found.fit


@pytest.mark.parametrize(
    ("generation", "expected", "found"),
    [(None, PASS, "boots as Gen2"), (2, PASS, "boots as Gen2"), (1, FAIL, "boots as Gen2, not as Gen1")],
)
def test_a_disk_that_does_not_boot_in_the_targets_generation_fails(
    guests: Any, generation: int | None, expected: Status, found: str
) -> None:
    facts = replace(guests.facts({}), target=Target(generation))
    diagnosis = diagnose_facts(facts, select(["gen-detect"]))
    assert [(one.status, one.found) for one in diagnosis.findings] == [(expected, found)]


def test_a_good_guest_is_fit_and_its_document_says_so(guests: Any) -> None:
    found = diagnose_facts(guests.facts({}))
    document = found.to_json()
    assert found.fit and document["fit"] is True
    assert document["system"] == {
        "kind": "Linux", "id": "debian", "version_id": "12",
        "name": "Debian GNU/Linux 12 (bookworm)", "architecture": "x86_64",
    }  # fmt: skip
    assert document["boots"] == [2]
    assert document["counts"]["fail"] == 0
    assert [one["id"] for one in document["findings"]] == [check.id for check in CHECKS]
    assert set(document["findings"][0]) == {
        "id", "status", "title", "found", "where", "why", "mend", "severity", "source",
        "identity", "fixable", "mended_by_upload",
    }  # fmt: skip


def test_what_the_upload_mends_does_not_make_a_disk_unfit(guests: Any) -> None:
    found = diagnose_facts(guests.facts({}, guests.disk(size=2048 * 2**20 + 512, format="raw", subformat="")))
    assert [one.id for one in found.to_be_mended] == ["vhd-container-kind", "vhd-size-1mib"]
    assert found.fit
    assert found.counts()["mended_by_upload"] == 2


def test_of_a_blob_no_upload_mends_anything(guests: Any) -> None:
    disk = guests.disk(format="raw", subformat="")
    disk.uploaded = True
    found = diagnose_facts(guests.facts({}, disk))
    assert [one.id for one in found.failures] == ["vhd-container-kind"]


def test_leftovers_are_counted_and_unknown_without_a_check_of_identity(guests: Any) -> None:
    facts = guests.facts({})
    found = diagnose_facts(facts, [a_check("left", identity=True), a_check("other")])
    assert ([one.id for one in found.leftovers], found.generalized) == (["left"], False)
    assert diagnose_facts(facts, [a_check("other")]).generalized is None
    clean = a_check("left", run=lambda facts: passed("clean"), identity=True)
    assert diagnose_facts(facts, [clean]).generalized is True


def test_traces_are_listed_and_do_not_unmake_a_generalized_disk(guests: Any) -> None:
    facts = guests.facts({"/root/.bash_history": "ls\n", "/etc/hostname": "web1\n"})
    found = diagnose_facts(facts)
    assert {one.id for one in found.leftovers} == {"shell-history", "hostname"}
    assert found.generalized and identity_in(facts.survey).generalized


@pytest.mark.parametrize(
    "changes", [{"/etc/machine-id": "0" * 32 + "\n"}, {"/etc/ssh/ssh_host_rsa_key": "key"}, {}]
)
def test_doctor_and_identity_say_the_same(guests: Any, changes: dict[str, str]) -> None:
    facts = guests.facts(changes)
    assert diagnose_facts(facts).generalized is identity_in(facts.survey).generalized is (not changes)
    doubtful = guests.with_root(facts, dirty="not unmounted")
    assert diagnose_facts(doubtful).generalized is identity_in(doubtful.survey).generalized


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["a", "b", "win-c"]),
        (["a"], ["a"]),
        (["win-c", "a"], ["a", "win-c"]),
        (["boot"], ["a", "win-c"]),
        (["best"], ["b"]),
        (["generalized"], ["b"]),
        (["windows", "b"], ["b", "win-c"]),
        (["linux"], ["a", "b"]),
        (["gen2"], ["a", "win-c"]),
    ],
)
def test_checks_are_chosen_by_id_and_by_group(words: list[str], expected: list[str]) -> None:
    checks = [
        a_check("a"),
        a_check("b", severity=Severity.BEST, identity=True, generations=(1,)),
        a_check("win-c"),
    ]
    assert [check.id for check in select(words, checks)] == expected


@pytest.mark.parametrize(
    ("word", "hint"),
    [("fstab-device-name", "fstab-device-names"), ("bot", "boot"), ("zzzzzz", "--list")],
)
def test_an_unknown_word_names_what_may_be_meant(word: str, hint: str) -> None:
    with pytest.raises(VmstampError, match=word) as raised:
        select([word])
    assert hint in raised.value.hint


def test_no_group_has_the_name_of_a_check() -> None:
    assert not set(groups_of(CHECKS)) & {check.id for check in CHECKS}


def adds(line: str, *more: Edit, id: str = "", **changes: Any) -> Check:
    """A check that fails unless LIST has the line; its fix appends it."""

    def run(facts: Facts) -> Verdict:
        there = line in (facts.guest.find_text(LIST) or "").splitlines()
        return passed("there") if there else failed(f"no {line}", LIST)

    def fix(facts: Facts) -> Iterable[Edit]:
        return [Write(LIST, (facts.guest.find_text(LIST) or "").encode() + f"{line}\n".encode()), *more]

    return a_check(id or line, run, fix=fix, **changes)


def test_mends_of_one_file_compose(guests: Any) -> None:
    planned = plan_mends(guests.facts({LIST: "0\n"}), [adds("1"), adds("2"), adds("3")])
    assert [edit.data for edit in planned.edits if isinstance(edit, Write)] == [
        b"0\n1\n", b"0\n1\n2\n", b"0\n1\n2\n3\n",
    ]  # fmt: skip
    assert [mend.expected for mend in planned.mends] == [PASS, PASS, PASS]


def test_what_an_earlier_mend_did_is_not_done_again(guests: Any) -> None:
    planned = plan_mends(guests.facts({}), [adds("1"), adds("1", id="again")])
    assert [mend.finding.id for mend in planned.mends] == ["1"]


def test_a_later_mend_that_breaks_an_earlier_one_shows(guests: Any) -> None:
    def wipe(facts: Facts) -> Iterable[Edit]:
        return [Write(LIST, b"")]

    planned = plan_mends(guests.facts({}), [adds("1"), a_check("wipe", fix=wipe)])
    assert [(mend.finding.id, mend.expected) for mend in planned.mends] == [("1", FAIL), ("wipe", FAIL)]


def test_the_outcome_of_a_program_or_a_hive_is_not_claimed(guests: Any) -> None:
    run, value = Run(("update-grub",)), SetValue("/h", "k", "n", "REG_DWORD", 1)
    checks = [a_check("run", fix=lambda facts: [run]), a_check("hive", fix=lambda facts: [value])]
    planned = plan_mends(guests.facts({}), [*checks, adds("1", run)])
    assert [mend.expected for mend in planned.mends] == [None, None, PASS]


def test_programs_run_once_and_after_all_that_is_written(guests: Any) -> None:
    run = Run(("update-grub",))
    planned = plan_mends(guests.facts({}), [adds("1", run), adds("2", run)])
    assert [type(edit) for edit in planned.edits] == [Write, Write, Run]


def test_edits_that_cannot_be_done_are_left_out(guests: Any) -> None:
    impossible = a_check("x", fix=lambda facts: [Write("/etc", b"")])
    unread = a_check("y", fix=lambda facts: [Write("/a", facts.guest.read_bytes("/none"))])
    planned = plan_mends(guests.facts({}), [impossible, unread, adds("1")])
    assert [mend.finding.id for mend in planned.mends] == ["1"]


@pytest.mark.parametrize(
    ("mode", "named", "expected"),
    [(None, False, ["a"]), (None, True, ["a", "left"]), ("generalized", False, ["a", "left"])],
)
def test_identity_is_mended_only_when_it_is_asked_for(
    guests: Any, mode: Any, named: bool, expected: list[str]
) -> None:
    facts = replace(guests.facts({}), target=Target(mode=mode))
    found = diagnose_facts(facts, [adds("a"), adds("left", identity=True)])
    assert [check.id for check in to_be_fixed(found, named=named)] == expected


def test_what_can_be_mended_is_told(guests: Any) -> None:
    empty = a_check("empty", fix=lambda facts: [])
    found = diagnose_facts(guests.facts({}), [adds("1"), empty, a_check("none")])
    assert found.fixable == {"1"}


def test_the_facts_after_a_plan_are_those_of_all_its_edits(guests: Any) -> None:
    facts = guests.facts({})
    checks = [adds("1"), adds("2")]
    planned = plan_mends(facts, checks)
    assert planned.is_foreseen
    assert diagnose_facts(planned.after, checks).fit
    assert not diagnose_facts(facts, checks).fit, "the facts before stay"
    assert not plan_mends(facts, [adds("1", Run(("update-grub",)))]).is_foreseen


def test_what_an_edit_enables_is_seen_by_the_check_after_it(guests: Any) -> None:
    unit = "/etc/systemd/system/multi-user.target.wants/walinuxagent.service"
    planned = plan_mends(guests.facts({unit: None}), select(["wa-present"]))
    assert [mend.expected for mend in planned.mends] == [Status.PASS]
