r"""Local accounts in the SAM hive: names and whether they are enabled. Password hashes are never read.

SAM\Domains\Account\Users\<RID, 8 hexadecimal digits>, little-endian:
    value F: 0x30 RID u32, 0x38 account control bits u16 (0x1 disabled)
    value V: 0x0C offset of the name u32 (from 0xCC), 0x10 its length u32; UTF-16

Spec: libyal winreg-kb documentation, "Security Accounts Manager"; [MS-SAMR] 2.2.1.12 for the bits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vmstamp.errors import GuestError
from vmstamp.guest.windows.hive import Hive

USERS = r"SAM\Domains\Account\Users"
FIRST_OWN_RID = 1000  # accounts below come with Windows. Spec: [MS-SAMR] 3.1.4.2
DISABLED = 0x0001  # USER_ACCOUNT_DISABLED
V_DATA = 0xCC
MAX_NAME = 512  # bytes
MAX_ACCOUNTS = 10_000


@dataclass(frozen=True)
class Account:
    rid: int
    name: str
    enabled: bool

    @property
    def built_in(self) -> bool:
        return self.rid < FIRST_OWN_RID


def read_accounts(sam: Hive) -> list[Account]:
    """The local accounts by their RID. Raises GuestError when the hive or an account is damaged."""
    users = sam.find(USERS)
    if users is None:
        raise GuestError(f"{sam.path}: it has no {USERS}")
    if users.subkey_count > MAX_ACCOUNTS:
        raise GuestError(f"{sam.path}: {users.subkey_count} accounts, {MAX_ACCOUNTS} are read")
    found = []
    for key in users.subkeys():
        fixed, variable = key.value("F"), key.value("V")
        if fixed is None or variable is None:  # the key Names
            continue
        if not isinstance(fixed.data, bytes) or not isinstance(variable.data, bytes):
            raise GuestError(f"{sam.path}: the account {key.name} is damaged")
        found.append(_account(sam, key.name, fixed.data, variable.data))
    return sorted(found, key=lambda account: account.rid)


def _account(sam: Hive, key: str, fixed: bytes, variable: bytes) -> Account:
    if len(fixed) < 0x3A or len(variable) < V_DATA:
        raise GuestError(f"{sam.path}: the account {key} is damaged")
    rid, control = struct.unpack_from("<I4xH", fixed, 0x30)
    offset, length = struct.unpack_from("<II", variable, 0x0C)
    raw = variable[V_DATA + offset : V_DATA + offset + length] if length <= MAX_NAME else b""
    if len(raw) != length:
        raise GuestError(f"{sam.path}: the account {key} is damaged")
    return Account(rid, raw.decode("utf-16-le", "replace"), not control & DISABLED)
