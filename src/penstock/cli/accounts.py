"""``accounts``: who may use this instance, with which keys, and how much. Local: works on the records that the settings name."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from penstock.access.principals import ALL_SCOPES, Scope
from penstock.cli.fsck import require_records
from penstock.cli.terminal import examples, moment, out, print_json, reporting, size, table
from penstock.cli.videos import AsJson
from penstock.video.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from penstock.catalog import Catalog
    from penstock.catalog.records import Account, ApiKey

commands = typer.Typer()
accounts_ = typer.Typer(
    help="Accounts, their API keys and their limits, in the records that the settings name; the server may run.",
    no_args_is_help=True,
)
commands.add_typer(accounts_, name="accounts", rich_help_panel="Running it")

Login = Annotated[str, typer.Argument(metavar="LOGIN", help="Of the account.")]
_UNITS = {"": 1, **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)}}
_UNITS |= {f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})", re.IGNORECASE)
_MOST = 2**63 - 1


@accounts_.command("list", epilog=examples("penstock accounts list"))
@reporting
def list_accounts(as_json: AsJson = False) -> None:
    """Show every account: its role, whether it may sign in, what it uses, and limits of its own."""
    from penstock.catalog import accounts, quotas

    with _records() as catalog, catalog.read() as tx:
        rows: list[dict[str, Any]] = []
        while page := accounts.listing(tx, after=rows[-1]["id"] if rows else None):
            for account in page:
                usage = quotas.usage(tx, account.id, with_size=True)
                rows.append({**_document(account), "uses": asdict(usage)})
    if as_json:
        print_json(rows)
        return
    listing = table("ID", "LOGIN", "ROLE", "STATE", "KEPT", "OPEN UPLOADS", "OWN LIMITS")
    for row in rows:
        state = "disabled" if row["disabled_at"] else "in force"
        own = ", ".join(f"{name} {value}" for name, value in row["limits"].items() if value is not None)
        uses = row["uses"]
        listing.add_row(
            row["id"], escape(row["login"]), row["role"], state, size(uses["size"]), str(uses["uploads"]), own or "-"
        )  # fmt: skip
    out.print(listing)


@accounts_.command(epilog=examples("penstock accounts add ann", "penstock accounts add ben --role admin"))
@reporting
def add(
    login: Login,
    name: Annotated[str | None, typer.Option(help="As people read it; the login unless given.")] = None,
    role: Annotated[str, typer.Option(help="user or admin.")] = "user",
) -> None:
    """Make an account. It signs in with API keys: 'penstock accounts key' makes one."""
    from penstock.catalog import accounts
    from penstock.catalog.words import Role

    chosen = _one_of(Role, role, "--role")
    with _records() as catalog, catalog.write() as tx:
        account = accounts.create(tx, login=login, name=name or login, role=chosen)
    out.print(f"{escape(account.login)} is {account.role}, {account.id}")


@accounts_.command(epilog=examples("penstock accounts key ann --name laptop --scope upload --scope read"))
@reporting
def key(
    login: Login,
    name: Annotated[str, typer.Option(help="What it is for.")] = "key",
    scope: Annotated[
        list[str] | None, typer.Option(help="upload, read, manage, admin; repeatable. All unless given.")
    ] = None,
) -> None:
    """Make an API key and print it, this once: the records hold its digest alone."""
    from penstock.access import api_keys
    from penstock.catalog import accounts

    scopes = {_one_of(Scope, each, "--scope") for each in scope} if scope else ALL_SCOPES
    made = api_keys.new()
    with _records() as catalog, catalog.write() as tx:
        account = _find(tx, login)
        accounts.add_key(
            tx, account_id=account.id, name=name, prefix=made.prefix, digest=made.digest, scopes=scopes
        )
    typer.echo(made.text)


@accounts_.command(epilog=examples("penstock accounts keys ann"))
@reporting
def keys(login: Login, as_json: AsJson = False) -> None:
    """Show an account's keys by their beginnings; the secrets are nowhere."""
    from penstock.catalog import accounts

    with _records() as catalog, catalog.read() as tx:
        rows = [_key_document(each) for each in accounts.keys_of(tx, _find(tx, login).id)]
    if as_json:
        print_json(rows)
        return
    listing = table("ID", "BEGINS", "NAME", "SCOPES", "LAST USED", "REVOKED")
    for row in rows:
        listing.add_row(
            row["id"], row["prefix"], escape(row["name"]), " ".join(row["scopes"]), moment(row["last_used_at"]), moment(row["revoked_at"])
        )  # fmt: skip
    out.print(listing)


@accounts_.command(epilog=examples("penstock accounts revoke ann 01k2ad9w7m4bq9x0j7e5c3v8hn"))
@reporting
def revoke(
    login: Login, key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as 'keys' shows it.")]
) -> None:
    """End a key at once. Addresses that were signed for its holder open until they expire."""
    from penstock.catalog import accounts

    with _records() as catalog, catalog.write() as tx:
        accounts.revoke_key(tx, _find(tx, login).id, key_id)
    out.print(f"revoked {key_id}")


