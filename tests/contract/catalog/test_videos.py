import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.catalog import Catalog, generations, schema, videos
from penstock.catalog.records import Video
from penstock.catalog.videos import VideoFilter
from penstock.catalog.words import Sort, Visibility
from penstock.video.errors import Conflict, InvalidRequest, NotFound
from penstock.video.identity import new_id
from penstock.video.lifecycle import VideoState
from tests.contract.catalog import scenes


def walk(catalog: Catalog, what: VideoFilter, size: int = 2) -> list[Video]:
    """All pages one after another, each in a transaction of its own."""
    found: list[Video] = []
    after = None
    while True:
        with catalog.read() as tx:
            page, after = videos.listing(tx, what, after=after, limit=size)
        assert len(page) <= size
        found += page
        if after is None:
            return found


def playing(catalog: Catalog, video: Video) -> None:
    """The video can be played, however it came to that."""
    with catalog.write() as tx:
        tx.execute(schema.videos.update().where(schema.videos.c.id == video.id).values(playable=True))


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_hold_each_video_once_in_order(catalog: Catalog, sort: Sort) -> None:
    """Whatever the order, walking the pages meets every video once, equal titles included."""
    ann = scenes.owner(catalog)
    made = [scenes.pending(catalog, ann, title) for title in ("boat", "Anchor", "boat", "crane", "anchor")]
    found = walk(catalog, VideoFilter(everything=True, sort=sort))
    orders = {
        Sort.NEWEST: lambda: sorted(made, key=lambda video: video.id, reverse=True),
        Sort.OLDEST: lambda: sorted(made, key=lambda video: video.id),
        Sort.TITLE: lambda: sorted(made, key=lambda video: (video.title.casefold(), video.id)),
    }
    assert found == orders[sort]()


def test_a_page_is_not_shifted_by_newcomers(catalog: Catalog) -> None:
    """A video uploaded between two pages neither repeats nor hides another."""
    ann = scenes.owner(catalog)
    made = [scenes.pending(catalog, ann) for _ in range(4)]
    with catalog.read() as tx:
        first, after = videos.listing(tx, VideoFilter(everything=True), limit=2)
    scenes.pending(catalog, ann)
    with catalog.read() as tx:
        second, after = videos.listing(tx, VideoFilter(everything=True), after=after, limit=2)
    assert {video.id for video in first + second} == {video.id for video in made}
    assert after is None


def test_a_list_shows_what_the_viewer_may_come_upon(catalog: Catalog) -> None:
    """Own videos of any kind, and of others the public ones that can be played; unlisted ones only by their address."""
    ann, ben = scenes.owner(catalog, "ann"), scenes.owner(catalog, "ben")
    for account in (ann, ben):
        for visibility in Visibility:
            playing(catalog, scenes.pending(catalog, account, f"{account.login} {visibility}", visibility))
    scenes.pending(catalog, ben, "ben public soon", Visibility.PUBLIC)

    def titles(**what: object) -> set[str]:
        return {video.title for video in walk(catalog, VideoFilter(**what))}  # type: ignore[arg-type]

    assert titles() == {"ann public", "ben public"}
    assert titles(viewer_id=ann.id) == {"ann public", "ann unlisted", "ann private", "ben public"}
    assert titles(viewer_id=ann.id, owner_id=ben.id) == {"ben public"}
    assert len(titles(everything=True)) == 7
    assert titles(everything=True, owner_id=ann.id) == {"ann public", "ann unlisted", "ann private"}


def test_a_search_finds_out_no_name_that_is_not_shown(catalog: Catalog) -> None:
    """File names of others are searched for administrators alone."""
    ann, ben = scenes.owner(catalog, "ann"), scenes.owner(catalog, "ben")
    playing(catalog, scenes.pending(catalog, ben, "Harbour", Visibility.PUBLIC))

    def count(**what: object) -> int:
        return len(walk(catalog, VideoFilter(**what)))  # type: ignore[arg-type]

    assert [count(viewer_id=ann.id, search="harbour"), count(viewer_id=ann.id, search=".mov")] == [1, 0]
    assert count(viewer_id=ben.id, search=".mov") == 1
    assert count(everything=True, search=".mov") == 1


def test_deleted_videos_are_listed_only_on_request(catalog: Catalog) -> None:
    """A state may be asked for; deleted ones are not shown otherwise."""
    ann = scenes.owner(catalog)
    kept, gone = scenes.pending(catalog, ann), scenes.pending(catalog, ann)
    with catalog.write() as tx:
        videos.delete(tx, gone.id, who="account:ann")
    assert walk(catalog, VideoFilter(everything=True)) == [kept]
    assert walk(catalog, VideoFilter(everything=True, state=VideoState.PENDING)) == [kept]
    assert [video.id for video in walk(catalog, VideoFilter(everything=True, state=VideoState.DELETED))] == [
        gone.id
    ]


