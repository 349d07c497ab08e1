"""One process under the supervisor: ``python -m penstock.wiring SERVICE``. People use ``penstock serve`` instead.

It loads no command-line library: two processes of these run on every machine, idle most of the time.
"""

import argparse
import socket
import sys

from penstock.settings import Settings
from penstock.supervisor import CONTROL_OPTION, Control
from penstock.video.errors import PenstockError
from penstock.wiring import processes

CONFIGURATION_STATUS = 3  # the command line's status for what an operator must change first


def main() -> int:
    """Runs the service until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m penstock.wiring")
    parser.add_argument("service", choices=processes.SERVICES)
    parser.add_argument("--listen-fd", type=int)
    parser.add_argument(CONTROL_OPTION, type=int, dest="control")
    options = parser.parse_args()
    listener = None if options.listen_fd is None else socket.socket(fileno=options.listen_fd)
    if listener is not None:
        listener.set_inheritable(False)
    control = None if options.control is None else Control(options.control)
    try:
        processes.run(
            options.service,
            Settings.load(),
            listener=listener,
            on_ready=control.ready if control else lambda: None,
        )
    except PenstockError as error:
        sys.stderr.write(f"error {error.code}: {error.detail}\n")
        return CONFIGURATION_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
