import pytest

from penstock.catalog import Catalog, generations, tasks, uploads, videos
from penstock.catalog.records import Upload
from penstock.catalog.words import TaskKind, Transport, UploadState
from penstock.video.errors import Conflict, Gone, PenstockError
from penstock.video.lifecycle import GenerationState, VideoState
from tests.contract.catalog import scenes


def opened(
    catalog: Catalog, *, life_ms: int = scenes.HOUR_MS, login: str = "ann", size: int | None = 100
) -> Upload:
    """An open session."""
    video = scenes.pending(catalog, scenes.owner(catalog, login))
    with catalog.write() as tx:
        return uploads.create(
            tx,
            video,
            transport=Transport.PUT,
            life_ms=life_ms,
            size=size,
            content_type="video/mp4",
            part_size=10,
        )


def test_completion_is_one_step(catalog: Catalog) -> None:
    """With the last byte the video is uploaded, its first generation open and the inspection queued."""
    upload = opened(catalog)
    with catalog.write() as tx:
        done = uploads.complete(tx, upload.id, size=100, sha256="a" * 64, who="account:ann")
        [task] = tasks.listing(tx, video_id=upload.video_id)
        [generation] = generations.listing(tx, upload.video_id)
        after = uploads.get(tx, upload.id)
    video = done.video
    assert (video.state, video.source_key, video.source_size) == (VideoState.UPLOADED, upload.source_key, 100)
    assert (video.source_sha256, video.source_content_type) == ("a" * 64, "video/mp4")
    assert (task.id, task.kind, task.urgent, task.required) == (done.task_id, TaskKind.INSPECT, True, True)
    assert (generation.state, video.current_generation_id) == (GenerationState.PLANNED, generation.id)
    assert (after.state, after.received) == (UploadState.COMPLETED, 100)


def test_completing_twice_gives_the_same_answer(catalog: Catalog) -> None:
    """A repeated completion neither starts another generation nor fails."""
    upload = opened(catalog)
    with catalog.write() as tx:
        first = uploads.complete(tx, upload.id, size=100, sha256="a" * 64, who="account:ann")
    with catalog.write() as tx:
        second = uploads.complete(tx, upload.id, size=100, sha256="a" * 64, who="account:ann")
        assert len(tasks.listing(tx, video_id=upload.video_id)) == 1
    assert (second.video, second.duplicate, second.task_id) == (first.video, False, None)


def test_the_same_bytes_are_the_same_video(catalog: Catalog) -> None:
    """A second upload of an owner's source answers with the first video, and its own id says so for good."""
    ann = scenes.owner(catalog)
    first = scenes.uploaded(catalog, ann, "harbour")
    second = scenes.uploaded(catalog, ann, "harbour", title="Harbour again")
    assert second.duplicate
    assert second.video.id == first.video.id
    with catalog.write() as tx:
        [other] = [
            video
            for video in videos.listing(tx, videos.VideoFilter(everything=True, state=VideoState.DELETED))[0]
            if video.title == "Harbour again"
        ]
        [session] = uploads.for_video(tx, other.id)
        repeated = uploads.complete(
            tx, session.id, size=1000, sha256=scenes.sha256("harbour"), who="account:ann"
        )
    assert other.duplicate_of == first.video.id
    assert (repeated.video.id, repeated.duplicate) == (first.video.id, True)


def test_duplicates_may_be_asked_for(catalog: Catalog) -> None:
    """Who wants the same source twice gets it."""
    ann = scenes.owner(catalog)
    first = scenes.uploaded(catalog, ann, "harbour")
    second = scenes.uploaded(catalog, ann, "harbour", allow_duplicate=True)
    assert not second.duplicate
    assert second.video.id != first.video.id


