"""What runs as the only program of a User Mode Linux: it mounts a guest's file systems and edits them.

Started by `vmstamp.guest.workshop` with the interpreter's own library only (`python -I -S`); so nothing here
imports more of vmstamp than its neighbours.
"""
