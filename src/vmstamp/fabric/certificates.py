"""The tenant certificate, delivered to a guest encrypted to the transport certificate that it made itself.

The reply is a CMS EnvelopedData (RFC 5652 6) whose content is a PKCS #12 file with an empty password.
The openssl program writes it: agents before 2.13 ask for three-key triple DES, which Python's
cryptography does not offer for CMS.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from cryptography.x509.oid import NameOID

from vmstamp.run import run

# The header x-ms-cipher-name and openssl's name of the cipher.
CIPHERS = {"AES128_CBC": "-aes-128-cbc", "DES_EDE3_CBC": "-des3"}
DEFAULT_CIPHER = "DES_EDE3_CBC"
VALIDITY = timedelta(days=3650)


def make_tenant(name: str, now: datetime | None = None) -> bytes:
    """A new key pair with a self-signed certificate, as PKCS #12 with an empty password."""
    now = now or datetime.now(UTC)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .sign(key, hashes.SHA256())
    )
    return pkcs12.serialize_key_and_certificates(None, key, certificate, None, NoEncryption())


def envelop(pfx: bytes, transport_certificate: str, cipher: str) -> str:
    """`pfx` encrypted to the guest's certificate, as base64 text.

    `transport_certificate` is base64 of DER, as the header x-ms-guest-agent-public-x509-cert has it.
    Raises ValueError for a certificate or cipher that is not one, ProgramError when openssl fails.
    """
    if cipher not in CIPHERS:
        raise ValueError(f"cipher {cipher!r} is not one of {', '.join(CIPHERS)}")
    try:
        loaded = x509.load_der_x509_certificate(base64.b64decode(transport_certificate, validate=False))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not a certificate in base64: {error}") from error
    with tempfile.TemporaryDirectory(prefix="vmstamp-cms-") as directory:
        recipient = Path(directory) / "transport.pem"
        recipient.write_bytes(loaded.public_bytes(Encoding.PEM))
        words = ["openssl", "cms", "-encrypt", "-binary", "-outform", "DER", CIPHERS[cipher], str(recipient)]
        return base64.b64encode(run(words, input=pfx).stdout).decode()
