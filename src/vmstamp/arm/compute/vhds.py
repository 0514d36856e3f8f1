"""The fixed VHDs behind disks, images and virtual machines: page blobs of the blob room.

A managed disk is the blob `disk/abcd` of a hidden account: `md-...`, of an upload `md-impexp-...`.
Every operation but growing and folding takes the same time whatever the disk's size.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from vmstamp.blob.records import PAGE_BLOB, AccessPolicy, BlobRef
from vmstamp.blob.store import BlobStore
from vmstamp.disk.footer import COOKIE, FOOTER_SIZE, make_footer, parse_footer
from vmstamp.errors import AzureError, DiskError

CONTAINER: Final = "disk"
BLOB: Final = "abcd"
DIAGNOSTICS: Final = "mddiagnostics"  # hidden account of serial logs
MIB: Final = 2**20
GIB: Final = 2**30
LARGEST: Final = 8191 * GIB  # bytes of a disk: with its footer it is a page blob, which has at most 8 TiB


def new_place(*, upload: bool = False) -> BlobRef:
    """A name for a new managed disk; nothing is made yet. One that is to be uploaded is told by its name."""
    return BlobRef(f"md-{'impexp-' if upload else ''}{uuid.uuid4().hex[:12]}", CONTAINER, BLOB)


def family_place(family: str) -> BlobRef:
    """The blob whose snapshots are the incremental snapshots of a family; `family` is a UUID."""
    return BlobRef(f"md-{uuid.UUID(family).hex[:12]}", CONTAINER, BLOB)


def place(state: list[str]) -> BlobRef:
    """A name as it is kept in a resource's state."""
    return BlobRef(*state)


