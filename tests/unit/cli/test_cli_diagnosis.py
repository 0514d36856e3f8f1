"""The probable cause of a provisioning that failed."""

import pytest

from vmstamp.cli.diagnosis import clean_console, diagnose

BOOTED = [("started", ""), ("firmware", ""), ("kernel", "")]


@pytest.mark.parametrize(
    ("stages", "serial", "reached", "cause"),
    [
        ([], "", "", "did not even start"),
        ([("started", "")], "BdsDxe: No bootable option or device was found.", "started", "nothing to boot"),
        ([("started", ""), ("firmware", "")], "", "firmware", "never spoke on the serial console"),
        (BOOTED, "[    1.2] eth0: link up\n", "kernel", "never asked for an address"),
        (BOOTED, "Kernel panic - not syncing: VFS: Unable to mount root fs", "kernel", "root file system"),
        (BOOTED, "Kernel panic - not syncing: Attempted to kill init!", "kernel", "panicked"),
        (BOOTED, "BusyBox v1.35\n(initramfs) ", "kernel", "rescue shell"),
        (BOOTED, "You are in emergency mode. After logging in", "kernel", "rescue shell"),
        (BOOTED, "mount: /mnt: unknown filesystem type 'udf'.", "kernel", "lacks UDF"),
        ([*BOOTED, ("dhcp", "")], "web login: ", "dhcp", "no agent asked"),
        ([*BOOTED, ("dhcp", ""), ("wireserver", "")], "", "wireserver", "spoke to the fabric"),
        ([*BOOTED, ("dhcp", ""), ("ready", "cloud-init")], "login:", "ready", "SSH does not answer"),
        ([*BOOTED, ("stopped", "")], "reboot: Power down", "kernel", "stopped before"),
    ],
)
def test_the_cause_follows_from_the_stage_and_the_console(
    stages: list[tuple[str, str]], serial: str, reached: str, cause: str
) -> None:
    found = diagnose(stages, serial)
    assert found.reached == reached
    assert cause in found.cause
    assert found.mend


def test_the_agents_own_report_wins_over_everything() -> None:
    found = diagnose(
        [*BOOTED, ("wireserver", ""), ("failed", "ProvisioningFailed: no ovf-env.xml")], "Kernel panic"
    )
    assert found.evidence == "ProvisioningFailed: no ovf-env.xml"
    assert "reported that provisioning failed" in found.cause


def test_the_evidence_is_the_line_of_the_console_without_its_colours() -> None:
    found = diagnose(BOOTED, "ok\n\x1b[1;31mKernel panic - not syncing\x1b[0m\r\nend\n")
    assert found.evidence == "Kernel panic - not syncing"
    assert clean_console("a\r\n\r\n\x1b[2Jb") == ["a", "b"]
