"""Fuzzing of the disk formats' parsers: `python -m fuzz`, or `make fuzz`; see docs/fuzzing.md.

kinds       small valid files of every kind, where their structures lie, what their checksums are
bed         one kind's files in a directory; an input is laid over them, and taken off again
looks       what is done with the mutated file: opened, read, listed, checked, mended
limits      what counts as a finding: a foreign exception, too much time, too much memory
findings    how a finding is kept: reduced, as text
mutate      seeded mutations, for those without atheris, and half of those with it
guided      the same, guided by coverage (atheris)
"""
