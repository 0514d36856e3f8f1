"""Microsoft.Network: virtual networks, security groups, public addresses and network interfaces."""
