from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from vmstamp.errors import AzureError
from vmstamp.identity import (
    TOKEN_LIFETIME,
    Certificates,
    Subscription,
    Tokens,
    load_certificates,
    load_subscription,
)
from vmstamp.paths import Home

NOW = datetime.now(UTC)
ISSUER = "https://127.0.0.1:8443/tenant"
AUDIENCE = "https://management.azure.com"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("identity"))
    made.make()
    return made


@pytest.fixture(scope="module")
def subscription(home: Home) -> Subscription:
    return load_subscription(home)


@pytest.fixture(scope="module")
def certificates(home: Home) -> Certificates:
    return load_certificates(home)


@pytest.fixture(scope="module")
def tokens(subscription: Subscription, certificates: Certificates) -> Tokens:
    return Tokens(subscription, certificates.token_key.read_bytes(), ISSUER)


def test_ids_are_made_once_and_kept_private(home: Home, subscription: Subscription) -> None:
    assert load_subscription(home) == subscription
    assert home.subscription.stat().st_mode & 0o077 == 0
    assert len({subscription.subscription, subscription.tenant, subscription.client_id}) == 3


def test_another_home_has_other_ids(subscription: Subscription, tmp_path: Path) -> None:
    other = load_subscription(Home(tmp_path))
    assert other.client_secret != subscription.client_secret
    assert other.tenant != subscription.tenant


# Certificates


def handshake(server: Certificates, ca: Path, name: str) -> None:
    """A TLS handshake in memory. Raises ssl.SSLCertVerificationError when the client refuses the server."""
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default from 3.13 on
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(server.server, server.server_key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    host = listening.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (client, host):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "account.blob.localhost"])
def test_a_strict_client_trusts_the_server_by_each_of_its_names(
    certificates: Certificates, name: str
) -> None:
    handshake(certificates, certificates.ca, name)


