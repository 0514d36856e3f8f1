"""The SSH key pair under the home."""

import stat
from pathlib import Path

import pytest

from vmstamp.cli.keys import ensure_key, read_public_key
from vmstamp.errors import StampError
from vmstamp.paths import Home


def test_the_pair_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = ensure_key(home)
    assert first.public.startswith("ssh-ed25519 ")
    assert first.private is not None and first.private.is_relative_to(tmp_path)
    assert stat.S_IMODE(first.private.stat().st_mode) == 0o600
    assert ensure_key(home) == first


def test_a_users_key_is_found_by_either_name(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("secret")
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA me\n")
    assert read_public_key(tmp_path / "id") == read_public_key(tmp_path / "id.pub")
    assert read_public_key(tmp_path / "id").private == tmp_path / "id"


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN OPENSSH PRIVATE KEY-----"])
def test_what_is_no_public_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "id.pub").write_text(text)
    with pytest.raises(StampError, match="not an SSH public key"):
        read_public_key(tmp_path / "id.pub")
