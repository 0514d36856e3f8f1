"""The guest room: what lies inside a disk, read without root, mount or boot.

Its door:

- `vmstamp.guest.inspect.inspect(disk) -> Report`: what the disk is, what runs on it, and what of it would
  fail on Azure.
- `vmstamp.guest.doctor.diagnose(disk, target) -> Diagnosis`: the same questions, weighed for what the disk
  is to become; `plan_mends` gives the edits that mend what was found.
- `vmstamp.guest.identity.read_identity(disk) -> Identity`: what of a machine's identity is left on it.
- `vmstamp.guest.generalize.plan(survey, choice) -> Plan`: the edits that remove it, and what will be left.
- `vmstamp.guest.files.fs.open_root(disk) -> Files`: the guest's files, links resolved inside the guest.
- `vmstamp.guest.workshop.rework.rework(disk, edits, output) -> Outcome`: edits carried out on a copy.

Below the doors: `facts` gathers what `checks` look at, with `files`, `boot`, `network`, `provisioning` and
`windows` as its readers; `overlay` shows the files as `edits` would leave them.

It takes any `vmstamp.disk.base.Disk` and never writes to it. What it reads was written by strangers: every
size, depth and count is bounded, and a broken file system raises GuestError. It must not know of blobs, of
ARM, of the fabric or of a running machine.
"""