@accounts_.command(epilog=examples("penstock accounts disable ann"))
@reporting
def disable(login: Login) -> None:
    """Let none of an account's keys open anything; its videos stay as they are."""
    from penstock.catalog import accounts

    with _records() as catalog, catalog.write() as tx:
        accounts.disable(tx, _find(tx, login).id)
    out.print(f"{escape(login)} is disabled")


@accounts_.command(epilog=examples("penstock accounts enable ann"))
@reporting
def enable(login: Login) -> None:
    """Undo 'disable'."""
    from penstock.catalog import accounts

    with _records() as catalog, catalog.write() as tx:
        accounts.enable(tx, _find(tx, login).id)
    out.print(f"{escape(login)} is in force")


@accounts_.command(epilog=examples("penstock accounts role ann admin"))
@reporting
def role(login: Login, role: Annotated[str, typer.Argument(help="user or admin.")]) -> None:
    """Make an account an administrator, or a user again; its keys' scopes stay."""
    from penstock.catalog import accounts
    from penstock.catalog.words import Role

    chosen = _one_of(Role, role, "ROLE")
    with _records() as catalog, catalog.write() as tx:
        accounts.set_role(tx, _find(tx, login).id, chosen)
    out.print(f"{escape(login)} is {chosen}")


@accounts_.command(
    epilog=examples(
        "penstock accounts limits ann --stored 500GB --upload 4GiB",
        "penstock accounts limits ann --open 10 --rate 60",
        "penstock accounts limits ann --stored default",
    )
)
@reporting
def limits(
    login: Login,
    upload: Annotated[
        str | None, typer.Option(help="Most bytes of one upload, within PENSTOCK_UPLOAD_MAX_SIZE.")
    ] = None,
    stored: Annotated[str | None, typer.Option(help="Most bytes that it may keep.")] = None,
    open_: Annotated[str | None, typer.Option("--open", help="Most uploads open at once.")] = None,
    rate: Annotated[str | None, typer.Option(help="Most uploads begun within a minute.")] = None,
) -> None:
    """Give an account limits of its own in place of the settings' ('default': the settings' again), at once and everywhere."""
    from penstock.catalog import accounts

    given: dict[str, int | None] = {}
    if upload is not None:
        given["upload_size"] = _limit(upload, "--upload", _bytes(upload))
    if stored is not None:
        given["stored_bytes"] = _limit(stored, "--stored", _bytes(stored))
    if open_ is not None:
        given["open_uploads"] = _limit(open_, "--open", _count(open_))
    if rate is not None:
        given["uploads_per_minute"] = _limit(rate, "--rate", _count(rate))
    with _records() as catalog, catalog.write() as tx:
        account = _find(tx, login)
        if given:
            accounts.set_limits(tx, account.id, given)
            account = accounts.get(tx, account.id)
    for name, value in _document(account)["limits"].items():
        out.print(f"{name:<20}{'as the settings say' if value is None else value}")


def _limit(text: str, option: str, value: int | None) -> int | None:
    if text == "default":
        return None
    if value is None:
        raise typer.BadParameter(
            "must be a positive number, such as 10, 500MB or 4GiB, or 'default'", param_hint=option
        )
    return value


def _bytes(text: str) -> int | None:
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    factor = next(value for unit, value in _UNITS.items() if unit.casefold() == found[2].casefold())
    value = int(float(found[1]) * factor) if "." in found[1] else int(found[1]) * factor
    return value if 0 < value <= _MOST else None


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 2**31 else None


def _one_of(choices: Any, text: str, option: str) -> Any:
    try:
        return choices(text)
    except ValueError:
        raise typer.BadParameter(
            f"must be one of {', '.join(map(str, choices))}", param_hint=option
        ) from None


@contextmanager
def _records() -> Iterator["Catalog"]:
    from penstock.settings import Settings
    from penstock.wiring.parts import Parts

    settings = Settings.load()
    require_records(settings)
    with closing(Parts(settings)) as parts:
        yield parts.catalog


def _find(tx: "Connection", login: str) -> "Account":
    from penstock.catalog import accounts

    account = accounts.find_by_login(tx, login)
    if account is None:
        raise NotFound(f"There is no account '{login}'.", code="account_not_found")
    return account


def _document(account: "Account") -> dict[str, Any]:
    return {
        "id": account.id,
        "login": account.login,
        "name": account.name,
        "role": account.role,
        "created_at": _time(account.created_at),
        "disabled_at": _time(account.disabled_at),
        "limits": {
            "upload_size": account.upload_size,
            "stored_bytes": account.stored_bytes,
            "open_uploads": account.open_uploads,
            "uploads_per_minute": account.uploads_per_minute,
        },
    }


def _key_document(key: "ApiKey") -> dict[str, Any]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": _time(key.created_at),
        "last_used_at": _time(key.last_used_at),
        "revoked_at": _time(key.revoked_at),
    }


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
