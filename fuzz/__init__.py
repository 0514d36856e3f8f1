"""Fuzzing of the disk formats' parsers: `python -m fuzz`, or `make fuzz`."""
