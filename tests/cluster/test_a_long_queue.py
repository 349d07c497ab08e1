"""A thousand videos that wait, brought by fifty clients at once: it slows down and says so, loses nothing, and no look becomes long."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection

from penstock.catalog import Catalog, CatalogConfig, queue, videos
from penstock.catalog.videos import VideoFilter
from penstock.catalog.words import TaskKind
from tests.cluster.running import PATIENCE, Services

# QUEUED_VIDEOS=1000 asks for more than fits into every run: each is made durable before it is acknowledged.
MANY = int(os.environ.get("QUEUED_VIDEOS", "200"))
FEW = 20
AT_ONCE = 50
BEGINNING = bytes.fromhex("0000001c667479706d703432") + bytes(
    16
)  # of an MP4 file; no more is looked at on arrival


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """No processing among them: what is uploaded waits."""
    services = Services(tmp_path / "data")
    yield services
    services.close()


def bring(client: httpx.Client, number: int, told: list[int]) -> str:
    """Uploads one video as a patient program does, coming back when it is told to; the video's id."""
    deadline = time.monotonic() + 5 * PATIENCE
    while time.monotonic() < deadline:
        answer = client.post(
            "/api/uploads", params={"filename": f"{number}.mp4"}, content=BEGINNING + b"%08d" % number
        )
        if answer.status_code == 201:
            return str(answer.json()["id"])
        assert answer.status_code in {429, 503}, answer.text
        told.append(answer.status_code)
        threading.Event().wait(min(float(answer.headers["retry-after"]), 5.0))
    raise AssertionError(f"upload {number} was put off for ever")


def listed(client: httpx.Client) -> list[str]:
    """The ids of all videos, page by page."""
    found, cursor = [], None
    while True:
        page = client.get(
            "/api/videos", params={"limit": 200, **({"cursor": cursor} if cursor else {})}
        ).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def effort(tx: Connection, look: Callable[[Connection], object]) -> int:
    """How much the database does for a look, in hundreds of its own steps: the same on any machine, however busy."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection = tx.connection.driver_connection
    assert connection is not None
    connection.set_progress_handler(step, 100)
    look(tx)
    connection.set_progress_handler(None, 0)
    return count


LOOKS: dict[str, Callable[[Connection], object]] = {
    "claim": lambda tx: queue.waiting(tx, 4, kinds=list(TaskKind), urgent=True),
    "list": lambda tx: videos.listing(tx, VideoFilter(everything=True), limit=20),
}


def test_a_thousand_videos_wait_and_none_is_lost(services: Services, tmp_path: Path) -> None:
    """Each that was acknowledged is listed once and waits in the queue once; finding the next is little more work than with few."""
    # The account's limit on beginnings is another test's matter; fifty at once is what is asked here.
    url = services.start("web", UPLOAD_OPENED_PER_MINUTE="1000000")
    key = (tmp_path / "data" / "admin.key").read_text().strip()
    told: list[int] = []
    records = Catalog.open(CatalogConfig(url=f"sqlite:///{tmp_path / 'data' / 'penstock.db'}"))

    def efforts() -> dict[str, int]:
        with records.read() as tx:
            return {name: effort(tx, look) for name, look in LOOKS.items()}

    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    with (
        httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {key}"}, limits=limits, timeout=PATIENCE
        ) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        bringing = [pool.submit(bring, client, number, told) for number in range(FEW)]
        brought = [each.result() for each in bringing]
        before = efforts()
        brought += pool.map(lambda number: bring(client, number, told), range(FEW, MANY))
        after = efforts()
        assert sorted(listed(client)) == sorted(brought)
    assert len(set(brought)) == MANY
    with records.read() as tx:
        waiting = queue.waiting(tx, 2 * MANY, kinds=list(TaskKind))
    assert sorted(task.video_id for task in waiting) == sorted(brought)
    # Who has something waiting is read off an index, some ten steps for each that waits; nothing is fetched or sorted.
    for name, steps in after.items():
        assert steps <= 2 * before[name] + MANY / 5, (name, before, after)
    records.close()
