"""This computer as the host of VMs: joins the machine and fabric rooms to what ARM's machines need."""

from vmstamp.host.offers import offered_ports
from vmstamp.host.records import read_timeline, tell, timed_out
from vmstamp.host.vm_host import VmHost

__all__ = ["VmHost", "offered_ports", "read_timeline", "tell", "timed_out"]
