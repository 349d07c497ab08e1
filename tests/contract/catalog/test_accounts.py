from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.catalog import Catalog, accounts, clock, garbage
from penstock.catalog.records import Account
from penstock.catalog.words import Role
from penstock.video.errors import Conflict, InvalidRequest, NotFound
from penstock.video.identity import new_id
from tests.contract.catalog import scenes


def test_the_first_administrator_is_made_once(catalog: Catalog) -> None:
    """The first start makes one, every later start finds it."""
    with catalog.write() as tx:
        first, made = accounts.ensure_administrator(tx, login="admin", name="Administrator")
    with catalog.write() as tx:
        again, made_again = accounts.ensure_administrator(tx, login="root", name="Other")
    assert (first.role, first.password_hash, made, made_again) == (Role.ADMIN, None, True, False)
    assert again == first


def test_a_user_does_not_become_administrator_by_name(catalog: Catalog) -> None:
    """Whoever registered the administrator's login before keeps it, and what they were."""
    with catalog.write() as tx:
        accounts.create(tx, login="admin", name="Somebody")
    with pytest.raises(Conflict), catalog.write() as tx:
        accounts.ensure_administrator(tx, login="admin", name="Administrator")


def test_logins_are_unique_whatever_their_case(catalog: Catalog) -> None:
    """Ann and ANN are one."""
    with catalog.write() as tx:
        ann = accounts.create(tx, login="Ann", name="Ann", password_hash="$argon2id$x")
        with pytest.raises(Conflict) as raised:
            accounts.create(tx, login="ANN", name="Other")
        assert accounts.find_by_login(tx, "aNN") == ann
        assert accounts.find_by_login(tx, "ben") is None
        with pytest.raises(InvalidRequest):
            accounts.create(tx, login="x" * 256, name="X")
    assert raised.value.code == "login_taken"


def test_an_account_can_be_changed(catalog: Catalog) -> None:
    """Password, role, limits and access; an unknown account is not found."""
    ann, ben = scenes.owner(catalog, "ann"), scenes.owner(catalog, "ben")
    with catalog.write() as tx:
        accounts.set_password(tx, ann.id, "hash")
        accounts.set_role(tx, ann.id, Role.ADMIN)
        accounts.set_role(tx, ben.id, Role.ADMIN)
        accounts.set_limits(tx, ann.id, {"stored_bytes": 2**40, "open_uploads": 3})
        accounts.set_limits(tx, ann.id, {"open_uploads": None})
        accounts.disable(tx, ann.id)
        after = accounts.get(tx, ann.id)
        assert [account.id for account in accounts.listing(tx)] == [ann.id, ben.id]
        assert [account.id for account in accounts.listing(tx, after=ann.id, limit=1)] == [ben.id]
        with pytest.raises(NotFound):
            accounts.set_role(tx, new_id(), Role.USER)
    assert (after.password_hash, after.role) == ("hash", Role.ADMIN)
    assert after.disabled_at is not None
    limits = after.upload_size, after.open_uploads, after.uploads_per_minute, after.stored_bytes
    assert limits == (None, None, None, 2**40)


def test_an_administrator_remains(catalog: Catalog) -> None:
    """Two that disable each other at once leave one of them; the last is refused to become none."""
    ann, ben = scenes.owner(catalog, "ann"), scenes.owner(catalog, "ben")
    with catalog.write() as tx:
        for account in (ann, ben):
            accounts.set_role(tx, account.id, Role.ADMIN)

    def disable(account: Account) -> str | None:
        try:
            with catalog.write() as tx:
                accounts.disable(tx, account.id)
        except Conflict as error:
            return error.code
        return None

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(disable, (ann, ben))) == {None, "last_administrator"}
    with catalog.write() as tx:
        (last,) = [each for each in accounts.listing(tx) if each.disabled_at is None]
        with pytest.raises(Conflict):
            accounts.set_role(tx, last.id, Role.USER)
        accounts.enable(tx, ann.id)
        accounts.enable(tx, ben.id)
        accounts.set_role(tx, last.id, Role.USER)


