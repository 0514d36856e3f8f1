"""Steps about what people leave behind: what they typed, whom they talked to, their keys, mail and jobs.

Sources: guestfs-tools `sysprep_operation_{ssh_userdir,bash_history,passwd_backups,mail_spool,cron_spool,
pam_data}.ml`; of credentials each program's own documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.files.volume import Kind
from vmstamp.guest.identity.step import (
    Default,
    Found,
    Guest,
    Severity,
    Step,
    in_homes,
    joined,
    places,
    removing,
)

PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----")

HISTORIES = (
    ".*history", ".*_history-*", ".*hst", ".*hist", ".viminfo", ".wget-hsts", ".dbshell", ".vim/.netrwhist",
    ".ghc/ghci_history", ".local/share/*/*history*", ".local/state/*history*", ".local/state/*/*history*",
    ".local/state/lesshst", ".config/fish/fish_history", ".local/share/powershell/PSReadLine/*",
    ".ipython/profile_*/history.sqlite", ".local/state/nvim/shada/*", ".local/share/nvim/shada/*",
    ".julia/logs/repl_history.jl", ".zsh_sessions", ".bash_sessions", ".mongosh/*",
    ".mongodb/mongosh/*history*", ".mysqlsh/history*",
)  # fmt: skip


def _plain_crontabs(guest: Guest) -> Iterator[Found]:
    """Red Hat's cron keeps a user's jobs right below /var/spool/cron."""
    for path in guest.glob("/var/spool/cron/[!.]*"):
        if guest.files.is_file(path) and guest.holds(path):
            yield Found(path, "a job", removing(path))


def _client_keys(guest: Guest) -> Iterator[Found]:
    """Private keys by what is in them: in homes, and where programs keep theirs in /etc."""
    patterns = [(home, ".ssh/*", user) for user, home in guest.homes]
    patterns += [(home, one, user) for user, home in guest.homes for one in ("*.pem", "*.key", ".*.pem")]
    patterns += [("/etc", f"{one}/*", "a service") for one in ("ssl/private", "pki/tls/private", "ssl")]
    for top, pattern, owner in patterns:
        for path in guest.glob(pattern, top):
            if "snakeoil" not in path and _is_private_key(guest, path):
                yield Found(path, f"a private key of {owner}", removing(path))


def _is_private_key(guest: Guest, path: str) -> bool:
    node = guest.files.find(path)
    if node is None or node.kind is not Kind.FILE:
        return False
    return PRIVATE_KEY.search(node.read(0, 4096).decode("ascii", "replace")) is not None


CREDENTIALS = (
    (".azure", "the Azure command line's sign-in of {user}"),
    (".aws/credentials", "AWS credentials of {user}"),
    (".config/gcloud", "Google Cloud credentials of {user}"),
    (".kube/config", "Kubernetes credentials of {user}"),
    (".docker/config.json", "container registry credentials of {user}"),
    (".config/containers/auth.json", "container registry credentials of {user}"),
    (".netrc", "passwords of {user}"),
    (".git-credentials", "git passwords of {user}"),
    (".config/gh/hosts.yml", "a GitHub token of {user}"),
    (".npmrc", "npm's settings of {user}, perhaps with a token"),
    (".pypirc", "a package index's password of {user}"),
    (".pgpass", "database passwords of {user}"),
    (".my.cnf", "database settings of {user}, perhaps with a password"),
    (".config/rclone/rclone.conf", "rclone's passwords of {user}"),
    (".env", "settings of {user}, perhaps with passwords"),
    (".vault-token", "a Vault token of {user}"),
    (".terraform.d/credentials.tfrc.json", "a Terraform token of {user}"),
    (".gnupg/private-keys-v1.d", "GnuPG keys of {user}"),
    (".cifscredentials", "a file share's password of {user}"),
)

STEPS = (
    Step(
        "shell-history",
        "remove what users typed in shells, databases and editors",
        "passwords that were typed are in every VM",
        "microsoft/lisa azure_image_standard.py verify_bash_history_is_empty; guestfs-tools bash_history",
        Severity.TRACE,
        in_homes(*((pattern, "what {user} typed") for pattern in HISTORIES)),
    ),
    Step(
        "known-hosts",
        "remove the lists of hosts that users connected to",
        "they tell which hosts the old machine talked to",
        "guestfs-tools sysprep_operation_ssh_userdir.ml",
        Severity.TRACE,
        in_homes(
            (".ssh/known_hosts*", "hosts that {user} connected to"),
            (".ssh/agent.*", "an agent's socket of {user}"),
        ),
    ),
    Step(
        "passwd-backups",
        "remove the backups of passwd, shadow and group",
        "they still hold removed users with their password hashes",
        "guestfs-tools sysprep_operation_passwd_backups.ml",
        Severity.TRACE,
        places(
            *((f"/etc/{one}-", "a backup of an account database") for one in
              ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")),
            *((f"/var/backups/{one}.bak", "a backup of an account database") for one in
              ("passwd", "shadow", "group", "gshadow")),
        ),
    ),
    Step(
        "private-keys",
        "remove private keys in homes and in /etc",
        "every VM has the same keys; whether they are meant to be there only the owner knows",
        "PEM and OpenSSH key headers",
        Severity.TRACE,
        _client_keys,
        Default.OFF,
    ),
    Step(
        "cloud-credentials",
        "remove sign-ins, tokens and passwords of command lines",
        "every VM, and whoever reads the image, acts in the owner's name",
        "azure-docs marketplace certification; the programs' own documents",
        Severity.TRACE,
        joined(
            in_homes(*CREDENTIALS),
            places(("/etc/kubernetes/*.conf", "Kubernetes credentials of the node")),
        ),
        Default.OFF,
    ),
    Step(
        "mail-spool",
        "remove mail",
        "it was meant for the users of the old machine",
        "guestfs-tools sysprep_operation_mail_spool.ml",
        Severity.TRACE,
        places(("/var/mail/*", "mail"), ("/var/spool/mail/*", "mail"), ("/var/spool/mqueue/*", "mail"),
               ("/var/spool/clientmqueue/*", "mail")),
    ),
    Step(
        "cron-spool",
        "remove users' cron and at jobs",
        "jobs of the old machine run in every VM; whether they are meant to only the owner knows",
        "guestfs-tools sysprep_operation_cron_spool.ml",
        Severity.TRACE,
        joined(
            places(*((f"/var/spool/{one}/[!.]*", "a job") for one in
                     ("cron/crontabs", "cron/tabs", "cron/atjobs", "at"))),
            _plain_crontabs,
        ),
        Default.OFF,
    ),
    Step(
        "pam-data",
        "remove counts of failed logins",
        "a new user of the same name starts locked out",
        "guestfs-tools sysprep_operation_pam_data.ml",
        Severity.TRACE,
        places(("/var/lib/faillock/*", "failed logins"), ("/var/log/tallylog", "failed logins"),
               ("/var/lib/sudo/ts/*", "sudo's time stamps"), ("/var/db/sudo/ts/*", "sudo's time stamps")),
    ),
)  # fmt: skip
