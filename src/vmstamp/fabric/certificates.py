"""The tenant certificate, delivered to a guest encrypted to the transport certificate that it made itself.

The reply is a CMS EnvelopedData (RFC 5652 6) whose content is a PKCS #12 file with an empty password. The
openssl program writes it: Python's cryptography has no CMS with three-key triple DES, which is all that
WALinuxAgent asked for before 2.13 and what newer ones fall back to.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
import threading
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
SEAL_CIPHER = "AES128_CBC"
VALIDITY = timedelta(days=3650)
OPENSSL_TIMEOUT = 30.0  # seconds


class Tenant:
    """The key pair of one VM's tenant, made when first asked for. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._pfx: bytes | None = None

    @property
    def pfx(self) -> bytes:
        """Key and self-signed certificate as PKCS #12 with an empty password."""
        with self._lock:
            if self._pfx is None:
                self._pfx = make_pfx(self._name, datetime.now(UTC))
            return self._pfx

    @property
    def certificate(self) -> x509.Certificate:
        _, certificate, _ = pkcs12.load_key_and_certificates(self.pfx, None)
        assert certificate is not None
        return certificate

    @property
    def thumbprint(self) -> str:
        """The name of the certificate in a guest: SHA-1 of its DER, in upper-case hexadecimal digits."""
        return self.certificate.fingerprint(hashes.SHA1()).hex().upper()

    def seal(self, content: bytes) -> str:
        """`content` for the guest alone: base64, in one line, of a CMS EnvelopedData. Runs openssl."""
        recipient = base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()
        return "".join(envelop(content, recipient, SEAL_CIPHER).split())


def make_pfx(name: str, now: datetime) -> bytes:
    """A new key pair with a self-signed certificate, valid from a day before `now`, as PKCS #12.

    The password is empty. A MAC is there, which OpenSSL 1.1 in older guests insists on.
    """
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


def envelop(content: bytes, transport_certificate: str, cipher: str) -> str:
    """`content` encrypted to the guest's certificate, as base64 in lines. Runs openssl, some 10 ms.

    In lines because guests hand it to openssl, which drops longer ones than 1024 characters.

    `transport_certificate` is base64 of DER, as the header x-ms-guest-agent-public-x509-cert has it.
    Raises ValueError for a cipher or certificate that is not one, ProgramMissing and ProgramError.
    """
    if cipher not in CIPHERS:
        raise ValueError(f"cipher {cipher[:80]!r} is not one of {', '.join(CIPHERS)}")
    recipient = _load_recipient(transport_certificate)
    with tempfile.TemporaryDirectory(prefix="vmstamp-cms-") as directory:
        file = Path(directory) / "transport.pem"
        file.write_bytes(recipient.public_bytes(Encoding.PEM))
        words = ["openssl", "cms", "-encrypt", "-binary", "-outform", "DER", CIPHERS[cipher], str(file)]
        return base64.encodebytes(run(words, input=content, timeout=OPENSSL_TIMEOUT).stdout).decode()


def _load_recipient(text: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text))
        key = certificate.public_key()
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the transport certificate is not one in base64: {error}") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("the transport certificate has no RSA key")
    return certificate