def test_a_key_is_found_by_its_digest_while_it_is_in_force(catalog: Catalog) -> None:
    """Unknown, revoked and expired keys, and those of a disabled account, are all the same nothing."""
    ann, ben = scenes.owner(catalog, "ann"), scenes.owner(catalog, "ben")
    with catalog.write() as tx:
        good = accounts.add_key(
            tx,
            account_id=ann.id,
            name="cli",
            prefix="pk_abc",
            digest="a" * 64,
            scopes=["upload", "read", "read"],
        )
        accounts.add_key(
            tx,
            account_id=ann.id,
            name="old",
            prefix="pk_old",
            digest="b" * 64,
            scopes=[],
            expires_at=clock.now(tx) - 1,
        )
        revoked = accounts.add_key(
            tx, account_id=ann.id, name="lost", prefix="pk_lost", digest="c" * 64, scopes=[]
        )
        accounts.revoke_key(tx, ann.id, revoked.id)
        accounts.add_key(tx, account_id=ben.id, name="ben", prefix="pk_ben", digest="d" * 64, scopes=[])
        accounts.disable(tx, ben.id)
        assert good.scopes == ("read", "upload")
        assert accounts.find_key(tx, "a" * 64) == (good, ann)
        for digest in ("b", "c", "d", "e"):
            assert accounts.find_key(tx, digest * 64) is None
        assert {key.name for key in accounts.keys_of(tx, ann.id)} == {"cli", "old", "lost"}


def test_a_key_is_revoked_by_its_owner_alone(catalog: Catalog) -> None:
    """Another account's key is not found; revoking twice keeps the first time."""
    ann, ben = scenes.owner(catalog, "ann"), scenes.owner(catalog, "ben")
    with catalog.write() as tx:
        key = accounts.add_key(tx, account_id=ann.id, name="cli", prefix="pk", digest="a" * 64, scopes=[])
        with pytest.raises(NotFound):
            accounts.revoke_key(tx, ben.id, key.id)
        accounts.revoke_key(tx, ann.id, key.id)
        [first] = accounts.keys_of(tx, ann.id)
        accounts.revoke_key(tx, ann.id, key.id)
        assert accounts.keys_of(tx, ann.id) == [first]


def test_use_of_a_key_is_noted_about_once_a_minute(catalog: Catalog) -> None:
    """Not every request costs a write."""
    ann = scenes.owner(catalog)
    with catalog.write() as tx:
        key = accounts.add_key(tx, account_id=ann.id, name="cli", prefix="pk", digest="a" * 64, scopes=[])
        assert accounts.key_needs_touch(key, clock.now(tx))
        accounts.touch_key(tx, key.id)
        [key] = accounts.keys_of(tx, ann.id)
    assert key.last_used_at is not None
    assert not accounts.key_needs_touch(key, key.last_used_at + 59_999)
    assert accounts.key_needs_touch(key, key.last_used_at + 60_000)


def test_garbage_waits_for_its_time(catalog: Catalog) -> None:
    """Entries come due by the database's clock, oldest first, once each, and go when they are collected."""
    with catalog.write() as tx:
        garbage.add(tx, "outputs", "v/a.1/", reason="attempt_ended", delay_ms=60_000)
        garbage.add(tx, "outputs", "v/b.1/", reason="attempt_ended", delay_ms=-1)
        garbage.add(tx, "outputs", "v/c.1/", reason="attempt_ended", delay_ms=-1000)
        garbage.add(tx, "outputs", "v/c.1/", reason="again")
        due = garbage.due(tx)
        assert [entry.prefix for entry in due] == ["v/c.1/", "v/b.1/"]
        garbage.postpone(tx, due[0].id, 60_000)
        garbage.collected(tx, [due[1].id])
        assert garbage.due(tx) == []
