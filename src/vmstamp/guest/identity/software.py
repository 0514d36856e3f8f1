"""Steps about what programs know of the machine: subscriptions, domains, management, security agents.

Sources: guestfs-tools `sysprep/`, and each program's own documents on making images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.edits import Run
from vmstamp.guest.identity.step import (
    Default,
    Found,
    Guest,
    Severity,
    Step,
    contents,
    in_homes,
    joined,
    places,
    removing,
    together,
)

SECRET_CONNECTION = re.compile(r"^\s*(?:psk|password|secret|private-key|secrets?[\w-]*)\s*=\s*\S", re.M)

# Of Puppet's directory; what it calls facts.d and lib may be the owner's.
PUPPET_DATA = (
    "bucket", "clientbucket", "client_data", "client_yaml", "reports", "state", "yaml",
)  # fmt: skip

# One directory or file with what identifies the machine to a service, removed as its maker tells for images.
SERVICE_IDS = (
    ("/etc/opt/microsoft/mdatp/mdatp_onboard.json", "Defender's onboarding of the machine"),
    ("/var/opt/microsoft/mdatp/definitions.noindex/machine_id", "Defender's id of the machine"),
    ("/var/opt/azcmagent/agentconfig.json", "Azure Arc's id of the machine"),
    ("/var/opt/azcmagent/certs", "Azure Arc's keys"),
    ("/var/osquery/osquery.db", "osquery's id of the machine"),
    ("/var/ossec/etc/client.keys", "Wazuh's key of the machine"),
    ("/var/lib/tailscale/tailscaled.state", "Tailscale's key of the machine"),
    ("/var/lib/zerotier-one/identity.*", "ZeroTier's key of the machine"),
    ("/var/lib/landscape/client/*.bpickle", "Landscape's id of the machine"),
    ("/etc/rancher/node/password", "a cluster's password of the node"),
    ("/var/lib/kubelet/pki", "a cluster's keys of the node"),
)


def _connections(guest: Guest) -> Iterator[Found]:
    for path in guest.glob("/etc/NetworkManager/system-connections/*"):
        if SECRET_CONNECTION.search(guest.text(path)):
            yield Found(path, "a network's password or key", removing(path))
    for path in guest.glob("/etc/wpa_supplicant/*.conf"):
        if SECRET_CONNECTION.search(guest.text(path)):
            yield Found(path, "a wireless network's password", removing(path))
    for path in guest.glob("/etc/wireguard/*"):
        yield Found(path, "WireGuard's keys", removing(path))


def _certificates(guest: Guest) -> Iterator[Found]:
    for pattern, program in (
        ("/usr/local/share/ca-certificates/*", ("update-ca-certificates", "--fresh")),
        ("/etc/pki/ca-trust/source/anchors/*", ("update-ca-trust",)),
    ):
        for path in guest.glob(pattern):
            rebuild = Run(program)
            yield Found(
                path, "a certificate authority that was added",
                together(removing(path), lambda _, rebuild=rebuild: [rebuild]),  # type: ignore[misc]
            )  # fmt: skip


STEPS = (
    Step(
        "subscription-ids",
        "remove the ids and keys of Red Hat, SUSE and Ubuntu subscriptions",
        "every VM counts as the same subscribed machine",
        "guestfs-tools sysprep_operation_rh_subscription_manager.ml, rhn_systemid.ml, yum_uuid.ml",
        Severity.IDENTITY,
        places(
            ("/etc/pki/consumer/*.pem", "Red Hat's subscription of the machine"),
            ("/etc/pki/entitlement/*.pem", "Red Hat's entitlement of the machine"),
            ("/var/lib/rhsm/cache/*", "Red Hat's subscription of the machine"),
            ("/etc/sysconfig/rhn/systemid", "the machine's id at Red Hat, Oracle or Spacewalk"),
            ("/etc/sysconfig/rhn/osad-auth.conf", "the machine's sign-in at Red Hat or Spacewalk"),
            ("/etc/insights-client/machine-id", "the machine's id at Red Hat"),
            ("/etc/zypp/credentials.d/*", "SUSE's credentials of the machine"),
            ("/etc/SUSEConnect", "SUSE's registration of the machine"),
            ("/var/lib/ubuntu-advantage/private/machine-token.json", "Ubuntu Pro's token of the machine"),
            ("/var/lib/yum/uuid", "the machine's id at package mirrors"),
        ),
    ),
    Step(
        "kerberos-keytab",
        "remove the machine's Kerberos keys",
        "every VM is the same member of the realm",
        "guestfs-tools sysprep_operation_kerberos_hostkeytab.ml",
        Severity.IDENTITY,
        places(("/etc/krb5.keytab", "the machine's keys in a realm")),
    ),
    Step(
        "joined-domain",
        "remove what joins the machine to a domain",
        "every VM is the same member of the domain; joining again needs an administrator of it",
        "guestfs-tools sysprep_operation_ipa_client.ml, samba_db_log.ml, sssd_db_log.ml, kerberos_data.ml",
        Severity.IDENTITY,
        places(
            ("/var/lib/samba/private/secrets.tdb", "the machine's password in a domain"),
            ("/etc/samba/secrets.tdb", "the machine's password in a domain"),
            ("/var/lib/sss/db/*.ldb", "users of a domain"),
            ("/var/lib/sss/secrets/*", "secrets of a domain"),
            ("/var/lib/ipa-client/sysrestore/*", "the machine was joined to an IPA domain"),
            ("/var/lib/ipa-client/pki/*", "an IPA domain's certificates"),
            ("/etc/ipa/default.conf", "the machine's IPA domain"),
            ("/etc/ipa/ca.crt", "an IPA domain's certificate"),
            ("/var/lib/krb5kdc/principal*", "a realm's database"),
            ("/var/kerberos/krb5kdc/principal*", "a realm's database"),
        ),
        Default.OFF,
    ),
    Step(
        "config-mgmt-identity",
        "remove the keys by which Puppet, Salt, Chef and CFEngine know the machine",
        "every VM is the same node, with the same secrets",
        "guestfs-tools sysprep_operation_puppet_data_log.ml; Salt and Chef documents",
        Severity.IDENTITY,
        joined(
            contents(
                ("/var/lib/puppet/ssl", "Puppet's keys of the machine"),
                ("/etc/puppetlabs/puppet/ssl", "Puppet's keys of the machine"),
                ("/etc/puppet/ssl", "Puppet's keys of the machine"),
                ("/var/lib/cfengine*/ppkeys", "CFEngine's keys of the machine"),
                *((f"/var/lib/puppet/{one}", "Puppet's data of the machine") for one in PUPPET_DATA),
                *(
                    (f"/opt/puppetlabs/puppet/cache/{one}", "Puppet's data of the machine")
                    for one in PUPPET_DATA
                ),
            ),
            places(
                ("/etc/salt/pki/minion/*", "Salt's keys of the machine"),
                ("/etc/salt/minion_id", "Salt's name of the machine"),
                ("/var/cache/salt/minion/*", "Salt's data of the machine"),
                ("/etc/chef/client.pem", "Chef's key of the machine"),
                ("/etc/cinc/client.pem", "Cinc's key of the machine"),
                ("/var/chef/cache/*", "Chef's data of the machine"),
            ),
        ),
    ),
    Step(
        "edr-arc-identity",
        "remove the ids by which security, management and VPN services know the machine",
        "every VM is the same machine to the service; Azure Arc must not run in an Azure VM at all",
        "the services' documents on golden images",
        Severity.IDENTITY,
        places(*SERVICE_IDS),
    ),
    Step(
        "service-ids",
        "remove ids by which installations are counted",
        "all VMs are counted as one",
        "guestfs-tools sysprep_operation_smolt_uuid.ml",
        Severity.TRACE,
        places(
            ("/etc/sysconfig/hw-uuid", "smolt's id of the machine"),
            ("/etc/smolt/uuid", "smolt's id of the machine"),
            ("/etc/smolt/hw-uuid", "smolt's id of the machine"),
            ("/var/lib/whoopsie/whoopsie-id", "whoopsie's id of the machine"),
            ("/etc/docker/key.json", "the container engine's id"),
            ("/var/lib/docker/engine-id", "the container engine's id"),
            ("/var/lib/dnf/countme*", "what dnf counts"),
        ),
    ),
    Step(
        "installer-secrets",
        "remove the installer's answers and logs",
        "root's and the first user's password hashes are among them",
        "azure-compute-docs linux/redhat-create-upload-vhd.md; Anaconda and Subiquity documents",
        Severity.TRACE,
        joined(
            places(
                ("/root/anaconda-ks.cfg", "what the installer was told"),
                ("/root/original-ks.cfg", "what the installer was told"),
                ("/root/initial-setup-ks.cfg", "what the installer was told"),
                ("/root/inst-sys", "what the installer was told"),
                ("/var/lib/YaST2/install.inf", "what the installer was told"),
                ("/etc/cloud/cloud.cfg.d/90-installer-network.cfg", "an installer's network"),
            ),
            contents(
                ("/var/log/installer", "what the installer was told"),
                ("/var/log/anaconda", "what the installer was told"),
                ("/var/adm/autoinstall", "what the installer was told"),
            ),
            in_homes(("anaconda-ks.cfg", "what the installer was told")),
        ),
    ),
    Step(
        "network-secrets",
        "remove passwords and keys of networks",
        "whoever reads the image can join these networks; whether VMs are meant to only the owner knows",
        "guestfs-tools sysprep_operation_net_nmconn.ml",
        Severity.TRACE,
        _connections,
        Default.OFF,
    ),
    Step(
        "ca-certificates",
        "remove certificate authorities that were added",
        "every VM trusts them; most often that is meant",
        "guestfs-tools sysprep_operation_ca_certificates.ml",
        Severity.TRACE,
        _certificates,
        Default.OFF,
    ),
    Step(
        "firewall-rules",
        "remove saved firewall rules",
        "every VM has them; most often that is meant",
        "guestfs-tools sysprep_operation_firewall_rules.ml",
        Severity.TRACE,
        places(
            ("/etc/sysconfig/iptables", "saved rules"),
            ("/etc/sysconfig/ip6tables", "saved rules"),
            ("/etc/iptables/rules.v[46]", "saved rules"),
            ("/etc/firewalld/services/*.xml", "saved rules"),
            ("/etc/firewalld/zones/*.xml", "saved rules"),
        ),
        Default.OFF,
    ),
)
