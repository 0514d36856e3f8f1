"""Who the stamp is: its own certificate authority, its server certificate, its ids and its tokens.

The authority's certificate is handed to clients by environment or option and never put into the
system's trust store. Tokens are RS256 JSON Web Tokens (RFC 7519) signed by a key of the stamp alone;
`verify_token` refuses expired and foreign ones.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmstamp.errors import AzureError
from vmstamp.paths import Home

CERTIFICATE_DAYS = 825
TOKEN_LIFETIME = timedelta(hours=24)
KEY_BITS = 2048
LOOPBACK_NAMES = ("localhost", "*.blob.localhost")
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Subscription:
    """The ids that a stamp gives itself once and keeps: GUIDs, and the service principal's secret."""

    subscription: str
    tenant: str
    client_id: str
    client_secret: str


def load_subscription(home: Home) -> Subscription:
    """The stamp's ids, made on first use."""
    if not home.subscription.exists():
        made = Subscription(
            subscription=str(uuid.uuid4()),
            tenant=str(uuid.uuid4()),
            client_id=str(uuid.uuid4()),
            client_secret=secrets.token_urlsafe(24),
        )
        _write_private(home.subscription, json.dumps(asdict(made), indent=2).encode())
    return Subscription(**json.loads(home.subscription.read_text()))


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form: the authority's certificate, the server's certificate and its key."""

    ca: Path
    server: Path
    server_key: Path
    token_key: Path


def load_certificates(home: Home, now: datetime | None = None) -> Certificates:
    """The stamp's certificates, made on first use and made anew when the server's has under a day left."""
    now = now or datetime.now(UTC)
    directory = home.certs
    found = Certificates(
        directory / "ca.pem", directory / "server.pem", directory / "server.key", directory / "token.key"
    )
    if not found.token_key.exists():
        _write_private(found.token_key, _key_pem(_make_key()))
    if not (found.ca.exists() and _valid(found, now)):
        _make_certificates(found, now)
    return found


def _valid(files: Certificates, now: datetime) -> bool:
    """Whether the server's certificate has a day left and is its key's: a crash may come between the two."""
    if not (files.server.exists() and files.server_key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(files.server.read_bytes())
    key = _load_key(files.server_key.read_bytes())
    fits = certificate.public_key() == key.public_key()
    return fits and certificate.not_valid_after_utc > now + timedelta(days=1)


def _make_certificates(files: Certificates, now: datetime) -> None:
    ca_key, server_key = _make_key(), _make_key()
    ca_name = _name("vmstamp local authority")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in LOOPBACK_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in LOOPBACK_ADDRESSES]
    server = (
        _builder(_name("localhost"), ca_name, server_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write_private(files.server_key, _key_pem(server_key))
    _write_private(files.ca, ca.public_bytes(serialization.Encoding.PEM))
    _write_private(files.server, server.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _make_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def _load_key(pem: bytes) -> rsa.RSAPrivateKey:
    """A key that the stamp made. That its primes are some is not looked into again: 50 ms for each key."""
    key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> None:
    """Write a file for the owner alone, whole or not at all."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


class Bearer(NamedTuple):
    """Whose a token is: the ids of the object and of its tenant."""

    oid: str
    tid: str


class Tokens:
    """Issues and checks the stamp's bearer tokens. Thread-safe."""

    def __init__(self, subscription: Subscription, key_pem: bytes, issuer: str) -> None:
        self._subscription = subscription
        self._issuer = issuer
        self._key = _load_key(key_pem)

    def issue(self, audience: str, now: datetime | None = None, tenant: str = "") -> tuple[str, int]:
        """A token for `audience` and its lifetime in seconds; of the stamp's own tenant, or of another."""
        import jwt  # with the algorithms that it brings, 0.1 s that a server's start need not wait for

        now = now or datetime.now(UTC)
        claims = {
            "aud": audience,
            "iss": self._issuer,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_LIFETIME,
            "appid": self._subscription.client_id,
            "oid": self._subscription.client_id,
            "tid": tenant or self._subscription.tenant,
        }
        return jwt.encode(claims, self._key, algorithm="RS256"), int(TOKEN_LIFETIME.total_seconds())

    def verify(self, token: str) -> Bearer:
        """Whose token it is. Raises AzureError 401 unless this stamp signed it and it is in its time."""
        import jwt

        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                issuer=self._issuer,
                leeway=60,
                options={"verify_aud": False, "require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise self._refusal("ExpiredAuthenticationToken", "The access token expiry has passed.") from None
        except jwt.PyJWTError as error:
            raise self._refusal(
                "InvalidAuthenticationToken", f"The access token is invalid: {error}."
            ) from None
        return Bearer(str(claims.get("oid", "")), str(claims.get("tid", "")))

    def exchange(self, client_id: str, client_secret: str, scope: str, tenant: str = "") -> tuple[str, int]:
        """A token for the stamp's service principal (OAuth 2.0 client credentials, RFC 6749 4.4).

        The principal is the same one in every `tenant`; '' is the stamp's own.

        Raises AzureError with the `invalid_client` code when id or secret are not the stamp's.
        """
        known = self._subscription
        right = secrets.compare_digest(client_secret.encode(), known.client_secret.encode())
        if client_id != known.client_id or not right:
            raise AzureError(
                401, "invalid_client", "AADSTS7000215: Invalid client secret or client id provided."
            )
        audience = scope.split()[0].removesuffix("/.default") if scope.strip() else self._issuer
        return self.issue(audience, tenant=tenant)

    def _refusal(self, code: str, message: str) -> AzureError:
        challenge = f'Bearer authorization_uri="{self._issuer}", error="invalid_token"'
        return AzureError(401, code, message, headers={"WWW-Authenticate": challenge})
