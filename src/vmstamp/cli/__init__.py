"""The command line: what people type, and what they read.

Door: `main.main`. `commands/` holds the click commands, one module per noun, thin; the modules beside it hold
the work (flows), which `try` and `demo` share with the single commands. A stamp is spoken to over HTTP as
Azure is: ARM REST by azure-core's pipeline, Blob by azure-storage-blob through the transfer room. This room
must not know the server's rooms (blob, machine, fabric, arm, stamp). Imports of azure, rich, disk and guest
stay inside of functions, so that `vmstamp --help` starts at once.
"""
