"""What a Blob service's refusals mean to who moves disks: one sentence, and what mends it. Pure.

The service's own texts are for programmers, and HEAD has none. Codes as in REST: Blob service error codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Refusal:
    """`said`: what is wrong, as the end of a sentence; '' to leave that to the service. `hint`: the mend."""

    said: str
    hint: str


_BUSY = Refusal("the service is busy, or limits this account", "the same command continues later")
_LEASE = Refusal(
    "a lease holds the blob: a virtual machine, an image or another program uses it",
    "name another blob, or end the lease first",
)
_NO_KEY = Refusal(
    "the account takes no keys, nor a SAS that a key has signed",
    "append a SAS that is signed by a user (user delegation), or sign in: az login",
)
_ANONYMOUS = Refusal(
    "the request says not who asks, and the container is not public",
    "append a SAS to the URL, or pass --account-key",
)
_FIREWALL = Refusal(
    "the account's firewall does not let this machine in, or the SAS is not for this request",
    "let this machine's address in: the account's Networking; or go through its private endpoint",
)
_TABLE = {
    "ServerBusy": _BUSY,
    "OperationTimedOut": _BUSY,
    "LeaseIdMissing": _LEASE,
    "LeaseIdMismatchWithBlobOperation": _LEASE,
    "LeaseAlreadyPresent": _LEASE,
    "KeyBasedAuthenticationNotPermitted": _NO_KEY,
    "NoAuthenticationInformation": _ANONYMOUS,
    "PublicAccessNotPermitted": _ANONYMOUS,
    "ResourceNotFound": _ANONYMOUS,
    "AuthorizationFailure": _FIREWALL,
    "AuthorizationProtocolMismatch": Refusal("the SAS is for https alone", "begin the URL with https://"),
    "AuthorizationServiceMismatch": Refusal(
        "the SAS is not for the Blob service", "sign one for it: ss=b, or a SAS of the container or blob"
    ),
    "AuthorizationResourceTypeMismatch": Refusal(
        "the SAS is not for blobs", "sign one for objects: srt=o, or a SAS of the container or blob"
    ),
    "ConditionNotMet": Refusal(
        "the blob was changed meanwhile", "something else writes to it; begin again when that has ended"
    ),
    "SourceConditionNotMet": Refusal(
        "the source was changed meanwhile", "copy a snapshot of it: that does not change"
    ),
    "BlobAlreadyExists": Refusal(
        "another blob has that name", "pass --overwrite to replace it, or name another blob"
    ),
    "BlobNotFound": Refusal("there is no such blob", "is its name right? names are case-sensitive"),
    "ContainerNotFound": Refusal("there is no such container", "create the container first"),
    "InvalidBlobType": Refusal(
        "the blob is no page blob, which alone holds a disk",
        "name another blob, or replace this one with --overwrite",
    ),
    "PendingCopyOperation": Refusal(
        "the service copies into this blob by itself", "wait for that, or abort that copy"
    ),
    "SnapshotsPresent": Refusal("the blob has snapshots", "delete those first, or name another blob"),
    "BlobImmutableDueToPolicy": Refusal(
        "a policy of the container keeps the blob as it is", "name another container"
    ),
    "AccountIsDisabled": Refusal("the storage account is disabled", "ask who pays for the subscription"),
    "InsufficientStorage": Refusal(
        "the service has no room", "free some space on the file system that holds the stamp's home"
    ),
    "RequestBodyTooLarge": Refusal("", "a proxy between here and the service may limit requests"),
}


def refusal(code: str, url: str, now: datetime) -> Refusal:
    """What the service's code means for a request to this URL (with its SAS, if any)."""
    sas = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    signed = "sig" in sas
    if code == "AuthenticationFailed":
        return _bad_sas(sas, now) if signed else _BAD_KEY
    if code in ("AuthorizationPermissionMismatch", "InsufficientAccountPermissions"):
        return _narrow_sas(sas) if signed else _NO_ROLE
    if code == "AuthorizationSourceIPMismatch":
        return Refusal(
            f"the SAS is for other addresses than this machine's ({sas.get('sip', 'by its policy')})",
            "sign one without an address, or for this machine's",
        )
    return _TABLE.get(code, Refusal("", ""))


_BAD_KEY = Refusal(
    "the account key is not one of this account's",
    "either of its two keys works; was it regenerated? is this machine's clock right?",
)
_NO_ROLE = Refusal(
    "who is signed in may not do this",
    "the role Storage Blob Data Contributor allows it (Reader is enough to read); Owner does not",
)


def _bad_sas(sas: dict[str, str], now: datetime) -> Refusal:
    start, expiry = parse_time(sas.get("st", "")), parse_time(sas.get("se", ""))
    if expiry is not None and expiry <= now:
        return Refusal(f"the SAS expired at {sas['se']}", "sign a new one, with a later expiry")
    if start is not None and start > now:
        return Refusal(
            f"the SAS is valid from {sas['st']} only", "wait, sign another, or set this machine's clock"
        )
    return Refusal(
        "the SAS is not valid for this account, blob and time",
        "give the whole URL in quotes: a shell ends it at the first &; or sign a new SAS",
    )


def _narrow_sas(sas: dict[str, str]) -> Refusal:
    allowed = f" (it has sp={sas['sp']})" if "sp" in sas else ""
    return Refusal(
        f"the SAS lacks a permission for this{allowed}",
        "reading takes r (read), writing r, c and w (read, create, write)",
    )


def parse_time(text: str) -> datetime | None:
    """A time of a SAS: a date, or one with minutes or seconds and a Z; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_STAMP = "is the stamp running? vmstamp status"


def no_answer(reason: str, url: str) -> Refusal:
    """Why nothing answered, from what the connection said."""
    host = urlsplit(url).hostname or "the host"
    here = host in ("localhost", "::1") or host.startswith("127.")
    if "refused" in reason.lower():
        mend = (
            "is the stamp running? vmstamp status" if here else "a firewall may close it; is the port right?"
        )
        return Refusal(f"no answer: nothing listens at {urlsplit(url).netloc}", mend)
    if any(word in reason for word in ("NameResolution", "resolve", "Name or service", "getaddrinfo")):
        return Refusal(
            f"no answer: there is no host {host}",
            "is the account's name right? a private endpoint is known inside its network only",
        )
    if "CERTIFICATE_VERIFY_FAILED" in reason or "certificate" in reason.lower():
        return Refusal(
            f"no answer: the certificate of {host} is not trusted here",
            "of a stamp: use its http URL, or set REQUESTS_CA_BUNDLE to its ca (vmstamp status)",
        )
    if "timed out" in reason.lower():
        return Refusal(f"no answer: {host} let the connection time out", "a firewall may drop it; try again")
    return Refusal(f"no answer: {reason}", _STAMP if here else "try again")
