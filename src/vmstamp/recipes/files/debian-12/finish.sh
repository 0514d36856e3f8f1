# Run by mmdebstrap outside the new root, as root of its namespace, when every package is configured.
# Given: root, root_uuid, provisioner (cloud-init or waagent).
set -eu

# GRUB's menu, made by the guest's own grub-mkconfig. grub-probe would look for the device that holds the
# directory we are in, so for this one run its answers come from here.
probe="$root/usr/sbin/grub-probe"
mv "$probe" "$probe.real"
cat >"$probe" <<PROBE
#!/bin/sh
for word; do case "\$word" in --target=*) target="\${word#--target=}";; esac; done
case "\$*" in *'-t '*) target="\$(echo "\$*" | sed 's/.*-t \([a-z_]*\).*/\1/')";; esac
case "\$target" in
    device) echo /dev/disk/by-uuid/$root_uuid;;
    fs_uuid) echo $root_uuid;;
    fs) echo ext2;;
    partmap) echo gpt;;
    *) ;;
esac
PROBE
chmod 755 "$probe"
mkdir -p "$root/dev/disk/by-uuid"
touch "$root/dev/disk/by-uuid/$root_uuid"
mkdir -p "$root/boot/grub/x86_64-efi"
chroot "$root" grub-mkconfig -o /boot/grub/grub.cfg
mv "$probe.real" "$probe"
rm -r "$root/dev/disk"
grep -q "root=UUID=$root_uuid" "$root/boot/grub/grub.cfg"
cp "$root"/usr/lib/grub/x86_64-efi/*.mod "$root"/usr/lib/grub/x86_64-efi/*.lst "$root/boot/grub/x86_64-efi/"

# The EFI system partition: Debian's signed shim and GRUB, in Debian's place and in the removable one, which
# is where firmware looks that has never seen this disk.
efi="$root/boot/efi/EFI"
mkdir -p "$efi/BOOT" "$efi/debian"
for place in "$efi/BOOT/BOOTX64.EFI" "$efi/debian/shimx64.efi"; do
    cp "$root/usr/lib/shim/shimx64.efi.signed" "$place"
done
for place in "$efi/BOOT" "$efi/debian"; do
    cp "$root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$place/grubx64.efi"
    cp "$root/usr/lib/shim/mmx64.efi.signed" "$place/mmx64.efi"
done
cat >"$efi/debian/grub.cfg" <<STUB
search.fs_uuid $root_uuid root
set prefix=(\$root)'/boot/grub'
configfile \$prefix/grub.cfg
STUB

case "$provisioner" in
    cloud-init)
        # The resource disk is cloud-init's.
        sed -i -e 's/^ResourceDisk\.Format=.*/ResourceDisk.Format=n/' "$root/etc/waagent.conf"
        ;;
    waagent)
        sed -i -e 's/^Provisioning\.Agent=.*/Provisioning.Agent=waagent/' "$root/etc/waagent.conf"
        grep -q '^Provisioning.Agent=waagent$' "$root/etc/waagent.conf"
        ;;
esac
chroot "$root" systemctl enable systemd-networkd.service
chroot "$root" passwd --lock root

# What is of the machine that built it, or would be shared by every copy.
chroot "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old \
    "$root"/var/lib/dpkg/*-old "$root"/var/log/apt "$root"/var/log/*.log "$root"/var/tmp/* \
    "$root"/etc/apt/apt.conf.d/[0-9][0-9]mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
    "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed \
    "$root"/etc/*- "$root"/etc/.pwd.lock
: >"$root/etc/machine-id"
chmod 444 "$root/etc/machine-id"
mkdir -p "$root/var/lib/dbus"
ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
echo localhost >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
