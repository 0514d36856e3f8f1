"""The SELinux context of a path by a policy's file_contexts."""

from __future__ import annotations

import pytest

from vmstamp.guest.workshop.inside import labels

FILE, DIRECTORY, LINK = 0o100000, 0o040000, 0o120000
CONTEXTS = """
# a comment
/.*	system_u:object_r:default_t:s0
/etc/.*	system_u:object_r:etc_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/ssh/ssh_host.*_key	--	system_u:object_r:sshd_key_t:s0
/etc/hostname	--	system_u:object_r:hostname_etc_t:s0
/etc/systemd/system(/.*)?	-d	system_u:object_r:systemd_unit_file_t:s0
/usr/lib(64)?/[^/]*\\.so	--	system_u:object_r:lib_t:s0
/var/run/.*	<<none>>
/var/log/x	-l	system_u:object_r:link_t:s0
/a|/b	system_u:object_r:either_t:s0
/broken[	system_u:object_r:never_t:s0
/three	words	here	too
"""
GUEST = {
    "/etc/selinux/config": "# what\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
    "/etc/selinux/targeted/contexts/files/file_contexts": CONTEXTS,
    "/etc/selinux/targeted/contexts/files/file_contexts.local": "/etc/own\tsystem_u:object_r:own_t:s0\n",
    "/etc/selinux/targeted/contexts/files/file_contexts.subs_dist": "/run /var/run\n/lib /usr/lib\n",
}


@pytest.mark.parametrize(
    ("path", "kind", "type_"),
    [
        ("/srv/x", FILE, "default_t"),
        ("/etc", DIRECTORY, "etc_t"),
        ("/etc/fstab", FILE, "etc_t"),
        ("/etc/hostname", FILE, "hostname_etc_t"),  # without wild cards: before all others
        ("/etc/hostname", LINK, "etc_t"),  # another file type
        ("/etc/ssh/ssh_host_rsa_key", FILE, "sshd_key_t"),
        ("/etc/ssh/ssh_host_rsa_key.pub", FILE, "etc_t"),  # the whole path must match
        ("/etc/systemd/system/x", DIRECTORY, "systemd_unit_file_t"),
        ("/usr/lib/a.so", FILE, "lib_t"),
        ("/usr/lib64/a.so", FILE, "lib_t"),
        ("/lib/a.so", FILE, "lib_t"),  # an alias
        ("/run/x", FILE, None),
        ("/var/log/x", LINK, "link_t"),
        ("/b", FILE, "either_t"),
        ("/etc/own", FILE, "own_t"),
    ],
)
def test_the_last_expression_that_matches_wins(path: str, kind: int, type_: str | None) -> None:
    policy = labels.load(GUEST.get)
    assert policy is not None
    assert policy.find(path, kind) == (f"system_u:object_r:{type_}:s0" if type_ else None)


@pytest.mark.parametrize("missing", list(GUEST)[:2])
def test_a_guest_without_a_policy_has_no_contexts(missing: str) -> None:
    assert labels.load({path: text for path, text in GUEST.items() if path != missing}.get) is None
