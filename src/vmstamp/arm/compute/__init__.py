"""Microsoft.Compute: disks, images and virtual machines. `host.py` says what it needs of the computer."""
