import threading

import anyio
import pytest
from anyio.to_thread import run_sync

from penstock.upload import store_threads
from penstock.upload.store_threads import StoreThreads
from penstock.video.errors import StorageUnavailable


def test_those_who_wait_for_the_store_take_no_thread_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than there are places: others are served, who comes later is told so, and those before go on when it answers."""
    monkeypatch.setattr(store_threads, "_QUEUE_S", 0.05)
    answers, ended = threading.Event(), list[int]()

    async def story() -> None:
        threads = StoreThreads()
        async with anyio.create_task_group() as tasks:

            async def hang(number: int) -> None:
                await threads.run(answers.wait, 60)
                ended.append(number)

            for number in range(store_threads._AT_ONCE + 20):
                tasks.start_soon(hang, number)
            await anyio.wait_all_tasks_blocked()
            try:
                with pytest.raises(StorageUnavailable) as caught:
                    await threads.begin(lambda: None)
                assert caught.value.retry_after
                assert await run_sync(lambda: "served") == "served"
                assert ended == []
            finally:
                answers.set()
        assert await threads.begin(lambda: "free") == "free"

    anyio.run(story)
    assert sorted(ended) == list(range(store_threads._AT_ONCE + 20))


def test_a_call_that_fails_leaves_its_place() -> None:
    """What it raises goes on to the caller."""

    def fail() -> None:
        raise ValueError("no")

    async def story() -> None:
        threads = StoreThreads()
        for _ in range(2 * store_threads._AT_ONCE):
            for way in (threads.run, threads.begin):
                with pytest.raises(ValueError, match="no"):
                    await way(fail)
        assert await threads.begin(lambda: 1) == 1

    anyio.run(story)
