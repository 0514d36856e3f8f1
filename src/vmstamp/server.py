"""The server process of one stamp: `python -m vmstamp.server`, which `vmstamp up` runs.

What it serves is read in last: half of a start is reading code, and a guest that tries the accelerator runs
beside it.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading

from vmstamp import settings
from vmstamp.errors import VmstampError
from vmstamp.machine.accelerator import probe_accelerator

log = logging.getLogger("vmstamp")


def main() -> int:
    """Serve the home of the environment; exit status 0 when stopped, 1 when it could not start."""
    gc.disable()
    threading.Thread(target=probe_accelerator).start()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Its every disconnect is a line; what matters of it raises.
    logging.getLogger("qemu.qmp").setLevel(logging.WARNING)
    from vmstamp.doors import serve

    # What is there now stays; and requests make much that is gone soon, but few cycles.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
    try:
        serve(settings.home(), settings.arm_port(), settings.blob_port())
    except VmstampError as error:
        log.error("%s%s", error.message, f" - {error.hint}" if error.hint else "")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