def test_a_search_ignores_letter_case_of_any_script_and_takes_signs_as_they_are(catalog: Catalog) -> None:
    """Titles and file names are searched alike on both databases; wildcards of SQL are ordinary signs."""
    ann = scenes.owner(catalog)
    for title in ("ÄRGER im Hafen", "100% sure", "under_score", "back\\slash", "straße"):
        scenes.pending(catalog, ann, title)

    def found(search: str) -> list[str]:
        return [video.title for video in walk(catalog, VideoFilter(everything=True, search=search))]

    assert found("ärger") == ["ÄRGER im Hafen"]
    assert found("0%") == ["100% sure"]
    assert found("%") == ["100% sure"]
    assert found("r_s") == ["under_score"]
    assert found("k\\s") == ["back\\slash"]
    assert found("STRASSE") == ["straße"]
    assert len(found(".MOV")) == 5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=3))
def test_no_search_and_no_cursor_breaks_the_list(catalog: Catalog, search: str, cursor: list[str]) -> None:
    """Whatever a client sends is either answered or refused as invalid."""
    for sort in (Sort.NEWEST, Sort.TITLE):
        try:
            with catalog.read() as tx:
                videos.listing(
                    tx, VideoFilter(everything=True, search=search, sort=sort), after=tuple(cursor)
                )
        except InvalidRequest:
            pass


def test_a_video_is_described_anew(catalog: Catalog) -> None:
    """Title and visibility change without a step of the lifecycle; a deleted video stays as it was."""
    video = scenes.pending(catalog, scenes.owner(catalog))
    with catalog.write() as tx:
        changed = videos.describe(tx, video.id, title="Quay", visibility=Visibility.PUBLIC)
        assert videos.describe(tx, video.id).title == "Quay"
    assert (changed.title, changed.visibility, changed.version) == ("Quay", Visibility.PUBLIC, video.version)
    assert [video.id for video in walk(catalog, VideoFilter(everything=True, search="quay"))] == [changed.id]
    assert walk(catalog, VideoFilter(everything=True, search="harbour ")) == []
    with catalog.write() as tx:
        videos.delete(tx, video.id, who="account:ann")
        with pytest.raises(Conflict):
            videos.describe(tx, video.id, title="Other")


@pytest.mark.parametrize("title", ["x" * 513, "nul\0", "\ud800"])
def test_a_title_that_no_database_keeps_is_refused(catalog: Catalog, title: str) -> None:
    """Both databases refuse the same, and name the field."""
    ann = scenes.owner(catalog)
    with pytest.raises(InvalidRequest) as raised:
        scenes.pending(catalog, ann, title)
    assert raised.value.errors[0].pointer == "/title"


def test_the_longest_title_is_kept(catalog: Catalog) -> None:
    """The limit counts characters, not bytes."""
    ann = scenes.owner(catalog)
    with catalog.write() as tx:
        video = videos.create(
            tx, owner_id=ann.id, title="𝄞" * 512, filename="a", visibility=Visibility.PRIVATE, who="test"
        )
    assert video.title == "𝄞" * 512
    assert walk(catalog, VideoFilter(everything=True, sort=Sort.TITLE)) == [video]


def test_facts_are_noted_and_nothing_else(catalog: Catalog) -> None:
    """What processing finds out about the source is recorded by name; states are not facts."""
    video = scenes.pending(catalog, scenes.owner(catalog))
    with catalog.write() as tx:
        videos.record(tx, video.id, duration_ms=5000, width=640, height=360, truncated=True)
        after = videos.get(tx, video.id)
        with pytest.raises(TypeError):
            videos.record(tx, video.id, state=VideoState.READY)
        with pytest.raises(NotFound):
            videos.get(tx, new_id())
    assert (after.duration_ms, after.width, after.height, after.truncated) == (5000, 640, 360, True)


def test_playable_is_told_once(catalog: Catalog) -> None:
    """The first published prefix makes a processing video playable, and only its current generation can."""
    scene = scenes.encoding(catalog)
    with catalog.write() as tx:
        assert not videos.mark_playable(tx, scene.video.id, new_id(), who="test")
        assert videos.mark_playable(tx, scene.video.id, scene.generation.id, who="test")
        assert not videos.mark_playable(tx, scene.video.id, scene.generation.id, who="test")
        video = videos.get(tx, scene.video.id)
        assert (video.playable, video.published_generation_id) == (True, scene.generation.id)
        assert video.version == scene.video.version  # a fact beside the state, not a step
        generations.fail(tx, scene.generation.id, code="bad", message="Bad.", who="test")
        assert not videos.get(tx, scene.video.id).playable


def test_timings_tell_what_each_stage_took(catalog: Catalog) -> None:
    """Stages that have not been reached are missing; a retry starts the clock again."""
    scene = scenes.encoding(catalog)
    assert set(videos.timings(scene.video)) == {"upload", "inspect"}
    with catalog.write() as tx:
        generations.freeze(tx, scene.generation.id, who="test")
        video = videos.get(tx, scene.video.id)
    timings = videos.timings(video)
    assert set(timings) == {"upload", "inspect", "playable", "ready"}
    assert all(0 <= seconds < 60 for seconds in timings.values())
    assert timings["inspect"] <= timings["ready"]
