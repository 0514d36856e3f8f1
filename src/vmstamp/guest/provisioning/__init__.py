"""The agents that provision a Linux guest, cloud-init and WALinuxAgent: what is there, how to enable it."""
