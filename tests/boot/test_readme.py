"""Every command of the README's first hour, in its order, on a real Debian."""

import re
from pathlib import Path

import pytest

from tests.boot.road import Stamp, stamp_in

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for language, block in BLOCK.findall(README.read_text())
    if language == "console"
    for line in block.splitlines()
]
SDK_EXAMPLE = next(block for language, block in BLOCK.findall(README.read_text()) if language == "python")
SHOWS = {
    "vmstamp vm list": "first",
    "vmstamp vm show first": "ready  ",
    "vmstamp vm ssh first -- uname -a": "Linux first",
    "vmstamp vm log first": "Linux version",
    "vmstamp image show golden": "golden-datadisk-0-",
    "vmstamp vm ssh web-1 -- cat /etc/motd": "made on first",
}


def run_sdk_example(stamp: Stamp, names: list[str]) -> None:
    example = stamp.directory / "example.py"
    example.write_text(SDK_EXAMPLE)
    done = stamp.shell(f'eval "$(vmstamp env)"; python {example}')
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(names)


@pytest.mark.boot
@pytest.mark.timeout(1800)
def test_every_command_of_the_first_hour_does_what_the_readme_says(tmp_path: Path) -> None:
    with stamp_in(tmp_path) as stamp:
        for command in COMMANDS:
            said = stamp.shell(command)
            assert said.returncode == 0, f"{command}: {said.stdout}{said.stderr}"
            assert SHOWS.get(command, "") in said.stdout, f"{command}: {said.stdout}"
            if command.startswith("vmstamp vm create first"):
                run_sdk_example(stamp, ["first"])
        assert not stamp.home.endpoint.exists()
        assert list(stamp.home.machines.iterdir()) == []
        assert list(stamp.home.content.iterdir()), "the uploaded and captured VHDs stay"
