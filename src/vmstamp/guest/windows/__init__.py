"""Windows on a disk: NTFS, registry hives, boot configuration, accounts, firewall, Sysprep; read offline."""
