# Run by mmdebstrap outside the new root, as root of its namespace: its files become an ext4 file system, written
# in place into the disk. Given: root, root_uuid, disk, offset (bytes), size (KiB).
#
# The view is a second mount of the root alone, without what is mounted inside it (/proc, /sys), and without /tmp,
# where mmdebstrap keeps the configuration that ties its apt to this root: that must never be removed. What GRUB
# 2.06 and common readers of ext4 do not know is left out. The disk is all holes, which need no zeroing.
set -eu
view="$root/mnt"
mount --bind "$root" "$view"
trap 'umount --recursive "$view"' EXIT
mount -t tmpfs -o mode=755 tmpfs "$view/dev"
mount -t tmpfs -o mode=1777 tmpfs "$view/tmp"
rm -f "$view/usr/sbin/policy-rc.d"
if [ -e "$view/sbin/start-stop-daemon.REAL" ]; then
    mv "$view/sbin/start-stop-daemon.REAL" "$view/sbin/start-stop-daemon"
fi
PATH="$PATH:/usr/sbin:/sbin" mkfs.ext4 -q -F -b 4096 -I 256 -m 1 -U "$root_uuid" -L root \
    -O '^metadata_csum_seed,^orphan_file' -E "offset=$offset,root_owner=0:0" -d "$view" "$disk" "${size}k"
