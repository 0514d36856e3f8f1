"""The Blob service: storage accounts, containers, page blobs and small block blobs.

Its doors: `vmstamp.blob.store.BlobStore` for the stamp's own rooms (managed disks and images are page
blobs of hidden accounts), and `vmstamp.blob.rest.app` for clients that speak Azure's Blob REST.

    store.py on blobs.py on accounts.py                 what is kept; store.py tells the crash rules
    records.py tables.py pages.py content.py locks.py   its values, rows, page tables, files and locks
    conditions.py lease.py auth.py sas.py               pure functions
    faults.py documents.py                              Azure's error codes and texts; XML bodies
    request.py operations.py                            a request, and which operation it is
    blob_ops.py lease_ops.py container_ops.py           one function per REST operation
    blob_requests.py blob_replies.py                    what these share
    rest.py                                             their door

It must not know ARM, virtual machines or the formats of disks: a VHD is bytes here.
"""
