"""A running stamp and a shell that is turned to it, one of both for each module."""

from collections.abc import Iterator

import pytest

from tests.peers.programs import find_peer
from tests.peers.shell import Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    find_peer("az")
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.run("vmstamp up")
    try:
        yield shell
    finally:
        shell.run("vmstamp down")
