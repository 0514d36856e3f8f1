"""The Blob service: storage accounts, containers, page, block and append blobs with their snapshots.

Its doors: `vmstamp.blob.store.BlobStore` for the stamp's own rooms (managed disks and images are page
blobs of hidden accounts), and `vmstamp.blob.rest.app` for clients that speak Azure's Blob REST.

    store.py on snapshots.py on blocks.py               what is kept; store.py tells the crash rules
      on page_blobs.py on blobs.py on accounts.py
    records.py tables.py pages.py content.py locks.py   its values, rows, page tables, files and locks
    sources.py copies.py                                what copies read; copies that go on after their answer
    conditions.py lease.py auth.py sas.py tags.py       pure functions
    faults.py documents.py                              Azure's error codes and texts; XML bodies
    request.py operations.py                            a request, and which operation it is
    *_ops.py                                            one function per REST operation
    blob_requests.py blob_replies.py                    what these share
    rest.py protocol.py                                 their door: ASGI, and HTTP under it

It must not know ARM, virtual machines or the formats of disks: a VHD is bytes here.
"""
