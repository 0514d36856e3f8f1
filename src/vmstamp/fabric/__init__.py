"""The fabric room: what a VM sees of Azure.

Documents (pure): `ovf_env`, `goal_state`, `imds_document`, `certificates`. Doors: `wireserver` (and the
HostGAPlugin), `imds`, served by `Fabric` on sockets that somebody else opened. The room gets the facts
of a VM as an `Instance` and knows neither ARM nor machines.
"""
