"""The machine room: running computers, their disks' overlays, their networks and media.

Doors: `Machine` (one QEMU), `Network` (one virtual network in a network namespace), `Forward` (a
loopback port that leads to a guest), `create_overlay` and `fold`, `build_dvd`, `probe_accelerator`,
`end_leftovers`. The room knows nothing of ARM, of blobs and of what a guest is told.
"""
