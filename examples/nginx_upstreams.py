"""Keeps an nginx upstream list in step with the cluster: a program outside Penstock that uses its control interface.

    python examples/nginx_upstreams.py --socket data/membership/control.sock --role streaming \
        --output /etc/nginx/conf.d/streaming.conf --reload "nginx -s reload"

Services that have the role, on members that are alive or only suspected, are listed with the address that they registered
({"services": {"web-8800": {"roles": ["streaming"], "url": "http://10.0.0.5:8800"}}} in a member's metadata). The file is replaced in one step, and only when it changes; nginx therefore never reads half of one. When the node restarts, or
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
from urllib.parse import urlsplit

from penstock.membership.client import MembershipClient
from penstock.membership.errors import MembershipError
from penstock.membership.views import Member

RETRY_SECONDS = 2.0  # between attempts to reach the node: shorter than any client's patience, longer than its restart takes


def render(members: Iterable[Member], role: str) -> str:
    """The upstream block. With nobody left, one server that refuses: nginx does not accept an empty list."""
    addresses = sorted(
        urlsplit(service["url"]).netloc
        for member in members
        if member.state in {"alive", "suspect"}
        for service in member.metadata.get("services", {}).values()
        if role in service.get("roles", []) and service.get("health") != "down"
    )
    servers = [f"    server {address};" for address in addresses] or ["    server 127.0.0.1:9 down;"]
    return "\n".join([f"upstream {role} {{", *servers, "}", ""])


def replace(path: Path, text: str) -> bool:
    """Writes the file in one step; False where it held that already."""
    if path.exists() and path.read_text() == text:
        return False
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)
    return True


def follow(client: MembershipClient, role: str, output: Path, reload: str | None) -> None:
    """Until the node ends the connection."""
    members: dict[str, Member] = {}
    for item in client.watch():
        if isinstance(item, list):
            members = {member.id: member for member in item}
        elif item.kind == "forgotten":
            members.pop(item.member.id, None)
        else:
            members[item.member.id] = item.member
        if replace(output, render(members.values(), role)):
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
    parser.add_argument("--role", required=True, help="role that a service must have")
    parser.add_argument("--output", type=Path, required=True, help="file to keep")
    parser.add_argument("--reload", help="command to run after each change")
    given = parser.parse_args()
    while True:
        try:
            with MembershipClient(given.socket) as client:
                follow(client, given.role, given.output, given.reload)
        except MembershipError as error:
            sys.stderr.write(f"{error.detail}\n")
        time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    os.umask(0o022)  # nginx may run as another user
    main()
