"""Microsoft.Compute/sshPublicKeys: public keys under a name, for virtual machines to be made with.

A key is given, or made by generateKeyPair, which answers the private one once and keeps the public one
alone. A virtual machine gets the text of a key, not a reference, so none is in use.

REST: SSH Public Keys.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.naming import API_VERSIONS, check_name
from vmstamp.arm.faults import invalid_parameter, not_allowed
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, clean
from vmstamp.arm.types import Action, AsyncStyle, Change, Put, Request, ResourceType, Work

NAME: Final = "Microsoft.Compute/sshPublicKeys"
FEWEST_BITS: Final = 2048  # of an RSA key that is given
GENERATED_BITS: Final = 3072  # of one that is made
# The service answers at once: neither a PUT nor a DELETE has an operation.
STYLE: Final = AsyncStyle(async_header=False, synchronous_delete=True)

SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "properties": {"publicKey": str, "provisioningState": READ_ONLY},
}
PAIR_SHAPE: Final = {"encryptionType": OneOf("RSA", "Ed25519")}


class SshPublicKeys:
    """The type."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=parse,
            view=lambda found, expand: found.stateless_document,
            patch="all",
            actions=(Action("generateKeyPair", self.generate, check=_check_generation, synchronous=True),),
        )

    def generate(self, found: Resource, work: Work) -> Json:
        """Make a key pair; the private key is answered and kept nowhere."""
        private, public = make_pair(work.input["encryptionType"])
        self._catalog.save(found.with_properties(publicKey=public))
        return {"id": str(found.id), "publicKey": public, "privateKey": private}


def parse(put: Put) -> Change:
    check_name(put.id.name, "sshPublicKeyName")
    body = clean(put.body, SHAPE)
    given = body.get("properties", {}).get("publicKey")
    if given:
        _check_key(given)
    kept = given or (put.existing.properties.get("publicKey") if put.existing else None)
    return Change({**body, "properties": {"publicKey": kept} if kept else {}})


def _check_key(text: str) -> None:
    """Raises InvalidParameter unless it is an RSA key of at least `FEWEST_BITS`, or an Ed25519 one."""
    try:
        key = serialization.load_ssh_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    strong = isinstance(key, rsa.RSAPublicKey) and key.key_size >= FEWEST_BITS
    if not strong and not isinstance(key, ed25519.Ed25519PublicKey):
        raise invalid_parameter(
            "The value of parameter publicKey is invalid: it must be an SSH public key of type ssh-rsa, of "
            f"at least {FEWEST_BITS} bits, or of type ssh-ed25519.",
            "publicKey",
        )


def _check_generation(found: Resource, request: Request) -> Json:
    if found.properties.get("publicKey"):
        raise not_allowed(
            f"The SSH public key resource '{found.name}' has a public key already. A key pair can be "
            "generated only once, and only for a resource without a key."
        )
    return {"encryptionType": clean(request.json, PAIR_SHAPE).get("encryptionType", "RSA")}


def make_pair(kind: str) -> tuple[str, str]:
    """A new private key in PEM, and its public key in OpenSSH's form. `kind`: RSA or Ed25519."""
    if kind == "RSA":
        made = rsa.generate_private_key(public_exponent=65537, key_size=GENERATED_BITS)
        form = serialization.PrivateFormat.TraditionalOpenSSL
        return _texts(made, form)
    return _texts(ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.OpenSSH)


def _texts(
    made: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, form: serialization.PrivateFormat
) -> tuple[str, str]:
    private = made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    public = made.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode(), public.decode()
