from __future__ import annotations

from pathlib import Path

import pytest

from vmstamp.errors import AzureError, Detail, DiskError, ProgramError, ProgramMissing, VmstampError


def test_a_message_and_its_hint_are_apart() -> None:
    error = VmstampError("the port is taken", hint="choose another")
    assert str(error) == error.message == "the port is taken"
    assert error.hint == "choose another"
    assert VmstampError("plain").hint == ""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DiskError("web.vhd", "too short"), "web.vhd: too short"),
        (DiskError("web.vhd", "bad sum", offset=512), "web.vhd: at byte 512: bad sum"),
        (DiskError("w.vhdx", "no", offset=0, spec="[MS-VHDX] 2.2"), "w.vhdx: at byte 0: no ([MS-VHDX] 2.2)"),
    ],
)
def test_a_disk_error_says_where_and_against_what(error: DiskError, text: str) -> None:
    assert str(error) == text


def test_a_disk_error_keeps_its_parts() -> None:
    error = DiskError("web.vhd", "bad sum", offset=512, spec="VHD 1.0")
    assert (error.path, error.offset, error.spec) == (Path("web.vhd"), 512, "VHD 1.0")


@pytest.mark.parametrize(
    ("status", "stderr", "text"),
    [
        (1, "", "qemu-img failed with exit status 1"),
        (2, "a\nlast words\n\n", "qemu-img failed with exit status 2: last words"),
        (-11, "", "qemu-img was ended by signal 11"),
    ],
)
def test_a_programs_end_is_told_in_words(status: int, stderr: str, text: str) -> None:
    assert str(ProgramError(["qemu-img", "check"], status, stderr)) == text


def test_a_missing_program_is_no_failed_one() -> None:
    assert not issubclass(ProgramMissing, ProgramError)


def test_an_answer_in_azures_name_keeps_azures_parts() -> None:
    details = [Detail("Inner", "why", "properties.size")]
    error = AzureError(
        409, "Conflict", "Not now.", target="vm", details=details, headers={"Retry-After": "1"}
    )
    assert (error.status, error.code, str(error), error.target) == (409, "Conflict", "Not now.", "vm")
    assert error.details == (Detail("Inner", "why", "properties.size"),)
    assert error.headers == {"Retry-After": "1"}
