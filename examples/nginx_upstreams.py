"""Keeps an nginx upstream list in step with the cluster: a program outside Penstock that uses its control interface.

    python examples/nginx_upstreams.py --socket data/membership/control.sock --role streaming --port 8800 \
        --output /etc/nginx/conf.d/streaming.conf --reload "nginx -s reload"

Members that are alive, or only suspected, and state the role in their metadata ({"roles": ["streaming"]}) are listed. The
file is replaced in one step, and only when it changes; nginx therefore never reads half of one. When the node restarts, or
the connection is lost, the program asks again and begins with all members, so that no change is missed.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from penstock.membership.client import MembershipClient
from penstock.membership.errors import MembershipError
from penstock.membership.views import Member

RETRY_SECONDS = 2.0  # between attempts to reach the node: shorter than any client's patience, longer than its restart takes


def render(members: Iterable[Member], role: str, port: int) -> str:
    """The upstream block. With nobody left, one server that refuses: nginx does not accept an empty list."""
    hosts = sorted(
        member.host
        for member in members
        if member.state in {"alive", "suspect"} and role in member.metadata.get("roles", [])
    )
    servers = [f"    server {_bracketed(host)}:{port};" for host in hosts] or ["    server 127.0.0.1:9 down;"]
    return "\n".join([f"upstream {role} {{", *servers, "}", ""])


def replace(path: Path, text: str) -> bool:
    """Writes the file in one step; False where it held that already."""
    if path.exists() and path.read_text() == text:
        return False
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)
    return True


def follow(client: MembershipClient, role: str, port: int, output: Path, reload: str | None) -> None:
    """Until the node ends the connection."""
    members: dict[str, Member] = {}
    for item in client.watch():
        if isinstance(item, list):
            members = {member.id: member for member in item}
        elif item.kind == "forgotten":
            members.pop(item.member.id, None)
        else:
            members[item.member.id] = item.member
        if replace(output, render(members.values(), role, port)):
            sys.stdout.write(f"{output}: {len(members)} members known\n")
            sys.stdout.flush()
            if reload is not None:
                subprocess.run(shlex.split(reload), check=False)


def main() -> None:
    """Runs until it is ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--socket", type=Path, required=True, help="control socket of a member on this machine"
    )
    parser.add_argument("--role", required=True, help="role that a member must state")
    parser.add_argument("--port", type=int, required=True, help="port that the role serves on")
    parser.add_argument("--output", type=Path, required=True, help="file to keep")
    parser.add_argument("--reload", help="command to run after each change")
    given = parser.parse_args()
    while True:
        try:
            with MembershipClient(given.socket) as client:
                follow(client, given.role, given.port, given.output, given.reload)
        except MembershipError as error:
            sys.stderr.write(f"{error.detail}\n")
        time.sleep(RETRY_SECONDS)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    os.umask(0o022)  # nginx may run as another user
    main()
