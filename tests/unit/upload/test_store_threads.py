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


def test_calls_behind_follow_each_other_while_their_caller_goes_on() -> None:
    """One at a time, in order; the block ends when the last one has."""
    let, told = threading.Event(), list[str]()

    def first() -> None:
        let.wait(60)
        told.append("first")

    async def story() -> None:
        async with StoreThreads().behind() as behind:
            await behind.run(first)
            told.append("caller")
            let.set()
            await behind.run(told.append, "second")
        told.append("end")

    anyio.run(story)
    assert told == ["caller", "first", "second", "end"]


def test_what_a_call_behind_raises_comes_out_of_the_next_or_of_the_end() -> None:
    """And nothing is begun after it."""
    told = list[str]()

    def fail() -> None:
        raise ValueError("no")

    async def next_one() -> None:
        async with StoreThreads().behind() as behind:
            await behind.run(fail)
            await behind.run(told.append, "after")

    async def end() -> None:
        async with StoreThreads().behind() as behind:
            await behind.run(fail)

    for story in (next_one, end):
        with pytest.raises(ValueError, match="no"):
            anyio.run(story)
    assert told == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_block_that_is_left_waits_for_its_call(fails: bool) -> None:
    """What is being written is not taken from under it, whether the block raised or was cancelled; its reason stays."""
    begun, let, told = threading.Event(), threading.Event(), list[str]()

    def call() -> None:
        begun.set()
        let.wait(60)
        told.append("written")
        if fails:
            raise ValueError("beside the point")

    async def ends_badly() -> None:
        async with StoreThreads().behind() as behind:
            await behind.run(call)
            await run_sync(begun.wait, 60)
            let.set()
            raise KeyError

    async def raising() -> None:
        with pytest.raises(KeyError):
            await ends_badly()

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            async with StoreThreads().behind() as behind:
                await behind.run(call)
                await run_sync(begun.wait, 60)
                let.set()
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    for story in (raising, cancelled):
        begun.clear()
        let.clear()
        anyio.run(story)
        assert told.pop() == "written"


def test_a_system_that_gives_no_thread_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it gives some again, calls go on, however often it refused."""
    monkeypatch.setattr(store_threads, "_AT_ONCE", 1)

    async def scenario() -> None:
        threads = StoreThreads()
        with monkeypatch.context() as exhausted:
            exhausted.setattr(threading.Thread, "start", refused)
            for _ in range(3):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await threads.start(int)
        with anyio.fail_after(60):
            assert await (await threads.start(int, "7")) == 7

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    anyio.run(scenario)
