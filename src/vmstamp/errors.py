"""The exception tree of vmstamp.

    VmstampError                 anything we raise on purpose: what was found, where, what was expected
     |- DiskError                a disk file breaks its format or holds what we cannot read
     |- GuestError               a file system or guest on a disk cannot be read
     |- ProgramError             another program failed
     |   '- ProgramMissing       another program is not installed
     |- StampError               the stamp itself: not running, port taken, home unusable
     |   '- CloudError           a cloud: it does not answer, nobody is signed in, no subscription
     |- MachineError             a virtual machine or its network failed
     |- TransferError            an upload or download could not be done
     '- AzureError               an answer in Azure's name: HTTP status, code and text as Azure has them

Every error carries a message for people and, where there is one, a hint: what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class VmstampError(Exception):
    """The root of the tree; `str()` is the message, `hint` what to do (may be empty)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DiskError(VmstampError):
    """A disk file breaks its format, or needs what this version does not support.

    `path` is the file, `offset` the byte where the trouble lies (None: the file as a whole), `spec`
    the section of the format's specification that is broken, `found` what was found there.
    """

    def __init__(
        self, path: Path | str, message: str, *, offset: int | None = None, spec: str = "", hint: str = ""
    ) -> None:
        where = f"{path}: {message}" if offset is None else f"{path}: at byte {offset}: {message}"
        super().__init__(f"{where} ({spec})" if spec else where, hint=hint)
        self.path = Path(path)
        self.offset = offset
        self.spec = spec
        self.found = message


class GuestError(VmstampError):
    """A file system or guest on a disk cannot be read."""


class ProgramError(VmstampError):
    """Another program failed: `argv`, its exit `status` (negative: the signal) and its standard error."""

    def __init__(self, argv: Sequence[str], status: int, stderr: str, *, hint: str = "") -> None:
        end = f"was ended by signal {-status}" if status < 0 else f"failed with exit status {status}"
        said = stderr.strip().splitlines()
        super().__init__(f"{argv[0]} {end}" + (f": {said[-1]}" if said else ""), hint=hint)
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr


class ProgramMissing(VmstampError):
    """Another program is not installed."""


class StampError(VmstampError):
    """The stamp itself: not running, a port taken, its home unusable."""


class CloudError(StampError):
    """A cloud as a whole: it does not answer, nobody is signed in to it, no subscription is named."""


class MachineError(VmstampError):
    """A virtual machine or its network could not be made, or failed."""


class TransferError(VmstampError):
    """An upload or download could not be done."""


@dataclass(frozen=True)
class Detail:
    """One entry of `details` in Azure's error envelope."""

    code: str
    message: str
    target: str | None = None
    details: tuple[Detail, ...] = ()


class AzureError(VmstampError):
    """An answer in Azure's name.

    `status` is the HTTP status, `code` and `message` Azure's own, `target` the property at fault,
    `details` and `additional_info` further entries of the envelope. `headers` are added to the reply.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str | None = None,
        details: Sequence[Detail] = (),
        additional_info: Sequence[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.target = target
        self.details = tuple(details)
        self.additional_info = tuple(additional_info)
        self.headers = dict(headers or {})
