"""Accounts and their API keys. Passwords and keys arrive hashed: this room never sees a secret."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from penstock.catalog import clock, schema, texts
from penstock.catalog.dialect import insert, now_ms
from penstock.catalog.records import Account, ApiKey, load
from penstock.catalog.words import Role
from penstock.video.errors import Conflict, NotFound
from penstock.video.identity import new_id

_NAME_LIMIT = 255  # characters, as the columns

_HALF_LIFE_MS = 600_000
"""Work done for an account counts half after ten minutes: fairness is about now, not about last week."""

_USE_RESOLUTION_MS = 60_000
"""``last_used_at`` of a key is kept to the minute: not every request should cost a write."""


def create(
    tx: Connection, *, login: str, name: str, role: Role = Role.USER, password_hash: str | None = None
) -> Account:
    """A new account. Raises :class:`Conflict` where the login is taken (letter case does not matter)."""
    texts.checked("login", login, limit=_NAME_LIMIT)
    texts.checked("name", name, limit=_NAME_LIMIT)
    account_id = new_id()
    added = tx.execute(
        insert(tx, schema.accounts)
        .values(
            id=account_id,
            login=login.casefold(),
            name=name,
            role=role,
            password_hash=password_hash,
            created_at=now_ms(),
        )
        .on_conflict_do_nothing()
        .returning(schema.accounts.c.id)
    ).one_or_none()
    if added is None:  # psycopg gives no row count for an insert
        raise Conflict("The login is taken.", code="login_taken")
    return get(tx, account_id)


def ensure_administrator(tx: Connection, *, login: str, name: str) -> tuple[Account, bool]:
    """The first administrator, made where there is none; True when this call made it. Two first starts make one."""
    table = schema.accounts
    first = select(table).where(table.c.role == Role.ADMIN).order_by(table.c.id).limit(1)
    row = tx.execute(first).one_or_none()
    if row is not None:
        return load(Account, row), False
    account_id = new_id()
    tx.execute(
        insert(tx, table)
        .values(id=account_id, login=login.casefold(), name=name, role=Role.ADMIN, created_at=now_ms())
        .on_conflict_do_nothing()
    )
    row = tx.execute(first).one_or_none()
    if row is None:
        raise Conflict(
            f"The login {login} is taken by an account that is no administrator.", code="login_taken"
        )
    return load(Account, row), row.id == account_id


def get(tx: Connection, account_id: str) -> Account:
    """The account. Raises :class:`NotFound`."""
    row = tx.execute(select(schema.accounts).where(schema.accounts.c.id == account_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such account.", code="account_not_found")
    return load(Account, row)


def find_by_login(tx: Connection, login: str) -> Account | None:
    """The account with this login, or None."""
    row = tx.execute(select(schema.accounts).where(schema.accounts.c.login == login.casefold())).one_or_none()
    return None if row is None else load(Account, row)


def listing(tx: Connection, *, after: str | None = None, limit: int = 100) -> list[Account]:
    """Accounts in the order they were made."""
    table = schema.accounts
    query = select(table).order_by(table.c.id).limit(limit)
    if after is not None:
        query = query.where(table.c.id > after)
    return [load(Account, row) for row in tx.execute(query)]


def set_password(tx: Connection, account_id: str, password_hash: str | None) -> None:
    """Replaces the password's hash; None: the account signs in with API keys only."""
    _change(tx, account_id, password_hash=password_hash)


def set_role(tx: Connection, account_id: str, role: Role) -> None:
    """Changes what the account may do. Raises :class:`Conflict` where it is the last administrator and would be none."""
    if role is not Role.ADMIN:
        _require_another_administrator(tx, account_id)
    _change(tx, account_id, role=role)


def disable(tx: Connection, account_id: str) -> None:
    """The account may no longer sign in, nor its keys. Raises :class:`Conflict` where it is the last administrator."""
    _require_another_administrator(tx, account_id)
    _change(tx, account_id, disabled_at=func.coalesce(schema.accounts.c.disabled_at, now_ms()))


def enable(tx: Connection, account_id: str) -> None:
    """Undoes :func:`disable`: its keys that were not revoked open again."""
    _change(tx, account_id, disabled_at=None)


