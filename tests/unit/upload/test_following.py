from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import ExitStack

import anyio
import pytest

from penstock.upload.config import UploadConfig
from penstock.upload.following import Followed, Followers, Mark, Watched
from penstock.video.errors import CatalogUnavailable, NotFound, RateLimited

QUICK = UploadConfig(follow_interval_s=0.001, follow_heartbeat_s=0.02)
PATIENT = UploadConfig(follow_interval_s=0.001, follow_heartbeat_s=1000)
FILM = Watched("film", with_tasks=False)


class Records:
    """Videos whose marks are numbers; counts how it is asked."""

    def __init__(self) -> None:
        self.marks: dict[Watched, Mark] = {FILM: 1}
        self.rounds: list[Collection[Watched]] = []
        self.looks: list[int] = []
        self.fault: Exception | None = None

    def ask(self, asked: Collection[Watched]) -> Mapping[Watched, Mark]:
        """The marks of what is there."""
        self.rounds.append(asked)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return {watched: self.marks[watched] for watched in asked if watched in self.marks}

    def look(self, watched: Watched) -> Callable[[int], Followed]:
        """A look that says the mark as the status."""

        def look(after: int) -> Followed:
            self.looks.append(after)
            mark = self.marks.get(watched)
            if mark is None:
                raise NotFound("gone")
            return Followed([], str(mark), ended=mark == "end", mark=mark)

        return look


async def heard(stream: AsyncIterator[bytes]) -> str:
    """The next message."""
    with anyio.fail_after(20):
        return (await anext(stream)).decode()


def told(
    looks: Callable[[int], Followed],
    marks: Callable[[Collection[Watched]], Mapping[Watched, Mark]],
    *,
    most: int = 50,
) -> list[str]:
    """What a follower is sent until the end, or the first ``most`` messages."""

    async def listen() -> list[str]:
        sent = []
        followers = Followers(marks, QUICK)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as background:
                background.start_soon(followers.run)
                async for message in followers.follow(FILM, looks, after=0):
                    sent.append(message.decode())
                    if len(sent) == most:
                        break
                background.cancel_scope.cancel()
        return sent

    return anyio.run(listen)


def test_only_what_is_new_is_told() -> None:
    """Each line once, a status only when it changed, and the end of the video is the end of the stream."""
    looks = iter(
        [
            Followed([(1, '{"n":1}'), (2, '{"n":2}')], "{}", ended=False, mark=1),
            Followed([], "{}", ended=False, mark=2),
            Followed([(3, '{"n":3}')], '{"s":1}', ended=True, mark=3),
        ]
    )
    asked: list[int] = []

    def look(after: int) -> Followed:
        asked.append(after)
        return next(looks)

    sent = told(look, lambda watched: dict.fromkeys(watched, len(asked) + 1))
    assert [message for message in sent if message != ": still here\n\n"] == [
        "retry: 2000\n\n",
        'id: 1\nevent: history\ndata: {"n":1}\n\nid: 2\nevent: history\ndata: {"n":2}\n\nevent: status\ndata: {}\n\n',
        'id: 3\nevent: history\ndata: {"n":3}\n\nevent: status\ndata: {"s":1}\n\n',
    ]
    assert asked == [0, 2, 2]


def test_silence_is_broken_now_and_then() -> None:
    """Where nothing happens, comments keep the connection."""
    records = Records()
    assert told(records.look(FILM), records.ask, most=4)[-2:] == [": still here\n\n"] * 2
    assert records.looks == [0]


@pytest.mark.parametrize(("error", "ends"), [(CatalogUnavailable("away"), False), (NotFound("gone"), True)])
def test_trouble(error: Exception, *, ends: bool) -> None:
    """A database that is away for a moment is waited for; a permission that is gone ends the stream."""
    answers: list[Followed | Exception] = [error, Followed([], "{}", ended=True)]

    def look(_: int) -> Followed:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert len(told(look, Records().ask)) == (1 if ends else 2)


def test_followers_of_videos_at_rest_cost_one_question_for_all() -> None:
    """However many follow, a round asks once for all of them, and looks at no video of which nothing changed."""
    videos = [Watched(f"video-{index}", with_tasks=False) for index in range(100)]
    records = Records()
    records.marks = dict.fromkeys(videos, 1)

    async def follow() -> None:
        followers = Followers(records.ask, PATIENT)
        streams = [followers.follow(each, records.look(each), after=0) for each in videos for _ in range(3)]
        for stream in streams:
            assert await heard(stream) == "retry: 2000\n\n"
            assert await heard(stream) == "event: status\ndata: 1\n\n"
        assert len(records.looks) == 300
        async with anyio.create_task_group() as background:
            for stream in streams[:-3]:
                background.start_soon(heard, stream)
            for _ in range(20):
                await followers._ask()
            assert len(records.looks) == 300
            assert {len(asked) for asked in records.rounds} == {100}
            records.marks[videos[-1]] = 2
            await followers._ask()
            for stream in streams[-3:]:
                assert await heard(stream) == "event: status\ndata: 2\n\n"
            assert len(records.looks) == 303
            background.cancel_scope.cancel()

    anyio.run(follow)


def test_what_changes_during_a_look_is_looked_at_again() -> None:
    """No change is lost between the look at a video and the waiting for its next change."""
    records = Records()

    def look(_: int) -> Followed:
        mark = records.marks[FILM]
        records.marks[FILM] = "end"  # it changes after the mark was taken
        return Followed([], str(mark), ended=mark == "end", mark=mark)

    sent = told(look, records.ask)
    assert sent[1] == "event: status\ndata: 1\n\n"
    assert sent[-1] == "event: status\ndata: end\n\n"


def test_a_database_that_is_away_is_asked_again() -> None:
    """A round that fails is one in which nothing changed."""
    records = Records()
    records.fault = CatalogUnavailable("away")

    def ask(asked: Collection[Watched]) -> Mapping[Watched, Mark]:
        if len(records.rounds) == 2:
            records.marks[FILM] = "end"
        return records.ask(asked)

    assert told(records.look(FILM), ask)[-1] == "event: status\ndata: end\n\n"


def test_a_video_that_is_gone_ends_its_streams() -> None:
    """Where a mark is missing the followers look, and learn that there is nothing more."""
    records = Records()

    def ask(asked: Collection[Watched]) -> Mapping[Watched, Mark]:
        records.marks.clear()
        return records.ask(asked)

    sent = [message for message in told(records.look(FILM), ask) if message != ": still here\n\n"]
    assert sent == ["retry: 2000\n\n", "event: status\ndata: 1\n\n"]


def test_seats_are_limited_for_each_account_and_for_all() -> None:
    """Beyond either number a follower is told to come back later; who leaves makes room."""
    followers = Followers(Records().ask, UploadConfig(followers_per_account=2, followers=3))
    with ExitStack() as others:
        others.enter_context(followers.seat("olga"))
        with followers.seat("olga"):
            with pytest.raises(RateLimited) as error, followers.seat("olga"):
                pass
            assert (error.value.code, error.value.retry_after) == ("too_many_followers", 30)
            with followers.seat("stan"), pytest.raises(RateLimited), followers.seat("adam"):
                pass
        with followers.seat("olga"), followers.seat("stan"):
            pass
