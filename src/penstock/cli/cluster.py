"""``cluster``: the nodes and what runs on them, as the library of the server that is talked to shows them."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from penstock.cli.server import connect
from penstock.cli.terminal import age, examples, out, print_json, reporting, table, visible

if TYPE_CHECKING:
    from penstock.client import Client
    from penstock.client.models import Cluster, Node, Service

commands = typer.Typer()

REFRESH_SECONDS = 2.0  # services report every five
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_STATES = {"alive": "green", "suspect": "yellow", "dead": "red", "left": "dim"}
_HEALTHS = {"ok": "green", "down": "red"}


@commands.command(
    rich_help_panel="The cluster",
    epilog=examples("penstock cluster", "penstock cluster --watch", "penstock cluster --json"),
)
@reporting
def cluster(
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show it anew as it changes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the server answers, as JSON.")] = False,
) -> None:
    """Show the nodes: who is alive, what runs where, how busy it is. Needs an administrator's key."""
    with connect() as client:
        if as_json:
            print_json(client.connection.json("GET", "/api/cluster"))
        elif watch:
            _watch(client)
        else:
            out.print(_shown(client.cluster()))


def _watch(client: "Client") -> None:
    from rich.live import Live

    if not out.is_terminal:  # into a file or a pipe: whatever differs, one below the other
        last = None
        while True:
            found = client.cluster()
            if (seen := [replace(node, since=_NEVER) for node in found.nodes]) != last:
                out.print(_shown(found))
                last = seen
            time.sleep(REFRESH_SECONDS)
    with Live(_shown(client.cluster()), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_SECONDS)
            live.update(_shown(client.cluster()), refresh=True)


def _shown(found: "Cluster") -> RenderableType:
    listing = table("NODE", "STATE", "FOR", "HEALTH", "ROLES", "LOAD", "VERSION", "ADDRESS")
    now = datetime.now(UTC)
    for node in found.nodes:
        listing.add_row(
            f"[bold]{escape(node.name)}[/]" + (" (here)" if node.here else ""),
            f"[{_STATES.get(node.state, 'default')}]{escape(node.state)}[/]",
            age((now - node.since).total_seconds()),
            _health(node),
            ", ".join(map(escape, node.roles)) or "-",
            _load(node),
            ", ".join(map(escape, node.versions)) or "-",
            node.address or "-",
        )
        for service in node.services:
            listing.add_row(
                f"  {escape(service.name)}", "", "", _health(service), "", _load(service), "", escape(service.url or "-"),
            )  # fmt: skip
    title = f"cluster {found.name}" if found.name else "no cluster is configured: this machine alone"
    return Group(Text(visible(title)), listing)


def _health(of: "Node | Service") -> str:
    return "-" if of.health is None else f"[{_HEALTHS.get(of.health, 'default')}]{escape(of.health)}[/]"


def _load(of: "Node | Service") -> str:
    return "-" if of.load is None else f"{of.load.used}/{of.load.total}"
