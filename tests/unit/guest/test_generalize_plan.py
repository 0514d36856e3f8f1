"""The plan of generalizing: users with all that is theirs, order, idempotence, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmstamp.errors import GuestError
from vmstamp.guest.edits import Empty, Remove, Run, Truncate, Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.generalize import KNOWN_AS, Plan, check_ids, compact, plan, plan_windows, refuse_dirty
from vmstamp.guest.identity import STEPS, WINDOWS_STEPS, identity_of
from vmstamp.guest.identity.step import Choice, Default
from vmstamp.guest.overlay import Overlay, lay_over

STATE = r"Microsoft\Windows\CurrentVersion\Setup\State"
ROOT = "root:x:0:0:root:/root:/bin/bash\n"
NOBODY = "nobody:x:65534:65534::/nonexistent:/bin/false\n"
USED = {
    "/etc/passwd": f"{ROOT}azureuser:x:1000:1000:Ubuntu:/home/azureuser:/bin/bash\n{NOBODY}",
    "/etc/shadow": "root:*:1::::::\nazureuser:$6$secret:1::::::\nnobody:*:1::::::\n",
    "/etc/group": "root:x:0:\nsudo:x:27:azureuser\ndocker:x:999:eve,azureuser\nazureuser:x:1000:\n",
    "/etc/gshadow": "root:*::\nsudo:*::azureuser\nazureuser:!::\n",
    "/etc/subuid": "azureuser:100000:65536\neve:165536:65536\n",
    "/etc/subgid": "azureuser:100000:65536\n",
    "/etc/passwd-": ROOT,
    "/home/azureuser/.ssh/authorized_keys": "ssh-rsa AAAA\n",
    "/home/azureuser/.bash_history": "ls\n",
    "/var/mail/azureuser": "mail",
    "/var/spool/cron/crontabs/azureuser": "* * * * * x\n",
    "/var/spool/cron/atjobs/a0001": "#!/bin/sh\n# atrun uid=1000 gid=1000\n# mail azureuser 0\n",
    "/var/lib/waagent/ovf-env.xml": "<ns1:UserName>azureuser</ns1:UserName>",
    "/var/lib/waagent/provisioned": "i-1",
    "/var/lib/cloud/instance": "-> instances/i-1",
    "/var/lib/cloud/instances/i-1/user-data.txt": "#cloud-config\n",
    "/etc/sudoers.d/90-cloud-init-users": "# made\nazureuser ALL=(ALL) NOPASSWD:ALL\n",
    "/etc/sudoers.d/tools": "azureuser ALL=(ALL) /bin/ls\n%ops ALL=(ALL) ALL\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/ssh/ssh_host_rsa_key": "key",
    "/etc/hostname": "web1\n",
    "/var/log/syslog": "x",
    "/var/log/cloud-init.log": "x",
    "/tmp/x": "x",
}
CHOICES = st.builds(
    Choice,
    keep=st.frozensets(st.sampled_from(["users-pre-existing", "machine-id", "logs-spool"])),
    also=st.frozensets(st.sampled_from(["cron-spool", "private-keys"])),
    users=st.frozensets(st.sampled_from(["azureuser", "nobody at all"])),
    all_users=st.booleans(),
)


def after(facts: Facts, planned: Plan) -> Facts:
    overlay = Overlay(facts.guest)
    overlay.apply(planned.edits)
    return lay_over(facts, overlay)


def test_a_used_guest_is_generalized_and_a_second_plan_is_empty(guests: Any) -> None:
    facts = guests.facts(USED)
    planned = plan(facts.survey)
    made = after(facts, planned)
    assert identity_of(made.guest).leftovers == ()
    assert planned.left.leftovers == ()
    assert plan(made.survey).tasks == ()


def test_a_user_goes_with_all_that_is_its_own_and_nothing_else(guests: Any) -> None:
    facts = guests.facts(USED)
    files = after(facts, plan(facts.survey)).guest
    assert files.find_text("/etc/passwd") == f"{ROOT}{NOBODY}"
    assert files.find_text("/etc/shadow") == "root:*:1::::::\nnobody:*:1::::::\n"
    assert files.find_text("/etc/group") == "root:x:0:\nsudo:x:27:\ndocker:x:999:eve\n"
    assert files.find_text("/etc/gshadow") == "root:*::\nsudo:*::\n"
    assert files.find_text("/etc/subuid") == "eve:165536:65536\n"
    assert files.find_text("/etc/sudoers.d/tools") == "%ops ALL=(ALL) ALL\n"
    for path in (
        "/home/azureuser",
        "/var/mail/azureuser",
        "/var/spool/cron/crontabs/azureuser",
        "/var/spool/cron/atjobs/a0001",
        "/etc/sudoers.d/90-cloud-init-users",
        "/etc/passwd-",
    ):
        assert not files.exists(path), path
    assert files.is_directory("/home")


def test_a_file_of_several_steps_is_written_once_with_all_their_changes(guests: Any) -> None:
    shadow = USED["/etc/shadow"].replace("root:*", "root:$6$secret")
    facts = guests.facts({**USED, "/etc/shadow": shadow})
    writes = [edit for edit in plan(facts.survey).edits if isinstance(edit, Write) and "shadow" in edit.path]
    assert [edit.path for edit in writes] == ["/etc/gshadow", "/etc/shadow"]
    assert writes[1].data == b"root:!*:1::::::\nnobody:*:1::::::\n"


def test_a_person_whom_no_agent_made_stays_and_is_told(guests: Any) -> None:
    facts = guests.facts({"/etc/passwd": f"{ROOT}eve:x:1001:1001::/home/eve:/bin/sh\n"})
    planned = plan(facts.survey)
    assert planned.tasks == ()
    assert not planned.left.generalized
    assert "--user eve" in planned.left.leftovers[0].detail
    for choice in (Choice(users=frozenset({"eve"})), Choice(all_users=True)):
        assert plan(facts.survey, choice).left.generalized


def test_a_user_that_is_kept_is_identity_all_the_same_but_loses_its_keys(guests: Any) -> None:
    facts = guests.facts(USED)
    planned = plan(facts.survey, Choice(keep=frozenset({"users-pre-existing"})))
    assert {left.id for left in planned.left.leftovers} == {"users-pre-existing", "cron-spool"}
    assert not after(facts, planned).guest.exists("/home/azureuser/.ssh/authorized_keys")
    assert after(facts, planned).guest.exists("/home/azureuser")


def test_the_data_below_a_linked_home_go_with_it(guests: Any) -> None:
    changes = {
        "/etc/passwd": f"{ROOT}eve:x:1001:1001::/home/eve:/bin/sh\n",
        "/home/eve": "-> ../data/eve",
        "/data/eve/file": "x",
    }
    facts = guests.facts(changes)
    files = after(facts, plan(facts.survey, Choice(all_users=True))).guest
    assert not files.exists("/data/eve")
    assert files.readlink("/home/eve") is None


@pytest.mark.parametrize("home", ["/", "/var/www", "/home", "/usr/eve", "/srv/../etc/eve", "", "/home/root2"])
def test_a_home_that_may_be_more_than_the_users_stays(guests: Any, home: str) -> None:
    changes = {
        "/etc/passwd": f"{ROOT}eve:x:1001:1001::{home}:/bin/sh\nadm:x:3:3::/home/root2/adm:/bin/sh\n",
        "/var/www/page": "x",
        "/usr/eve/x": "x",
        "/home/root2/adm/x": "x",
    }
    facts = guests.facts(changes)
    files = after(facts, plan(facts.survey, Choice(users=frozenset({"eve"})))).guest
    for path in ("/var/www/page", "/usr/eve/x", "/home/root2/adm/x", "/etc/passwd", "/home"):
        assert files.exists(path), path
    assert "eve" not in (files.find_text("/etc/passwd") or "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(choice=CHOICES, chosen=st.sets(st.sampled_from(sorted(USED))))
def test_a_plan_done_leaves_nothing_to_plan_and_what_it_foretold(
    guests: Any, choice: Choice, chosen: set[str]
) -> None:
    facts = guests.facts({path: USED[path] for path in chosen})
    planned = plan(facts.survey, choice)
    made = after(facts, planned)
    assert identity_of(made.guest) == planned.left
    again = plan(made.survey, choice)
    assert [task.step.id for task in again.tasks] == []


@pytest.mark.parametrize(
    ("edits", "kept"),
    [
        ((Write("/a", b"1"), Write("/a", b"2")), (Write("/a", b"2"),)),
        ((Write("/d/a", b"1"), Remove("/d")), (Remove("/d"),)),
        ((Remove("/d"), Write("/d/a", b"1")), (Remove("/d"), Write("/d/a", b"1"))),
        ((Write("/dd", b"1"), Remove("/d")), (Write("/dd", b"1"), Remove("/d"))),
        ((Run(("x",)), Remove("/a"), Run(("x",), 1.0)), (Remove("/a"), Run(("x",), 1.0))),
        ((Truncate("/a"), Empty("/a"), Truncate("/a")), (Empty("/a"), Truncate("/a"))),
    ],
)  # fmt: skip
def test_edits_are_made_fewer_with_the_same_outcome(edits: Any, kept: Any) -> None:
    assert compact(edits) == kept


def test_a_step_that_is_not_there_or_never_done_cannot_be_chosen() -> None:
    assert check_ids(["users", "machine-id"]) == {"users-pre-existing", "machine-id"}
    with pytest.raises(GuestError, match="no step nonsense"):
        check_ids(["nonsense"])
    with pytest.raises(GuestError, match="never done"):
        check_ids(["fs-uuids"])


@pytest.mark.parametrize("name", sorted(KNOWN_AS))
def test_another_programs_name_of_an_operation_leads_to_the_step(name: str) -> None:
    assert KNOWN_AS[name] in {step.id for step in STEPS if step.default is not Default.NEVER}
    with pytest.raises(GuestError, match=f"no step {name}") as caught:
        check_ids([name])
    assert caught.value.hint.startswith(f"the step {KNOWN_AS[name]} does it")


def test_a_dirty_file_system_is_refused_with_what_to_do(guests: Any) -> None:
    facts = guests.with_root(guests.facts({}), dirty="its journal needs recovery")
    with pytest.raises(GuestError, match=r"a\.vhd: partition 2: its journal needs recovery") as caught:
        refuse_dirty(facts.survey, "a.vhd")
    assert "shut it down" in caught.value.hint


def test_names_that_are_no_text_can_be_told(guests: Any) -> None:
    passwd = ROOT.encode() + b"b\xffb:x:1001:1001::/home/b:/bin/sh\n"
    facts = guests.facts({"/etc/passwd": passwd})
    planned = plan(facts.survey, Choice(all_users=True))
    assert planned.left.generalized
    assert "user b?b" in json.dumps([task.to_json() for task in planned.tasks])
    assert after(facts, planned).guest.read_bytes("/etc/passwd") == ROOT.encode()


def test_a_windows_that_sysprep_generalized_is_told_so(windows: Any) -> None:
    planned = plan_windows(windows.facts().survey)
    assert planned.left.generalized
    assert planned.tasks == ()


def test_a_windows_in_use_is_refused_with_its_state(windows: Any) -> None:
    survey = windows.facts(software={STATE: {"ImageState": "IMAGE_STATE_COMPLETE"}}).survey
    with pytest.raises(GuestError, match="IMAGE_STATE_COMPLETE") as caught:
        plan_windows(survey)
    assert "/generalize" in caught.value.hint
    planned = plan_windows(survey, b"<unattend/>")
    assert planned.edits == (Write("/Windows/Panther/unattend.xml", b"<unattend/>"),)
    assert [left.id for left in planned.left.leftovers] == ["win-imagestate"]
    with pytest.raises(GuestError, match="no element <unattend>"):
        plan_windows(survey, b"<html/>")


PANTHER = "/Windows/Panther"
WINDOWS_TRACES = [
    ("win-answer-files", f"{PANTHER}/Unattend/unattend.xml"),
    ("win-answer-files", "/Windows/System32/Sysprep/Unattend.xml"),
    ("win-panther-logs", f"{PANTHER}/setupact.log"),
    ("win-panther-logs", f"{PANTHER}/UnattendGC/diagwrn.xml"),
    ("win-panther-logs", "/Windows/System32/Sysprep/Panther/setuperr.log"),
    ("win-temp", "/Windows/Temp/x.tmp"),
    ("win-error-reports", "/ProgramData/Microsoft/Windows/WER/ReportQueue/x/Report.wer"),
    ("win-error-reports", "/Windows/MEMORY.DMP"),
    ("win-error-reports", "/Windows/Minidump/1.dmp"),
    ("win-update-cache", "/Windows/SoftwareDistribution/Download/x/y.cab"),
    ("win-event-logs", "/Windows/System32/winevt/Logs/System.evtx"),
]


@pytest.mark.parametrize(("step", "path"), WINDOWS_TRACES)
def test_what_sysprep_leaves_goes_from_a_generalized_windows(windows: Any, step: str, path: str) -> None:
    queue = f"{PANTHER}/actionqueue/specialize.uaq"
    facts = windows.facts({path: b"x", queue: b"x"})
    planned = plan_windows(facts.survey, choice=Choice(also=frozenset({step})))
    assert [task.step.id for task in planned.tasks] == [step]
    assert planned.left.leftovers == ()
    made = after(facts, planned)
    assert not made.guest.exists(path) and made.guest.exists(queue)
    assert plan_windows(made.survey).tasks == ()
    kept = plan_windows(facts.survey, choice=Choice(keep=frozenset({step})))
    assert [left.id for left in kept.left.leftovers] == [step] and kept.left.generalized


def test_every_step_for_windows_has_a_case() -> None:
    assert {step for step, _ in WINDOWS_TRACES} == {step.id for step in WINDOWS_STEPS}
    assert check_ids(["win-temp"]) == {"win-temp"}


def test_the_traces_of_a_windows_in_use_are_sysprep_s(windows: Any) -> None:
    traces = {path: b"x" for _, path in WINDOWS_TRACES}
    survey = windows.facts(traces, software={STATE: {"ImageState": "IMAGE_STATE_COMPLETE"}}).survey
    assert [task.step.id for task in plan_windows(survey, b"<unattend/>").tasks] == ["answer-file"]


def test_an_answer_file_is_placed_once_and_the_ones_before_it_go(windows: Any) -> None:
    facts = windows.facts({f"{PANTHER}/Unattend/Unattend.xml": b"<unattend>old"})
    planned = plan_windows(facts.survey, b"<unattend/>")
    made = after(facts, planned)
    assert made.guest.find_text(f"{PANTHER}/unattend.xml") == "<unattend/>"
    assert not made.guest.exists(f"{PANTHER}/Unattend/Unattend.xml")
    assert [left.where for left in planned.left.leftovers] == [f"{PANTHER}/unattend.xml"]
    assert plan_windows(made.survey, b"<unattend/>").tasks == ()


def test_a_hibernated_windows_is_refused(windows: Any) -> None:
    with pytest.raises(GuestError, match="hibernated") as caught:
        plan_windows(windows.facts({"/hiberfil.sys": b"HIBR"}).survey)
    assert "powercfg" in caught.value.hint
