from collections.abc import Callable

import anyio
import pytest

from penstock.upload.config import UploadConfig
from penstock.upload.following import Followed, follow
from penstock.video.errors import CatalogUnavailable, NotFound

QUICK = UploadConfig(follow_interval_s=0.001, follow_heartbeat_s=0.02)


def told(look: Callable[[int], Followed], after: int = 0, *, most: int = 50) -> list[str]:
    """What a follower is sent until the end, or the first ``most`` messages."""

    async def listen() -> list[str]:
        sent = []
        with anyio.fail_after(20):
            stream = follow(look, after=after, config=QUICK)
            async for message in stream:
                sent.append(message.decode())
                if len(sent) == most:
                    break
        return sent

    return anyio.run(listen)


def test_only_what_is_new_is_told() -> None:
    """Each line once, a status only when it changed, and the end of the video is the end of the stream."""
    looks = iter(
        [
            Followed([(1, '{"n":1}'), (2, '{"n":2}')], "{}", ended=False),
            Followed([], "{}", ended=False),
            Followed([(3, '{"n":3}')], '{"s":1}', ended=True),
        ]
    )
    asked = []

    def look(after: int) -> Followed:
        asked.append(after)
        return next(looks)

    assert told(look) == [
        "retry: 2000\n\n",
        'id: 1\nevent: history\ndata: {"n":1}\n\nid: 2\nevent: history\ndata: {"n":2}\n\nevent: status\ndata: {}\n\n',
        'id: 3\nevent: history\ndata: {"n":3}\n\nevent: status\ndata: {"s":1}\n\n',
    ]
    assert asked == [0, 2, 2]


def test_silence_is_broken_now_and_then() -> None:
    """Where nothing happens, comments keep the connection."""
    sent = told(lambda _: Followed([], "{}", ended=False), most=4)
    assert sent[-2:] == [": still here\n\n"] * 2


@pytest.mark.parametrize(("error", "ends"), [(CatalogUnavailable("away"), False), (NotFound("gone"), True)])
def test_trouble(error: Exception, *, ends: bool) -> None:
    """A database that is away for a moment is waited for; a permission that is gone ends the stream."""
    answers: list[Followed | Exception] = [error, Followed([], "{}", ended=True)]

    def look(_: int) -> Followed:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert len(told(look)) == (1 if ends else 2)
