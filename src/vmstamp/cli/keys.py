"""The SSH key pair for VMs: made once under the stamp's home, never in ~/.ssh."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vmstamp.errors import StampError
from vmstamp.paths import Home

PRIVATE = "id_ed25519"
# What Azure takes; WALinuxAgent refuses ECDSA keys as well. Source: `common/osutil/default.py`.
PUBLIC_KINDS = ("ssh-ed25519", "ssh-rsa")


@dataclass(frozen=True)
class Key:
    """A public key line for authorized_keys, and the private key's file where we know it."""

    public: str
    private: Path | None


def ensure_key(home: Home) -> Key:
    """The stamp's own key pair, made when it is not there (Ed25519: cloud-init and waagent take it)."""
    private = home.keys / PRIVATE
    public = private.with_suffix(".pub")
    if not (private.exists() and public.exists()):
        _make(private, public)
    return Key(public.read_text().strip(), private)


def _make(private: Path, public: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    line = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in ((private, secret), (public, line + b" vmstamp\n")):
        beside = path.with_name(path.name + ".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        beside.rename(path)


def read_public_key(path: Path) -> Key:
    """A user's public key (`x.pub`, or the private key beside it). Raises StampError."""
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        line = public.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StampError(f"{public}: not readable as an SSH public key: {error}") from error
    if line.split(" ", 1)[0] not in PUBLIC_KINDS:
        raise StampError(
            f"{public}: not an SSH public key that Azure takes",
            hint=f"expected a line that begins with {' or '.join(PUBLIC_KINDS)}",
        )
    private = public.with_suffix("")
    return Key(line, private if private.exists() else None)