def test_other_owners_and_ended_videos_are_no_duplicates(catalog: Catalog) -> None:
    """Nobody learns from an answer what others have; a failed or deleted video stands for nothing."""
    ann, ben = scenes.owner(catalog, "ann"), scenes.owner(catalog, "ben")
    first = scenes.uploaded(catalog, ann, "harbour")
    assert not scenes.uploaded(catalog, ben, "harbour").duplicate
    assert first.video.current_generation_id is not None
    with catalog.write() as tx:
        generations.fail(tx, first.video.current_generation_id, code="bad", message="Bad.", who="test")
    second = scenes.uploaded(catalog, ann, "harbour")
    assert not second.duplicate
    with catalog.write() as tx:
        retried = videos.retry(tx, first.video.id, who="account:ann")
        assert retried.dedupe_key is None  # another stands for the source by now
        videos.delete(tx, second.video.id, who="account:ann")
    assert not scenes.uploaded(catalog, ann, "harbour").duplicate


def test_a_retried_video_stands_for_its_source_again(catalog: Catalog) -> None:
    """After a retry an upload of the same bytes is a duplicate once more."""
    ann = scenes.owner(catalog)
    first = scenes.uploaded(catalog, ann, "harbour")
    assert first.video.current_generation_id is not None
    with catalog.write() as tx:
        generations.fail(tx, first.video.current_generation_id, code="bad", message="Bad.", who="test")
        videos.retry(tx, first.video.id, who="account:ann")
    assert scenes.uploaded(catalog, ann, "harbour").video.id == first.video.id


def test_a_digest_found_late_is_settled(catalog: Catalog) -> None:
    """Bytes that went past every process are compared when the scan has read them."""
    ann = scenes.owner(catalog)
    direct = scenes.uploaded(catalog, ann)
    with catalog.write() as tx:
        assert videos.settle_digest(tx, direct.video.id, scenes.sha256("harbour")) is None
    assert scenes.uploaded(catalog, ann, "harbour").video.id == direct.video.id
    late = scenes.uploaded(catalog, ann)
    with catalog.write() as tx:
        existing = videos.settle_digest(tx, late.video.id, scenes.sha256("harbour"))
        assert existing is not None
        assert existing.id == direct.video.id
        assert videos.get(tx, late.video.id).source_sha256 == scenes.sha256("harbour")


def test_the_offset_moves_only_from_where_it_stands(catalog: Catalog) -> None:
    """Two requests that continue the same upload cannot both be right."""
    upload = opened(catalog)
    with catalog.write() as tx:
        assert (
            uploads.advance_offset(tx, upload.id, expected=0, received=40, life_ms=scenes.HOUR_MS).received
            == 40
        )
    with pytest.raises(Conflict) as raised, catalog.write() as tx:
        uploads.advance_offset(tx, upload.id, expected=0, received=60, life_ms=scenes.HOUR_MS)
    assert raised.value.code == "upload_offset_mismatch"
    with catalog.read() as tx:
        assert uploads.get(tx, upload.id).received == 40


def test_parts_are_kept_in_order_and_may_be_repeated(catalog: Catalog) -> None:
    """The latest of a number counts."""
    upload = opened(catalog)
    with catalog.write() as tx:
        for number, size in ((2, 7), (1, 10), (2, 10)):
            uploads.record_part(tx, upload.id, number, size=size, etag=f"e{number}", life_ms=scenes.HOUR_MS)
        found = uploads.parts(tx, upload.id)
    assert [(part.number, part.size) for part in found] == [(1, 10), (2, 10)]


@pytest.mark.parametrize(
    ("state", "error", "code"),
    [
        (UploadState.CANCELLED, Gone, "upload_cancelled"),
        (UploadState.EXPIRED, Gone, "upload_expired"),
        (UploadState.COMPLETED, Conflict, "upload_completed"),
    ],
)
def test_an_ended_session_accepts_nothing(
    catalog: Catalog, state: UploadState, error: type[PenstockError], code: str
) -> None:
    """Each way a session has ended is told apart."""
    upload = opened(catalog)
    with catalog.write() as tx:
        if state is UploadState.COMPLETED:
            uploads.complete(tx, upload.id, size=100, who="account:ann")
        else:
            assert uploads.end(tx, upload.id, state, who="account:ann")
            assert not uploads.end(tx, upload.id, state, who="account:ann")
    for act in (
        lambda tx: uploads.advance_offset(tx, upload.id, expected=0, received=1, life_ms=1),
        lambda tx: uploads.record_part(tx, upload.id, 1, size=1, life_ms=1),
    ):
        with pytest.raises(error) as raised, catalog.write() as tx:
            act(tx)
        assert raised.value.code == code
    if state is not UploadState.COMPLETED:
        with pytest.raises(Gone), catalog.write() as tx:
            uploads.complete(tx, upload.id, size=100, who="account:ann")


