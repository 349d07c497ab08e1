"""The command line. It speaks only HTTP to a server, but for starting one, ``doctor``, ``plan`` and ``verify``."""

import os
import signal

_INTERRUPTED = 130  # as penstock.cli.terminal.Status has it, which is not loaded yet


def main() -> None:
    """The program.

    An interrupt while its modules are being loaded ends it at once: nothing has begun yet, and as an exception it would show,
    or be lost in, whatever the loader was at. One that is ignored stays ignored.
    """
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from penstock.cli.app import run

    signal.signal(signal.SIGINT, former)
    run()
