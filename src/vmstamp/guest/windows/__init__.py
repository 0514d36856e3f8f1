"""Windows on a disk: its NTFS, registry hives, boot configuration, accounts and Sysprep's logs, read offline."""
