"""The Blob service: storage accounts, containers, page blobs and small block blobs.

Its doors: `vmstamp.blob.store.BlobStore` for the stamp's own rooms (managed disks and images are page
blobs of hidden accounts), and `vmstamp.blob.rest.app` for clients that speak Azure's Blob REST.

    records.py content.py pages.py locks.py store.py    what is kept, and the crash rules
    conditions.py lease.py auth.py sas.py               pure functions
    faults.py documents.py                              Azure's error codes and texts; XML bodies
    request.py operations.py                            a request, and which operation it is
    blob_ops.py container_ops.py rest.py                one function per REST operation; their door

It must not know ARM, virtual machines or the formats of disks: a VHD is bytes here.
"""
