"""Where a guest's disk is changed: `rework.rework` carries edits out on a copy, with no root and no boot.

`plan` says what is mounted where, `uml` runs User Mode Linux, and `inside` is the program that runs in it.
"""