def set_limits(tx: Connection, account_id: str, limits: Mapping[str, int | None]) -> None:
    """Sets limits of the account's own by the names of :class:`Account`; None: the settings' hold. Others stay as they are."""
    known = {"upload_size", "open_uploads", "uploads_per_minute", "stored_bytes"}
    if not limits or not limits.keys() <= known:
        raise ValueError(f"not limits: {sorted(limits.keys() - known)}")
    _change(tx, account_id, **limits)


def _require_another_administrator(tx: Connection, account_id: str) -> None:
    table = schema.accounts
    in_force = (table.c.role == Role.ADMIN, table.c.disabled_at.is_(None))
    rows = tx.execute(select(table.c.id).where(*in_force).order_by(table.c.id).with_for_update())
    if [row.id for row in rows] == [account_id]:
        raise Conflict(
            "This is the last administrator; make another account one first.", code="last_administrator"
        )


def _change(tx: Connection, account_id: str, **values: object) -> None:
    if not tx.execute(
        schema.accounts.update().where(schema.accounts.c.id == account_id).values(**values)
    ).rowcount:
        raise NotFound("There is no such account.", code="account_not_found")


def served(tx: Connection, account_id: str, seconds: float) -> None:
    """Adds work done for an account to what the fair order goes by."""
    table = schema.accounts
    row = tx.execute(select(table).where(table.c.id == account_id).with_for_update(key_share=True)).one()
    now = clock.now(tx)
    total = load_of(load(Account, row), now) + seconds
    tx.execute(table.update().where(table.c.id == account_id).values(served=total, served_at=now))


def load_of(account: Account, now: int) -> float:
    """Seconds of work done for an account, the older the less: halved every ten minutes."""
    return float(account.served * 0.5 ** (max(0, now - account.served_at) / _HALF_LIFE_MS))


def add_key(
    tx: Connection,
    *,
    account_id: str,
    name: str,
    prefix: str,
    digest: str,
    scopes: Iterable[str],
    expires_at: int | None = None,
) -> ApiKey:
    """Records a key by its SHA-256 (hexadecimal) and the first characters that it is recognised by."""
    texts.checked("name", name, limit=_NAME_LIMIT)
    key_id = new_id()
    tx.execute(
        schema.api_keys.insert().values(
            id=key_id,
            account_id=account_id,
            name=name,
            prefix=prefix,
            digest=digest,
            scopes=sorted(set(scopes)),
            created_at=now_ms(),
            expires_at=expires_at,
        )
    )
    return _key(tx.execute(select(schema.api_keys).where(schema.api_keys.c.id == key_id)).one())


def find_key(tx: Connection, digest: str) -> tuple[ApiKey, Account] | None:
    """The key in force with this SHA-256, and whose it is; None where it is unknown, revoked, expired or disabled."""
    k = schema.api_keys
    row = tx.execute(select(k).where(k.c.digest == digest, k.c.revoked_at.is_(None))).one_or_none()
    if row is None or (row.expires_at is not None and row.expires_at <= clock.now(tx)):
        return None
    account = get(tx, row.account_id)
    return None if account.disabled_at is not None else (_key(row), account)


def key_needs_touch(key: ApiKey, now: int) -> bool:
    """Whether :func:`touch_key` would tell anything new."""
    return key.last_used_at is None or now - key.last_used_at >= _USE_RESOLUTION_MS


def touch_key(tx: Connection, key_id: str) -> None:
    """Notes that a key was used just now."""
    tx.execute(schema.api_keys.update().where(schema.api_keys.c.id == key_id).values(last_used_at=now_ms()))


def keys_of(tx: Connection, account_id: str) -> list[ApiKey]:
    """An account's keys, revoked ones included, oldest first."""
    table = schema.api_keys
    return [
        _key(row)
        for row in tx.execute(select(table).where(table.c.account_id == account_id).order_by(table.c.id))
    ]


def revoke_key(tx: Connection, account_id: str, key_id: str) -> None:
    """Ends a key of the account; repeating it changes nothing. Raises :class:`NotFound`."""
    table = schema.api_keys
    mine = (table.c.id == key_id, table.c.account_id == account_id)
    changed = tx.execute(
        table.update().where(*mine).values(revoked_at=func.coalesce(table.c.revoked_at, now_ms()))
    ).rowcount
    if not changed:
        raise NotFound("There is no such key.", code="key_not_found")


def _key(row: object) -> ApiKey:
    values = row._asdict()  # type: ignore[attr-defined]  # a Row of api_keys
    return ApiKey(**{**values, "scopes": tuple(values["scopes"])})