def test_a_silent_session_expires_and_takes_its_video_along(catalog: Catalog) -> None:
    """An abandoned upload leaves a deleted video, and its bytes to the collector."""
    upload, living = opened(catalog, life_ms=-1), opened(catalog)
    with catalog.write() as tx:
        assert [item.id for item in uploads.expired(tx)] == [upload.id]
        with pytest.raises(Gone):
            uploads.require_open(tx, upload)
        uploads.end(tx, upload.id, UploadState.EXPIRED, who="collector", why="silent for a day")
        assert uploads.expired(tx) == []
        assert videos.get(tx, upload.video_id).state is VideoState.DELETED
        assert videos.get(tx, living.video_id).state is VideoState.PENDING
        listed = scenes.listed_garbage(tx)
    assert listed == {("staging", upload.id), ("sources", upload.source_key)}


def test_deleting_a_pending_video_ends_its_upload(catalog: Catalog) -> None:
    """Bytes that still come find the session gone."""
    upload = opened(catalog)
    with catalog.write() as tx:
        videos.delete(tx, upload.video_id, who="account:ann")
        assert uploads.get(tx, upload.id).state is UploadState.CANCELLED
        assert ("staging", upload.id) in scenes.listed_garbage(tx)


def test_what_was_unknown_can_be_declared_later(catalog: Catalog) -> None:
    """A length that was deferred is said once; saying it again is harmless, saying another is refused."""
    upload = opened(catalog, size=None)
    with catalog.write() as tx:
        assert uploads.declare_size(tx, upload.id, 77).size == 77
        assert uploads.declare_size(tx, upload.id, 77).size == 77
        with pytest.raises(Conflict):
            uploads.declare_size(tx, upload.id, 78)
        assert uploads.get(tx, upload.id).size == 77


def test_one_request_writes_at_a_time(catalog: Catalog) -> None:
    """Who takes a session is its only writer: another's progress no longer counts, nor does its going."""
    upload = opened(catalog)
    with catalog.write() as tx:
        first = uploads.take(tx, upload.id, "first", life_ms=scenes.HOUR_MS)
        assert uploads.wanted(tx, {upload.id: ("first", first.asked)}) == set()
        uploads.ask(tx, upload.id)
        assert uploads.wanted(tx, {upload.id: ("first", first.asked)}) == {upload.id}
        second = uploads.take(tx, upload.id, "second", life_ms=scenes.HOUR_MS)
        assert (first.writer, second.writer) == ("first", "second")
        assert uploads.wanted(tx, {upload.id: ("second", second.asked)}) == set()
        assert uploads.wanted(tx, {upload.id: ("first", second.asked)}) == {upload.id}
        with pytest.raises(Conflict):
            uploads.advance_offset(
                tx, upload.id, expected=0, received=9, writer="first", life_ms=scenes.HOUR_MS
            )
        uploads.let_go(tx, upload.id, "first")
        assert uploads.get(tx, upload.id).writer == "second"
        uploads.advance_offset(tx, upload.id, expected=0, received=9, writer="second", life_ms=scenes.HOUR_MS)
        uploads.let_go(tx, upload.id, "second")
        assert uploads.get(tx, upload.id).writer is None
        uploads.end(tx, upload.id, UploadState.CANCELLED, who="account:ann")
        assert uploads.wanted(tx, {upload.id: ("second", second.asked)}) == {upload.id}
        with pytest.raises(Gone):
            uploads.take(tx, upload.id, "third", life_ms=scenes.HOUR_MS)


def test_a_streaming_request_keeps_its_session(catalog: Catalog) -> None:
    """A session that is being written to does not expire under the writer."""
    upload = opened(catalog, life_ms=-1)
    with catalog.write() as tx:
        uploads.prolong(tx, upload.id, life_ms=scenes.HOUR_MS)
        assert uploads.expired(tx) == []
