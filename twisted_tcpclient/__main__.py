"""
The command's first steps: ``tcpclient``, or ``python -m twisted_tcpclient``.

Light on purpose: whoever types Ctrl-C while the rest is loaded gets an end, not
a traceback.
"""

import gc
import os
import signal
import sys
from contextlib import suppress


def main() -> int:
    """Run the command, and return its exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        # What is loaded now stays.  To look for garbage in it, again and again, is a
        # fifth of the work of starting.
        gc.disable()
        from twisted_tcpclient.command.console import run

        gc.freeze()
        gc.enable()
        return run(sys.argv[1:])
    except (MemoryError, SystemError):
        # Python has been seen to raise the latter when it is out of memory, too.
        why = "out of memory"
    except (OSError, ImportError) as error:
        # Out of descriptors or memory before there was anything to do it with.
        system = getattr(error, "strerror", None) or ""
        why = system.lower() or str(error)
    # Where nobody can be told the status has to do.
    with suppress(OSError):
        os.write(2, b"tcpclient: fatal: %s\n" % why.encode("ascii", "replace"))
    return 111


if __name__ == "__main__":
    sys.exit(main())
