# Run by mmdebstrap outside the new root, which is empty but for apt's state. Given: root, packages.
# The kernel's package is the one that its metapackage names now.
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
mkdir "$root/debs" "$root/unpacked"
cd "$root/debs"
kernel="$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' |
    head -n 1)"
apt-get download "$kernel" $packages
for deb in *.deb; do
    dpkg-deb --extract "$deb" "$root/unpacked"
done