class Vhds:
    """Makes, shares, checks and deletes VHDs. `endpoint` is the path-style URL of the blob door."""

    def __init__(
        self, store: BlobStore, endpoint: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.store = store
        self._endpoint = endpoint
        self._now = now

    # -- making

    def create_empty(self, ref: BlobRef, size: int, unique_id: str) -> None:
        """A VHD of `size` bytes of zeros. Idempotent."""
        if self.exists(ref):
            return
        self._make_room(ref)
        footer = make_footer(size, uuid.UUID(unique_id), self._now())
        self.store.create_page_blob(ref, size + FOOTER_SIZE)
        self.store.write_pages(ref, size, footer)

    def create_upload(self, ref: BlobRef, length: int) -> None:
        """An empty blob of `length` bytes for a client to fill, footer and all. Idempotent."""
        if not self.exists(ref):
            self._make_room(ref)
            self.store.create_page_blob(ref, length)

    def copy(self, source: BlobRef, target: BlobRef) -> None:
        """A new VHD with the source's bytes, shared until one of the two is written. Idempotent."""
        if not self.exists(target):
            self._make_room(target)
            self.store.share(source, target)

    def overwrite(self, source: BlobRef, target: BlobRef) -> None:
        """As `copy`, but a blob that is there is replaced."""
        self._make_room(target)
        self.store.share(source, target, overwrite=True)

    def write_json(self, ref: BlobRef, document: bytes) -> None:
        """A block blob with a JSON document; one that is there is replaced."""
        self.store.put_block_blob(ref, document, "application/json")

    def grow(self, ref: BlobRef, size: int, unique_id: str) -> None:
        """Make a VHD `size` bytes large: zeros, and a new footer at the new end. Idempotent."""
        old = self.size(ref)
        if old >= size:
            return
        footer = make_footer(size, uuid.UUID(unique_id), self._now())
        self.store.resize(ref, size + FOOTER_SIZE)
        self.store.write_pages(ref, size, footer)
        self.store.clear_pages(ref, old, FOOTER_SIZE)

    def adopt(self, ref: BlobRef, path: Path, family: str = "") -> None:
        """Take a sparse file as the VHD's new content; the file is the store's from now on.

        `family` is the disk's incremental snapshots': the newest tells what was written since it.
        """
        since = self.store.newest_snapshot(family_place(family)) if family else None
        self.store.replace_content(ref, path, since)

    def new_snapshot_place(self, family: str) -> BlobRef:
        """A name for a new incremental snapshot: a blob's snapshot in the hidden account of its family."""
        return family_place(family)._replace(snapshot=self.store.new_snapshot())

    def take_snapshot(self, source: BlobRef, target: BlobRef, family: str) -> None:
        """An incremental snapshot with the bytes that the source has now, shared with it. Idempotent."""
        if not self.exists(target):
            self._make_room(target)
            self.store.add_snapshot(source, target, family)

    def changed_length(self, snapshot: BlobRef, since: str) -> int:
        """The bytes that a snapshot holds that an earlier one, named by its time, has not; '' for none."""
        blob = self.store.get_blob(*snapshot)
        earlier = self.store.find_blob(*snapshot._replace(snapshot=since)) if since else None
        if earlier is None:
            return sum(extent.length for extent in self.store.content_ranges(blob))
        changes = self.store.changed_ranges(blob, earlier, 0, blob.size)
        return sum(extent.length for extent, cleared in changes if not cleared)

    def take_snapshot_of_file(self, path: Path, target: BlobRef, family: str) -> None:
        """As `take_snapshot`, of a sparse file that is the store's from now on."""
        self._make_room(target)
        passing = target._replace(name=f"{BLOB}-{uuid.uuid4().hex}", snapshot="")
        self.store.create_page_blob(passing, path.stat().st_size)
        try:
            self.adopt(passing, path, family)
            self.take_snapshot(passing, target, family)
        finally:
            self.store.delete_blob(*passing)

    def delete(self, ref: BlobRef) -> None:
        """Delete a managed disk's VHD with its hidden account; a family's goes with the last. Idempotent."""
        if self.store.find_account(ref.account) is None:
            return
        if ref.snapshot and self.exists(ref):
            self.store.delete_blob(*ref)
        newest = self.store.newest_snapshot(ref.base) if ref.snapshot else None
        if newest is None:
            self.store.delete_account(ref.account)
        elif self.exists(ref.base):
            self.store.share(newest.ref, ref.base, overwrite=True)

    def _make_room(self, ref: BlobRef) -> None:
        with _already("StorageAccountAlreadyTaken"):
            self.store.create_account(ref.account, hidden=True)
        with _already("ContainerAlreadyExists"):
            self.store.create_container(ref.account, ref.container)

    # -- looking

    def exists(self, ref: BlobRef) -> bool:
        return self.store.find_blob(*ref) is not None

    def is_page_blob(self, ref: BlobRef) -> bool:
        blob = self.store.find_blob(*ref)
        return blob is not None and blob.type == PAGE_BLOB

    def path(self, ref: BlobRef) -> Path:
        """The file that a virtual machine reads: sealed, never written again."""
        return self.store.content_path(ref)

    def size(self, ref: BlobRef) -> int:
        """The virtual size: the blob without its footer."""
        return self.store.get_blob(*ref).size - FOOTER_SIZE

    def has_cookie(self, ref: BlobRef) -> bool:
        """Whether a blob ends with something that says that it is a VHD's footer."""
        length = self.store.get_blob(*ref).size
        return length >= FOOTER_SIZE and self.store.read(ref, length - FOOTER_SIZE, 8) == COOKIE

    def check(self, ref: BlobRef, disk: str) -> int:
        """The virtual size in bytes of a VHD that Azure takes. Raises AzureError with what is wrong."""
        length = self.store.get_blob(*ref).size
        url = self.url(ref)
        if length < MIB + FOOTER_SIZE:
            raise AzureError(
                400,
                "VHDSizeInvalid",
                f"The specified disk size value of {max(0, length - FOOTER_SIZE)} for disk '{disk}' with "
                f"blob {url} is invalid. Disk size must be between {MIB} and {LARGEST}.",
            )
        data = self.store.read(ref, length - FOOTER_SIZE, FOOTER_SIZE)
        if data[:8] != COOKIE:
            raise AzureError(
                400,
                "InvalidVhd",
                f"The specified cookie value in VHD footer indicates that disk '{disk}' with blob {url} is "
                "not a supported VHD. Disk is expected to have cookie value 'conectix'.",
            )
        try:
            footer = parse_footer(data, url, length - FOOTER_SIZE)
        except DiskError as error:
            raise AzureError(
                400, "InvalidVhd", f"The disk '{disk}' is not a supported VHD: {error.message}."
            ) from error
        if footer.disk_type != 2:
            raise AzureError(
                400,
                "InvalidVhd",
                f"The specified disk type in VHD footer indicates that disk '{disk}' with blob {url} is not "
                f"a fixed VHD (type 2) but of type {footer.disk_type}. Only fixed VHDs are supported.",
            )
        if footer.current_size % MIB or footer.current_size + FOOTER_SIZE != length:
            raise vhd_size_invalid(url, footer.current_size)
        return footer.current_size

    # -- addresses

    def url(self, ref: BlobRef) -> str:
        return f"{self._endpoint}/{ref.account}/{ref.container}/{ref.name}"

    def find_url(self, url: str) -> BlobRef | None:
        """The blob that a URL names, path style or host style, whatever its query; None when it is "
        "no blob's."""
        parts = urlsplit(url)
        words = [unquote(word) for word in parts.path.split("/") if word]
        host = parts.hostname or ""
        if ".blob." in host:
            words = [host.split(".", 1)[0], *words]
        if parts.scheme not in ("http", "https") or len(words) < 3:
            return None
        return BlobRef(words[0], words[1], "/".join(words[2:]))

    def is_leased(self, ref: BlobRef) -> bool:
        return self.store.get_blob(*ref).lease is not None

    # -- access by SAS

    def open_access(self, ref: BlobRef, write: bool, seconds: int, policy: str) -> str:
        """A SAS URL that rests on a stored access policy of this name, so that it can be revoked."""
        now = self._now()
        permissions, expiry = "rw" if write else "r", now + timedelta(seconds=seconds)
        self.store.remove_access_policies(ref.account, ref.container, lambda old: _is_over(old, now))
        self.store.set_access_policy(ref.account, ref.container, policy, permissions, now, expiry)
        sas = self.store.sign_sas(ref, permissions="", start=None, expiry=None, policy=policy)
        return f"{self.url(ref)}?{sas}"

    def close_access(self, ref: BlobRef, policy: str) -> None:
        """Revoke what `open_access` gave under this name. Idempotent."""
        self.store.remove_access_policies(ref.account, ref.container, lambda found: found.id == policy)

    def publish_log(self, name: str, vm_id: str, data: bytes, seconds: int) -> str:
        """Put a text into a block blob of the hidden diagnostics account; a URL that reads it for a while."""
        text = "text/plain; charset=utf-8"
        return self._publish(f"{name}.{vm_id}.serialconsole.log", vm_id, data, text, seconds)

    def publish_screenshot(self, name: str, vm_id: str, data: bytes, seconds: int) -> str:
        """As `publish_log`, a picture."""
        return self._publish(f"{name}.{vm_id}.screenshot.bmp", vm_id, data, "image/bmp", seconds)

    def _publish(self, blob: str, vm_id: str, data: bytes, content_type: str, seconds: int) -> str:
        ref = BlobRef(DIAGNOSTICS, _log_container(vm_id), blob)
        self._make_room(ref)
        self.store.put_block_blob(ref, data, content_type)
        return self.read_url(ref, seconds)

    def delete_log(self, vm_id: str) -> None:
        """Delete what `publish_log` made for a VM. Idempotent."""
        if self.store.find_container(DIAGNOSTICS, _log_container(vm_id)) is not None:
            self.store.delete_container(DIAGNOSTICS, _log_container(vm_id))

    def read_url(self, ref: BlobRef, seconds: int) -> str:
        """A SAS URL for reading one blob."""
        now = self._now()
        expiry = now + timedelta(seconds=seconds)
        sas = self.store.sign_sas(
            ref, permissions="r", start=now - timedelta(minutes=5), expiry=expiry, policy=None
        )
        return f"{self.url(ref)}?{sas}"


@contextmanager
def _already(code: str) -> Iterator[None]:
    """Two operations may make the same container: the second finds it made."""
    try:
        yield
    except AzureError as error:
        if error.code != code:
            raise


def _is_over(policy: AccessPolicy, now: datetime) -> bool:
    return policy.expiry is not None and policy.expiry <= now


def _log_container(vm_id: str) -> str:
    return f"bootdiagnostics-{vm_id}"


def vhd_size_invalid(url: str, size: int) -> AzureError:
    return AzureError(
        400,
        "InvalidVhd",
        f"The specified blob {url} with VHD virtual size {size} bytes is not supported. The virtual size of "
        "a VHD must be a whole number (in MBs), followed by its footer of 512 bytes.",
    )
