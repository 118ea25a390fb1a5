"""
The start of the command: ``tcpclient``, or ``python -m twisted_tcpclient``.

The rest of the package is imported within :func:`main`, after SIGINT was given its
default action: Ctrl-C during the imports ends the process without a traceback.
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
        return _run()
    except (MemoryError, SystemError):
        # CPython was observed to raise SystemError, too, when it was out of memory.
        why = "out of memory"
    except (OSError, ImportError) as error:
        # Without a free descriptor (EMFILE) an import raises OSError; without memory
        # for a shared library it raises ImportError.
        system = getattr(error, "strerror", None) or ""
        why = system.lower() or str(error)
    # If stderr is closed, the exit status alone reports the failure.
    with suppress(OSError):
        os.write(2, b"tcpclient: fatal: %s\n" % why.encode("ascii", "replace"))
    return 111


def _run() -> int:
    """Import the rest of the package, and run the command."""
    # Loaded modules are never freed.  Collecting garbage during the imports takes a
    # fifth of the CPU time of the start.
    gc.disable()
    from twisted_tcpclient.command.console import run

    gc.freeze()
    gc.enable()
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