@pytest.mark.parametrize("name", ["example.com", "127.0.0.2", "a.b.blob.localhost"])
def test_a_client_refuses_the_server_by_another_name(certificates: Certificates, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(certificates, certificates.ca, name)


def test_a_client_of_another_stamp_refuses_the_server(certificates: Certificates, tmp_path: Path) -> None:
    other = Home(tmp_path)
    other.make()
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(certificates, load_certificates(other).ca, "localhost")


def test_keys_are_for_the_owner_alone_and_the_authoritys_is_not_kept(
    home: Home, certificates: Certificates
) -> None:
    for path in (certificates.server_key, certificates.token_key):
        assert path.stat().st_mode & 0o077 == 0
    keys = [path for path in home.certs.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert sorted(keys) == sorted([certificates.server_key, certificates.token_key])


def test_certificates_are_kept_until_their_last_day_and_then_made_anew(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    certificates = load_certificates(home)
    first = certificates.server.read_bytes()
    token_key = certificates.token_key.read_bytes()
    ends = x509.load_pem_x509_certificate(first).not_valid_after_utc
    load_certificates(home, ends - timedelta(days=1, minutes=1))
    assert certificates.server.read_bytes() == first
    load_certificates(home, ends - timedelta(hours=23))
    assert x509.load_pem_x509_certificate(certificates.server.read_bytes()).not_valid_after_utc > ends
    assert certificates.token_key.read_bytes() == token_key, "tokens stay good"


# Tokens


def signed(tokens: Tokens, key: rsa.RSAPrivateKey, **changes: object) -> str:
    """A token like the stamp's own, signed by `key`, with some claims changed (None: left out)."""
    token, _ = tokens.issue(AUDIENCE)
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, "RS256")


@pytest.fixture(scope="module")
def own_key(certificates: Certificates) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(certificates.token_key.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def refusal(tokens: Tokens, token: str) -> AzureError:
    with pytest.raises(AzureError) as refused:
        tokens.verify(token)
    assert refused.value.status == 401
    challenge = refused.value.headers["WWW-Authenticate"]
    assert challenge == f'Bearer authorization_uri="{ISSUER}", error="invalid_token"'
    assert token not in str(refused.value) or not token
    return refused.value


def test_an_issued_token_is_taken_and_says_whose_it_is(tokens: Tokens, subscription: Subscription) -> None:
    token, lifetime = tokens.issue(AUDIENCE)
    tokens.verify(token)
    assert lifetime == TOKEN_LIFETIME.total_seconds()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == AUDIENCE
    assert claims["iss"] == ISSUER
    assert claims["tid"] == subscription.tenant
    assert claims["appid"] == claims["oid"] == subscription.client_id
    assert claims["exp"] - claims["iat"] == lifetime


def test_an_expired_token_is_refused_as_expired(tokens: Tokens) -> None:
    token, _ = tokens.issue(AUDIENCE, NOW - TOKEN_LIFETIME - timedelta(minutes=2))
    assert refusal(tokens, token).code == "ExpiredAuthenticationToken"


def test_a_clock_that_is_a_little_off_does_no_harm(tokens: Tokens) -> None:
    tokens.verify(tokens.issue(AUDIENCE, datetime.now(UTC) - TOKEN_LIFETIME - timedelta(seconds=30))[0])
    tokens.verify(tokens.issue(AUDIENCE, datetime.now(UTC) + timedelta(seconds=30))[0])


def test_a_token_of_later_is_refused(tokens: Tokens) -> None:
    token, _ = tokens.issue(AUDIENCE, NOW + timedelta(hours=1))
    assert refusal(tokens, token).code == "InvalidAuthenticationToken"


@pytest.mark.parametrize(
    "changes", [{"exp": None}, {"iss": None}, {"aud": None}, {"iss": "https://sts.windows.net/other/"}]
)
def test_a_claim_that_is_missing_or_anothers_is_refused(
    tokens: Tokens, own_key: rsa.RSAPrivateKey, changes: dict[str, object]
) -> None:
    assert refusal(tokens, signed(tokens, own_key, **changes)).code == "InvalidAuthenticationToken"


def test_a_token_of_another_key_is_refused(tokens: Tokens) -> None:
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert refusal(tokens, signed(tokens, foreign)).code == "InvalidAuthenticationToken"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(tokens: Tokens) -> Iterator[str]:
    token, _ = tokens.issue(AUDIENCE)
    head, claims, signature = token.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"appid": "somebody"}
    yield ""
    yield "not a token"
    yield f"{head}.{claims}"
    yield f"{head}.{claims}."
    yield f"{head}.{base64url(json.dumps(changed).encode())}.{signature}"
    yield base64url(b'{"alg":"none","typ":"JWT"}') + f".{claims}."


def test_forged_tokens_are_refused(tokens: Tokens) -> None:
    for token in forged(tokens):
        assert refusal(tokens, token).code == "InvalidAuthenticationToken"


def test_the_service_principal_gets_a_token_for_its_scope(tokens: Tokens, subscription: Subscription) -> None:
    token, _ = tokens.exchange(
        subscription.client_id, subscription.client_secret, f"{AUDIENCE}/.default offline_access"
    )
    tokens.verify(token)
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == AUDIENCE


@pytest.mark.parametrize("part", ["client_id", "client_secret"])
@pytest.mark.parametrize("value", ["", "wrong", "ключ"])
def test_a_wrong_id_or_secret_gets_none(
    tokens: Tokens, subscription: Subscription, part: str, value: str
) -> None:
    given = {"client_id": subscription.client_id, "client_secret": subscription.client_secret, part: value}
    with pytest.raises(AzureError, match="AADSTS7000215") as refused:
        tokens.exchange(**given, scope=f"{AUDIENCE}/.default")
    assert (refused.value.status, refused.value.code) == (401, "invalid_client")
    assert subscription.client_secret not in refused.value.message


def test_a_certificate_that_a_crash_left_without_its_key_is_made_anew(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    files = load_certificates(home)
    old = files.server.read_bytes()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    files.server_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    again = load_certificates(home)
    context.load_cert_chain(again.server, again.server_key)
    assert again.server.read_bytes() != old
