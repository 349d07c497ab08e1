"""The commands about the cluster: who is there, joining, leaving, keys. They speak to this machine's member service."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer
from rich.markup import escape

from penstock.cli.terminal import Status, age, examples, fail, out, print_json, reporting, status_of, table

if TYPE_CHECKING:
    from penstock.membership.client import MembershipClient
    from penstock.membership.views import Event, Member

commands = typer.Typer()

P = ParamSpec("P")
R = TypeVar("R")
PANEL = "The cluster"
COLOURS = {"alive": "green", "suspect": "yellow", "dead": "red", "left": "dim"}
Data = Annotated[
    Path | None, typer.Option(help="Data folder of the member service (PENSTOCK_DATA; default ./data).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the node answers, as JSON.")]
MemberName = Annotated[str, typer.Argument(metavar="MEMBER", help="Id, or a name that only one has.")]

keys = typer.Typer(
    help="The keys that seal what nodes say. Roll them: add on all nodes, use on all, remove on all.",
    no_args_is_help=True,
)
commands.add_typer(keys, name="keys", rich_help_panel=PANEL)


def _reporting(command: Callable[P, R]) -> Callable[P, R]:
    """Adds the membership service's own errors to those that every command reports."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from penstock.membership.errors import MembershipError, Unreachable

        try:
            return command(*args, **kwargs)
        except Unreachable as error:
            fail(error.detail, code=error.code, status=Status.UNAVAILABLE)
        except MembershipError as error:
            fail(error.detail, code=error.code, status=status_of(error.status, error.code))

    return reporting(wrapped)


def _connect(data: Path | None) -> "MembershipClient":
    from penstock.membership.control_address import connect
    from penstock.settings import Settings

    return connect(Settings.load(data=data).membership)


@commands.command(
    rich_help_panel=PANEL,
    epilog=examples("penstock members", "penstock members --watch", "penstock members --json"),
)
@_reporting
def members(
    data: Data = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and print each change with its reason.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show who is in the cluster, as this machine's node sees it."""
    with _connect(data) as client:
        if watch:
            for item in client.watch():
                if isinstance(item, list):
                    _show(item)
                else:
                    _tell(item)
            return
        found = client.members()
    if as_json:
        print_json([member.model_dump(mode="json") for member in found])
    else:
        _show(found)


@commands.command(
    rich_help_panel=PANEL, epilog=examples("penstock join 10.0.0.5", "penstock join seed.example:7946")
)
@_reporting
def join(
    addresses: Annotated[list[str], typer.Argument(metavar="HOST[:PORT]...", help="Nodes of the cluster.")],
    data: Data = None,
) -> None:
    """Join the cluster of whoever is there; also brings back a node that left."""
    with _connect(data) as client:
        met = client.join(addresses)
        out.print(f"met {len(met)} node{'s' if len(met) != 1 else ''}; the cluster has these members now:")
        _show(client.members())


@commands.command(rich_help_panel=PANEL)
@_reporting
def leave(data: Data = None) -> None:
    """Leave the cluster. The service goes on and may join again."""
    with _connect(data) as client:
        client.leave()
    out.print("left; 'penstock join' comes back")


@commands.command("force-leave", rich_help_panel=PANEL)
@_reporting
def force_leave(member: MemberName, data: Data = None) -> None:
    """Declare that a dead member has left for good, so that nobody tries it again."""
    with _connect(data) as client:
        gone = client.force_leave(member)
    out.print(f"{escape(gone.name)} has left")


@keys.command("list")
@_reporting
def list_keys(data: Data = None, as_json: AsJson = False) -> None:
    """Show the keys of this node by their fingerprints."""
    with _connect(data) as client:
        found = client.keys()
    if as_json:
        print_json([key.model_dump() for key in found])
        return
    for key in found:
        out.print(f"{key.fingerprint}  {'primary' if key.primary else ''}")


@keys.command()
def generate() -> None:
    """Print a new key. Nothing is changed."""
    from penstock.membership.keyring import Key

    out.print(str(Key.generate()))


@keys.command()
@_reporting
def add(
    key: Annotated[str, typer.Argument(help="32 bytes in base64; '-' reads it from standard input.")],
    data: Data = None,
) -> None:
    """Understand what is sealed with one more key. First step of rolling: on every node."""
    text = typer.get_text_stream("stdin").readline().strip() if key == "-" else key
    with _connect(data) as client:
        out.print(f"{len(client.add_key(text))} keys")


@keys.command()
@_reporting
def use(fingerprint: str, data: Data = None) -> None:
    """Seal with this key from now on. Second step: once every node has it."""
    with _connect(data) as client:
        client.use_key(fingerprint)
    out.print(f"{escape(fingerprint)} is primary")


@keys.command()
@_reporting
def remove(fingerprint: str, data: Data = None) -> None:
    """Forget a key. Last step: once every node seals with another."""
    with _connect(data) as client:
        client.remove_key(fingerprint)
    out.print(f"{escape(fingerprint)} is removed")


def _show(found: "list[Member]") -> None:
    shown = table("NAME", "STATE", "FOR", "ADDRESS", "ID", "METADATA")
    for member in found:
        metadata = ", ".join(f"{name}={_short(value)}" for name, value in member.metadata.items())
        shown.add_row(
            escape(member.name) + (" (here)" if member.me else ""),
            f"[{COLOURS[member.state]}]{member.state}[/]",
            age(member.age),
            f"{member.host}:{member.port}",
            member.id,
            escape(metadata),
        )
    out.print(shown)


def _tell(event: "Event") -> None:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(event.at, UTC).strftime("%H:%M:%S.%f")[:-3]
    member = event.member
    out.print(
        f"{moment}  [{COLOURS[member.state]}]{event.kind:<10}[/] {escape(member.name)} "
        f"({member.host}:{member.port}): {escape(event.reason)}"
    )


def _short(value: object) -> str:
    """What is registered in detail is shown by name; ``penstock cluster`` has the rest."""
    return " ".join(map(str, value)) if isinstance(value, dict) else str(value)
