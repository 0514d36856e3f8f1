"""Bytes on their way between a Disk and a page blob, by the official azure-storage-blob.

Doors: `upload.upload` (a Disk becomes a fixed VHD in a page blob), `page_blob_disk.PageBlobDisk` (a page
blob seen as a Disk), `download.download` (a page blob becomes a disk file) and `download.verify`. `plan`
decides which ranges to write and clear, and is pure. This room knows extents, disk and the SDK; it must not
know the server's rooms, so that what works against a stamp works against Azure.
"""
