"""The files of a guest, read from the bytes of its disk.

From below: `window` (a part of a disk as a file), `probe` (what a partition holds), `lvm`, `btrfs`, `ntfs`
and `volume` (one file system's tree), `fstab`, and the door `fs`: all in one tree of absolute paths.
"""
