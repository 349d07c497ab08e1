"""Timelines to render: a builder for named cases, and a strategy for all the others."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from hypothesis import strategies as st

from penstock.video import timeline as tl
from penstock.video.timeline import Artefact, Keyframe, Segment, Timeline, TimelineState, Track, TrackKind

VIDEO_ID = "01arz3ndektsv4rrffq69g5fav"
GENERATION_ID = "01arz3ndektsv4rrffq69g5faw"
AAC_FRAME = 1024
RATES = (Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60), Fraction(25, 2))
LADDER = (
    ("240p", 426, 240),
    ("360p", 640, 360),
    ("480p", 854, 480),
    ("720p", 1280, 720),
    ("1080p", 1920, 1080),
)


def segments(durations: Sequence[int], sizes: Sequence[int], gop: int | None = None) -> tuple[Segment, ...]:
    """Contiguous segments from number 1 and tick 0; with ``gop`` each says where its keyframes lie."""
    result, start = [], 0
    for number, (duration, size) in enumerate(zip(durations, sizes, strict=True), 1):
        frames = _keyframes(duration, size, gop) if gop else ()
        result.append(Segment(number, start, duration, size, f"{number:032x}", "v/t.1/", frames))
        start += duration
    return tuple(result)


def _keyframes(duration: int, size: int, gop: int) -> tuple[Keyframe, ...]:
    lengths = [min(gop, duration - at) for at in range(0, duration, gop)]
    share = size // len(lengths)
    return tuple(Keyframe(share * n, max(1, share // 3), length) for n, length in enumerate(lengths))


def init(name: str) -> Artefact:
    """An init segment as the timeline refers to it."""
    return Artefact("init.mp4", f"v/t.1/{name}/init.mp4", 800, "e" * 32, "video/mp4")


def video(
    rung: int = 0,
    *,
    rate: Fraction = Fraction(25),
    count: int = 5,
    last: int | None = None,
    sizes: Sequence[int] = (),
) -> Track:
    """A rung of ``count`` four-second segments, the last of ``last`` frames."""
    name, width, height = LADDER[rung]
    frame = 512 * rate.denominator
    whole, gop = round(4 * rate), round(2 * rate)
    durations = [whole * frame] * (count - 1) + [(last or whole) * frame] if count else []
    return Track(
        name=name,
        kind=TrackKind.VIDEO,
        codecs=f"avc1.64001{rung}",
        timescale=512 * rate.numerator,
        bandwidth=500_000 * (rung + 1),
        init=init(name),
        segments=segments(durations, sizes or [100_000 * (rung + 1)] * count, gop * frame),
        width=width,
        height=height,
        frame_rate=rate,
    )


def audio(
    index: int = 0,
    *,
    durations: Sequence[int] = (188 * AAC_FRAME,) * 5,
    sizes: Sequence[int] = (),
    language: str | None = "en",
    label: str | None = None,
    channels: int = 2,
    default: bool = False,
) -> Track:
    """An audio track with segments of so many samples at 48 kHz."""
    return Track(
        name=f"audio-{index}",
        kind=TrackKind.AUDIO,
        codecs="mp4a.40.2",
        timescale=48_000,
        bandwidth=150_000,
        init=init(f"audio-{index}"),
        segments=segments(durations, sizes or [64_000] * len(durations)),
        language=language,
        label=label,
        channels=channels,
        default=default,
    )


def captions(language: str | None = "en", label: str | None = None, *, size: int = 5_000) -> Artefact:
    """A captions file as the timeline refers to it."""
    name = f"captions-{language}.vtt"
    return Artefact(name, f"v/t.1/{name}", size, "c" * 32, "text/vtt", language, label)


def timeline(
    tracks: Sequence[Track], *, state: TimelineState = TimelineState.FROZEN, items: Sequence[Artefact] = ()
) -> Timeline:
    """A timeline of these tracks; frozen ones are complete."""
    frozen = state is TimelineState.FROZEN
    return Timeline(
        video_id=VIDEO_ID,
        generation_id=GENERATION_ID,
        version=1,
        state=state,
        published_ms=1_790_000_000_000,
        first_published_ms=1_790_000_000_000,
        planned_duration=max(track.end for track in tracks),
        target_duration=4,
        tracks=tuple(replace(track, complete=frozen) for track in tracks),
        captions=tuple(items),
    )


def growth(final: Timeline, steps: int) -> list[Timeline]:
    """The versions that led to a frozen timeline: every track grows in even steps, cut to the common prefix."""
    versions = []
    for step in range(1, steps + 1):
        tracks = []
        for track in final.tracks:
            kept = -(-len(track.segments) * step // steps)
            tracks.append(
                replace(track, segments=track.segments[:kept], complete=kept == len(track.segments))
            )
        version = replace(
            final,
            version=step,
            state=TimelineState.GROWING,
            published_ms=final.first_published_ms + 2000 * step,
            tracks=tl.cut(tracks),
        )
        if tl.playable(version.tracks):
            versions.append(version)
    return [*versions, replace(final, version=steps + 1)]


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Frozen timelines of any ladder, rate, length, sizes, audio layout and hostile names, with at least one track."""
    count = draw(st.integers(1, 25))
    rate = draw(st.sampled_from(RATES))
    last = draw(st.integers(1, round(4 * rate)))
    sizes = st.lists(st.integers(200, 10**7), min_size=count, max_size=count)
    rungs = [
        video(rung, rate=rate, count=count, last=last, sizes=draw(sizes))
        for rung in range(draw(st.integers(0, 5)))
    ]
    names = st.one_of(
        st.none(), st.text(max_size=30), st.sampled_from(["en", "de-AT", 'x"\n#EXT-X-ENDLIST', "\ud800"])
    )
    tracks = []
    for index in range(draw(st.integers(0 if rungs else 1, 4))):
        durations = draw(st.lists(st.integers(187, 189), min_size=count, max_size=count))
        tracks.append(
            audio(
                index,
                durations=[AAC_FRAME * frames for frames in durations],
                sizes=draw(sizes),
                language=draw(names),
                label=draw(names),
                channels=draw(st.sampled_from([1, 2, 6])),
                default=draw(st.booleans()),
            )
        )
    items = draw(st.lists(st.builds(captions, st.sampled_from(["en", "de", "x"]), names), max_size=2))
    return timeline([*rungs, *tracks], items=items)
