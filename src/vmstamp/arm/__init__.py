"""The control plane: Azure Resource Manager's REST interface over the stamp's disks and machines.

One engine (`engine.py`) knows what all resource types share: ids, api-versions, ETags, groups,
asynchronous operations, conflicts. A resource type is a record (`types.py`) with a handful of
functions. `control_plane.py` puts the types together, `rest.py` is the door to HTTP.

It must not know: QEMU, namespaces or the fabric's protocols (a `Host` runs virtual machines), nor how
blobs lie on disk (the `BlobStore` does), nor who listens on which port.
"""
