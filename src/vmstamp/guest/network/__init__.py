"""How a guest configures its network: the files of each tool, read into one form.

Its door is `vmstamp.guest.network.survey.read_network(files) -> Network`. One module a tool: `ifupdown`,
`netplan`, `networkd`, `networkmanager`, `ifcfg` (Red Hat's and SUSE's); `interface` is the common form.
wicked's own XML in /etc/wicked is not read: SUSE's tools write ifcfg files.
"""
