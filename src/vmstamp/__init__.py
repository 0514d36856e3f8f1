"""vmstamp: a local Azure for VM images."""

__version__ = "0.1.0"
