"""``signing-keys``: the keys that sign playback and upload addresses. Local: works on the file, and shows no secret."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.terminal import duration, examples, moment, out, print_json, reporting, table

if TYPE_CHECKING:
    from penstock.access.keyring import Keyring
    from penstock.settings import Settings

Data = Annotated[Path | None, typer.Option(help="Data folder with the keys (PENSTOCK_DATA; default ./data).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]

commands = typer.Typer()
signing_keys = typer.Typer(
    help="The keys that sign playback and upload addresses. Rotating them interrupts nobody.",
    no_args_is_help=True,
)
commands.add_typer(signing_keys, name="signing-keys", rich_help_panel="Looking closer")


@signing_keys.command("list")
@reporting
def list_keys(data: Data = None, as_json: AsJson = False) -> None:
    """Show the keys by their ids, and from when on each signs."""
    _, keyring = _open(data)
    _show(keyring, as_json=as_json)


@signing_keys.command(epilog=examples("penstock signing-keys rotate", "penstock signing-keys rotate --json"))
@reporting
def rotate(data: Data = None, as_json: AsJson = False) -> None:
    """Add a key that signs in a few minutes, once every service has read it; drop those that no address needs any more.

    Nothing is restarted. On several machines distribute the file within that time (PENSTOCK_ACCESS_ACTIVATION_DELAY).
    """
    settings, keyring = _open(data)
    fresh = keyring.rotate(settings.access.activation_delay)
    if not as_json:
        waits = duration(settings.access.activation_delay)
        out.print(f"key {fresh.id.hex()} is added and signs in {waits}; earlier ones verify what they signed")
    _show(keyring, as_json=as_json)


def _open(data: Path | None) -> "tuple[Settings, Keyring]":
    from penstock.access.keyring import Keyring
    from penstock.settings import Settings
    from penstock.wiring.first_start import require_signing_keys

    settings = Settings.load(data=data)
    require_signing_keys(settings)
    return settings, Keyring(settings.access.keyring_path)


def _show(keyring: "Keyring", *, as_json: bool) -> None:
    keys, now = keyring.present(), time.time()
    signing = keys.signing(now).id
    rows = []
    for key in keys.keys:
        state = "signs" if key.id == signing else "waits" if key.activates > now else "verifies"
        activates = datetime.fromtimestamp(key.activates, UTC).isoformat(timespec="seconds")
        rows.append({"id": key.id.hex(), "activates": activates, "state": state})
    if as_json:
        print_json(rows)
        return
    listing = table("ID", "SIGNS FROM", "NOW")
    for row in rows:
        listing.add_row(row["id"], moment(row["activates"]), row["state"])
    out.print(listing)
