"""``python -m penstock.membership.openapi``: the control interface as an OpenAPI document, in the form that is checked in."""

import json
import sys
import tempfile
from pathlib import Path

from penstock.membership import control
from penstock.membership.agent import Agent
from penstock.membership.config import MembershipConfig
from penstock.membership.in_memory import MemoryNetwork
from penstock.membership.keyring import Key


def document() -> str:
    """Of a node that never starts. The version of the interface is in its paths, not that of the program."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "keys").write_text(f"{Key.generate()}\n")  # else it would say that it made one
        agent = Agent(MembershipConfig(folder=Path(folder), name="node"), MemoryNetwork().transport())
        made = control.application(agent, version="1", token="of the document").openapi()  # noqa: S106 - protects nothing
        agent.release()
    for operation in (operation for path in made["paths"].values() for operation in path.values()):
        if "security" in operation:
            operation["security"].insert(0, {})  # none at a Unix socket
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
