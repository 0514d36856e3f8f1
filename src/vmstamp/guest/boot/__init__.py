"""What boots a Linux guest: boot loaders and their entries, command lines, kernels, modules and initramfs."""
