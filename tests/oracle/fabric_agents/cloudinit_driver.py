"""Drives the real cloud-init's Azure code against our fabric. Run by the system's Python."""

# mypy: ignore-errors
import cloudinit.sources.DataSourceAzure as azure
from cloudinit import version
from cloudinit.sources.helpers.azure import OvfEnvXml, WALinuxAgentShim
from guest_side import answer, read_job

WIRESERVER = "168.63.129.16"

job = read_job()


def read_ovf():
    env = OvfEnvXml.parse_text(job["ovf"])
    return {
        "hostname": env.hostname,
        "username": env.username,
        "password": env.password,
        "custom_data": env.custom_data.decode() if env.custom_data else None,
        "disable_password": env.disable_ssh_password_auth,
        "keys": env.public_keys,
        "preprovisioned": env.preprovisioned_vm,
    }


def read_imds():
    try:
        from cloudinit.sources.azure import imds

        document = imds.fetch_metadata_with_api_fallback(retry_deadline=0)
    except ImportError:
        document = azure.get_metadata_from_imds(
            retries=0, md_type=azure.MetadataType.ALL, api_version="2021-08-01"
        )
    generate = azure.generate_network_config_from_instance_network_metadata
    try:
        network = generate(document["network"], apply_network_config_for_secondary_ips=True)
    except TypeError:  # before 23
        network = generate(document["network"])
    return {
        "username": azure._username_from_imds(document),
        "hostname": azure._hostname_from_imds(document),
        "disable_password": azure._disable_password_from_imds(document),
        "userdata": azure._userdata_from_imds(document),
        "keys": [key["keyData"] for key in document["compute"]["publicKeys"]],
        "extended": document["extended"],
        "network": network,
    }


def register(shim):
    # A list of keys, even an empty one, makes it fetch and decrypt the certificates.
    try:
        shim.register_with_azure_and_fetch_data(distro=None, pubkey_info=[])
    except TypeError:  # before 24
        shim.register_with_azure_and_fetch_data(pubkey_info=[])


found = {"version": version.version_string(), "ovf": read_ovf(), "imds": read_imds()}
shim = WALinuxAgentShim(WIRESERVER)
if job.get("failure"):
    shim.register_with_azure_and_report_failure(description=job["failure"])
else:
    register(shim)
    goal_state = shim._fetch_goal_state_from_azure(need_certificate=True)
    found["certificates"] = shim.openssl_manager.parse_certificates(goal_state.certificates_xml)
    shim.clean_up()
answer(found)
