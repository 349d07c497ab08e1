"""How far generations that are being encoded have come beyond what was published of them, for the publisher."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, select

from penstock.catalog import clock, schema, segments
from penstock.catalog.records import TrackRecord
from penstock.catalog.words import TaskKind
from penstock.video.lifecycle import GenerationState, VideoState

_LONG_AGO_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Growth:
    """One encoding generation. Milliseconds; ``age_ms`` is that of the last version by the database's clock."""

    generation_id: str
    video_id: str
    timeline_version: int  # 0: none yet
    age_ms: int
    published_prefix_ms: int
    prefix_ms: int  # what could be published now
    ready_to_play: bool  # every track has its first segment
    announced: bool  # players are told: the video and the generation are marked playable
    closing: bool  # its publication is queued, running or done: nothing grows any more


def listing(
    tx: Connection, generation_id: str | None = None, *, after: str = "", limit: int = 100
) -> Sequence[Growth]:
    """Encoding generations in the order of their ids, those after ``after``; or this one if it is encoding."""
    g, v, t = schema.generations.c, schema.videos.c, schema.tasks.c
    publishing = select(t.generation_id).where(t.kind == TaskKind.PUBLISH, t.generation_id == g.id).exists()
    query = (
        select(
            schema.tracks,
            g.id.label("g_id"),
            g.video_id.label("g_video_id"),
            g.timeline_version.label("g_version"),
            g.published_at.label("g_published_at"),
            g.published_prefix_ms.label("g_prefix_ms"),
            g.playable_at.label("g_playable_at"),
            v.state.label("v_state"),
            v.playable.label("v_playable"),
            publishing.label("closing"),
        )
        .join(schema.generations, g.id == schema.tracks.c.generation_id)
        .join(schema.videos, v.id == g.video_id)
        .where(g.state == GenerationState.ENCODING)
        .order_by(g.id)
    )
    if generation_id is not None:
        query = query.where(g.id == generation_id)
    else:
        page = select(g.id).where(g.state == GenerationState.ENCODING, g.id > after)
        query = query.where(g.id.in_(page.order_by(g.id).limit(limit).scalar_subquery()))
    now = clock.now(tx)
    names = [column.name for column in schema.tracks.c]
    found = []
    for _, rows in groupby(tx.execute(query).mappings(), key=lambda row: row["g_id"]):
        each = list(rows)
        first = each[0]
        tracks = [TrackRecord(**{name: row[name] for name in names}) for row in each]
        found.append(
            Growth(
                generation_id=first["g_id"],
                video_id=first["g_video_id"],
                timeline_version=first["g_version"],
                age_ms=_age(first["g_published_at"], now),
                published_prefix_ms=first["g_prefix_ms"],
                prefix_ms=int(segments.prefix(tracks) * 1000),
                ready_to_play=segments.playable(tracks),
                announced=first["g_playable_at"] is not None
                and (first["v_playable"] or first["v_state"] is not VideoState.PROCESSING),
                closing=bool(first["closing"]),
            )
        )
    return found


def _age(published_at: int | None, now: int) -> int:
    """One that lies ahead is old: the clock was set back, and nobody shall wait until it has caught up."""
    if published_at is None:
        return 0
    return now - published_at if published_at <= now else _LONG_AGO_MS
