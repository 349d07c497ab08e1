import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from penstock.access.principals import ALL_SCOPES, Role
from penstock.catalog import Catalog, accounts
from penstock.settings import Settings
from penstock.video.errors import ConfigurationError
from penstock.web_api.authentication import principal_of
from penstock.web_api.key_store import catalog_lookup
from penstock.wiring import first_start, folders
from penstock.wiring.parts import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The parts of a folder that nothing has started on yet."""
    settings = Settings.load(data=tmp_path / "data")
    folders.make_folders(settings)
    with closing(Parts(settings)) as parts:
        yield parts


def test_who_only_verifies_waits_for_the_keys_of_who_signs(parts: Parts) -> None:
    """Keys of its own would refuse every playback address, so it says what is missing and makes nothing."""
    with pytest.raises(ConfigurationError, match="PENSTOCK_KEYRING") as refused:
        first_start.require_signing_keys(parts.settings)
    assert refused.value.code == "keyring_missing"
    assert not parts.settings.access.keyring_path.exists()
    parts.keyring.signing_key()
    first_start.require_signing_keys(parts.settings)


def key_of(parts: Parts) -> str:
    """The key in the administrator's file."""
    return parts.settings.admin_key_file.read_text().strip()


def keys(catalog: Catalog) -> int:
    """How many keys the administrator has."""
    with catalog.read() as tx:
        administrator = accounts.find_by_login(tx, "admin")
        assert administrator is not None
        return len(accounts.keys_of(tx, administrator.id))


def test_the_first_start_leaves_a_key_that_opens_everything(parts: Parts) -> None:
    """The file is for this user alone, and what it holds is an administrator's key with every scope."""
    first_start.prepare_records(parts)
    mode = stat.S_IMODE(parts.settings.admin_key_file.stat().st_mode)
    principal = principal_of(f"Bearer {key_of(parts)}", catalog_lookup(parts.catalog))
    assert (mode, principal.role, principal.scopes) == (0o600, Role.ADMIN, ALL_SCOPES)


def test_later_starts_change_nothing(parts: Parts) -> None:
    """The key stays good, and there is one."""
    first_start.prepare_records(parts)
    before = key_of(parts)
    first_start.prepare_records(parts)
    assert (key_of(parts), keys(parts.catalog)) == (before, 1)


def test_several_first_starts_at_once_make_one_key(parts: Parts) -> None:
    """Processes that start together end up with one administrator whose key is the one in the file."""
    parts.catalog.migrate()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: first_start.prepare_records(parts), range(4)))
    assert keys(parts.catalog) == 1
    assert not principal_of(f"Bearer {key_of(parts)}", catalog_lookup(parts.catalog)).is_anonymous


def test_a_lost_file_is_replaced_by_a_new_key(parts: Parts) -> None:
    """Who owns the folder gets in again; nothing needs to be repaired by hand."""
    first_start.prepare_records(parts)
    parts.settings.admin_key_file.unlink()
    first_start.prepare_records(parts)
    assert not principal_of(f"Bearer {key_of(parts)}", catalog_lookup(parts.catalog)).is_anonymous


def test_a_key_that_was_never_recorded_is_replaced(parts: Parts) -> None:
    """A crash between file and record leaves a key that opens nothing; the next start makes a good one."""
    parts.settings.admin_key_file.write_text("pst_left_behind\n")
    first_start.prepare_records(parts)
    assert not principal_of(f"Bearer {key_of(parts)}", catalog_lookup(parts.catalog)).is_anonymous


def test_the_data_folder_is_for_this_user_alone(parts: Parts) -> None:
    """It holds originals, records and keys."""
    assert stat.S_IMODE(parts.settings.folder.stat().st_mode) == 0o700


def test_a_database_that_does_not_answer_is_told_with_the_remedy(tmp_path: Path) -> None:
    """What was tried, what came of it and which setting it is; the password stays out of it."""
    url = "postgresql://somebody:hunter2@127.0.0.1:1/penstock"  # nothing listens on port 1
    settings = Settings.load(data=tmp_path / "data", database_url=url)
    with closing(Parts(settings)) as parts, pytest.raises(ConfigurationError) as refused:
        first_start.prepare_records(parts)
    assert refused.value.code == "catalog_unavailable"
    for word in (
        "postgresql://somebody:***@127.0.0.1:1/penstock",
        "onnection refused",
        "PENSTOCK_DATABASE_URL",
    ):
        assert word in refused.value.detail
    assert "hunter2" not in refused.value.detail


@pytest.mark.parametrize("store", ["sources", "outputs"])
def test_a_store_that_cannot_be_opened_is_told_with_the_remedy(tmp_path: Path, store: str) -> None:
    """Which of the two, where, why, and which setting it is."""
    (tmp_path / "file").write_text("here already")
    settings = Settings.load(data=tmp_path / "data", **{f"{store}_url": f"file://{tmp_path}/file/store"})
    with closing(Parts(settings)) as parts, pytest.raises(ConfigurationError) as refused:
        getattr(parts, store)
    for word in (f"{tmp_path}/file/store", "Not a directory", f"PENSTOCK_{store.upper()}_URL"):
        assert word in refused.value.detail
