from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.storage.staging import Staged, Staging
from penstock.storage.store import CHUNK
from penstock.upload.receiving import Gathered, check_digest, check_size, receive
from penstock.upload.store_threads import StoreThreads
from penstock.video.errors import PenstockError, TooLarge


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    """A place for bytes."""
    return FolderStaging(LocalStore(tmp_path / "store"))


def received(staging: Staging, pieces: list[bytes], limit: int) -> tuple[int, int]:
    """Bytes written of a body that comes in ``pieces``, and the number of signs of life."""
    alive = 0

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def sign() -> None:
        nonlocal alive
        alive += 1

    staging.create("u")
    with staging.writing(Staged("u", "v/source"), offset=0, whole=True) as part:
        anyio.run(
            lambda: receive(
                body(),
                part,
                threads=StoreThreads(),
                limit=limit,
                begins=True,
                excess=TooLarge("too many"),
                transport="put",
                alive=sign,
            )
        )
        return part.size, alive


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, CHUNK // 2) | st.just(CHUNK) | st.just(CHUNK * 2 + 1), max_size=8),
    change=st.integers(-1, 1),
)
def test_every_byte_up_to_the_limit(staging: Staging, sizes: list[int], change: int) -> None:
    """However a body is cut, all of it is written, or it is refused with the first byte beyond the limit."""
    total = sum(sizes)
    pieces = [b"x" * size for size in sizes]
    if total + change < total:
        if total:
            with pytest.raises(TooLarge):
                received(staging, pieces, total - 1)
        return
    assert received(staging, pieces, total + change) == (total, len(sizes))


@pytest.mark.parametrize(
    ("actual", "expected", "code"),
    [(0, None, "empty_upload"), (0, 5, "empty_upload"), (4, 5, "wrong_size"), (6, 5, "wrong_size")],
)
def test_sizes(actual: int, expected: int | None, code: str) -> None:
    """Nothing, less and more are told apart from what was announced."""
    check_size(5, 5)
    check_size(5, None)
    with pytest.raises(PenstockError) as caught:
        check_size(actual, expected)
    assert caught.value.code == code


def test_digests() -> None:
    """A digest is held against what was announced, where something was."""
    check_digest("aa", None)
    check_digest("aa", "aa")
    with pytest.raises(PenstockError) as caught:
        check_digest("aa", "bb")
    assert caught.value.code == "wrong_digest"


@given(st.lists(st.binary(max_size=3000) | st.integers(0, 200_000).map(bytes), max_size=12))
def test_gathered_bytes_stay_in_order(pieces: list[bytes]) -> None:
    """However they came, they are the same bytes, in no more writes than one for each 64 KiB."""
    gathered = Gathered()
    for piece in pieces:
        gathered.add(piece)
    whole = b"".join(pieces)
    assert gathered.size == len(whole)
    assert gathered.head == whole[:4096]
    assert b"".join(gathered.pieces) == whole
    assert len(gathered.pieces) <= 1 + len(whole) // (64 << 10)
