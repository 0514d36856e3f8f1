"""Settings come from the environment, else from their defaults."""

import re
from pathlib import Path

import pytest

from vmstamp import settings
from vmstamp.errors import StampError

README = Path(__file__).parents[3] / "README.md"


def test_defaults() -> None:
    assert settings.home({}).root == Path.home() / ".vmstamp"
    assert (settings.arm_port({}), settings.blob_port({})) == (8443, 10000)


def test_the_environment_wins() -> None:
    assert settings.home({"VMSTAMP_HOME": "/x"}).root == Path("/x")
    assert settings.arm_port({"VMSTAMP_ARM_PORT": "0"}) == 0


def test_the_readme_tells_every_setting_and_its_default() -> None:
    rows = re.findall(r"^\| `(VMSTAMP_\w+)` \| (.*?) \|", README.read_text(), re.MULTILINE)
    told = {name: default.strip("` ") for name, default in rows}
    for setting in settings.SETTINGS:
        assert setting.variable in told
        assert not setting.default or told[setting.variable] == setting.default


@pytest.mark.parametrize("value", ["-1", "65536", "ssh"])
def test_a_port_that_is_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(StampError, match="VMSTAMP_BLOB_PORT"):
        settings.blob_port({"VMSTAMP_BLOB_PORT": value})
