"""HLS playlists (RFC 8216, protocol version 7) of one timeline.

Pure: a timeline in, text out, and each later version of a growing timeline only appends to what the earlier one gave.
It knows no tokens and no servers; every URL is relative.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from penstock.manifests import names
from penstock.video.timeline import Artefact, Timeline, TimelineState, Track, peak_bit_rate

MEDIA_TYPE = "application/vnd.apple.mpegurl"

_MICROSECONDS = 1_000_000
_HEAD = ("#EXTM3U", "#EXT-X-VERSION:7")
# A growing playlist is live to a player, which would begin at its live edge, and it must begin at the beginning.
_FROM_THE_START = "#EXT-X-START:TIME-OFFSET=0"
_CAPTIONS_GROUP = "captions"
_LAYOUT = re.compile(r" [57]\.1$")
_YES = {True: "YES", False: "NO"}


@dataclass(frozen=True, slots=True)
class _AudioRendition:
    name: str
    track: Track
    default: bool
    autoselect: bool


@dataclass(frozen=True, slots=True)
class _AudioGroup:
    id: str
    renditions: tuple[_AudioRendition, ...]

    @property
    def tracks(self) -> tuple[Track, ...]:
        return tuple(rendition.track for rendition in self.renditions)


def multivariant(timeline: Timeline) -> str:
    """The playlist of all variants. While the timeline grows it stays the same: players load it once."""
    video = [track for track in timeline.video_tracks if track.segments]
    groups = _audio_groups([track for track in timeline.audio_tracks if track.segments])
    lines = [*_HEAD, "#EXT-X-INDEPENDENT-SEGMENTS"]
    if timeline.state is TimelineState.GROWING:
        lines.append(_FROM_THE_START)
    # A single audio track without a picture is the variant itself, with nothing beside it to choose from.
    alone = not video and sum(len(group.renditions) for group in groups) == 1
    if not alone:
        lines += [_audio_media(group, rendition) for group in groups for rendition in group.renditions]
    lines += _captions_media(timeline.captions)
    if video:
        for group in groups or [_AudioGroup("", ())]:
            lines += [line for track in video for line in _video_variant(timeline, track, group)]
    else:
        lines += [line for group in groups for line in _audio_variant(timeline, group, alone=alone)]
    lines += [_iframe_variant(timeline, track) for track in video if has_iframes(track)]
    return _text(lines)


def media(timeline: Timeline, track: Track) -> str:
    """The playlist of one rung or audio track."""
    lines = _media_head(timeline, track)
    for segment in track.segments:
        start, end = _microseconds(segment.start, track), _microseconds(segment.end, track)
        lines += (_extinf(end - start), names.segment(segment.number))
    return _text([*lines, *_tail(timeline)])


def has_iframes(track: Track) -> bool:
    """Whether the track has a playlist of I-frames: its first segment says where they lie."""
    return bool(track.segments and track.segments[0].keyframes)


def iframes(timeline: Timeline, track: Track) -> str:
    """The playlist of one rung's I-frames, byte ranges of its segments, for fast forward and scrubbing."""
    lines = [*_media_head(timeline, track), "#EXT-X-I-FRAMES-ONLY"]
    for segment in track.segments:
        at = segment.start
        for frame in segment.keyframes:
            start, end = _microseconds(at, track), _microseconds(at + frame.duration, track)
            lines += (
                _extinf(end - start),
                f"#EXT-X-BYTERANGE:{frame.length}@{frame.offset}",
                names.segment(segment.number),
            )
            at += frame.duration
    return _text([*lines, *_tail(timeline)])


def captions(timeline: Timeline, item: Artefact) -> str:
    """The playlist of one captions file: one segment that lasts as long as the video.

    The file is whole when it is published, so this playlist is complete from the first moment on. Its target duration is
    its own, which section 6.2.4 grants to subtitles in a playlist of type VOD.
    """
    seconds = timeline.planned_duration
    return _text(
        [
            *_HEAD,
            f"#EXT-X-TARGETDURATION:{max(1, -(-seconds.numerator // seconds.denominator))}",
            "#EXT-X-MEDIA-SEQUENCE:1",
            "#EXT-X-PLAYLIST-TYPE:VOD",
            _extinf(round(seconds * _MICROSECONDS)),
            names.url(item.name),
            "#EXT-X-ENDLIST",
        ]
    )


def _media_head(timeline: Timeline, track: Track) -> list[str]:
    growing = timeline.state is TimelineState.GROWING
    return [
        *_HEAD,
        f"#EXT-X-TARGETDURATION:{timeline.target_duration}",
        f"#EXT-X-MEDIA-SEQUENCE:{track.segments[0].number if track.segments else 1}",
        f"#EXT-X-PLAYLIST-TYPE:{'EVENT' if growing else 'VOD'}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        *([_FROM_THE_START] if growing else []),
        f'#EXT-X-MAP:URI="{names.INIT_SEGMENT}"',
    ]


def _tail(timeline: Timeline) -> list[str]:
    """The end is told by all playlists at once, not by each track as it is finished."""
    return [] if timeline.state is TimelineState.GROWING else ["#EXT-X-ENDLIST"]


def _video_variant(timeline: Timeline, track: Track, group: _AudioGroup) -> list[str]:
    codecs = dict.fromkeys([track.codecs, *(audio.codecs for audio in group.tracks)])
    attributes = [*_rates(timeline, [track], group.tracks), f'CODECS="{",".join(codecs)}"']
    if track.width and track.height:
        attributes.append(f"RESOLUTION={track.width}x{track.height}")
    if track.frame_rate:
        attributes.append(f"FRAME-RATE={float(track.frame_rate):.3f}")
    if group.renditions:
        attributes.append(f'AUDIO="{group.id}"')
    if timeline.captions:
        attributes.append(f'SUBTITLES="{_CAPTIONS_GROUP}"')
    attributes.append("CLOSED-CAPTIONS=NONE")
    return [_tag("STREAM-INF", attributes), _playlist_url(track)]


def _audio_variant(timeline: Timeline, group: _AudioGroup, *, alone: bool) -> list[str]:
    chosen = next(rendition for rendition in group.renditions if rendition.default).track
    codecs = dict.fromkeys(track.codecs for track in group.tracks)
    attributes = [*_rates(timeline, group.tracks), f'CODECS="{",".join(codecs)}"']
    if not alone:
        attributes.append(f'AUDIO="{group.id}"')
    if timeline.captions:
        attributes.append(f'SUBTITLES="{_CAPTIONS_GROUP}"')
    return [_tag("STREAM-INF", attributes), _playlist_url(chosen)]


def _iframe_variant(timeline: Timeline, track: Track) -> str:
    rate: int | None = track.bandwidth
    if timeline.state is TimelineState.FROZEN:
        frames = [(frame.length, frame.duration) for segment in track.segments for frame in segment.keyframes]
        rate = peak_bit_rate(frames, track.timescale, timeline.target_duration)
    attributes = [f"BANDWIDTH={rate or track.bandwidth}", f'CODECS="{track.codecs}"']
    if track.width and track.height:
        attributes.append(f"RESOLUTION={track.width}x{track.height}")
    attributes.append(f'URI="{names.url(track.name)}/{names.IFRAME_PLAYLIST}"')
    return _tag("I-FRAME-STREAM-INF", attributes)


def _rates(timeline: Timeline, *played: Sequence[Track]) -> list[str]:
    """The caps while growing; when frozen what was measured, of the heaviest playable combination (section 4.3.4.2).

    One track of each of ``played`` plays at a time; the one with the highest peak need not have the highest average.
    """
    peak = sum(max((_peak(timeline, track) for track in tracks), default=0) for tracks in played)
    average = sum(max((_average(timeline, track) for track in tracks), default=0) for tracks in played)
    if timeline.state is TimelineState.FROZEN:
        text = max((captions_bit_rate(timeline, item) for item in timeline.captions), default=0)
        peak, average = peak + text, average + text
    return [f"BANDWIDTH={max(peak, average)}", f"AVERAGE-BANDWIDTH={average}"]


def captions_bit_rate(timeline: Timeline, item: Artefact) -> int:
    """Bit/s of a captions file over the whole video."""
    return -(-item.size * 8 // max(timeline.planned_duration, Fraction(1)))


def _peak(timeline: Timeline, track: Track) -> int:
    frozen = timeline.state is TimelineState.FROZEN
    return track.peak_bandwidth(timeline.target_duration) if frozen else track.bandwidth


def _average(timeline: Timeline, track: Track) -> int:
    return track.average_bandwidth() if timeline.state is TimelineState.FROZEN else track.bandwidth


def _audio_groups(tracks: Sequence[Track]) -> list[_AudioGroup]:
    """One group per channel layout. Each has the same members (section 4.3.4.1.1): what a listener can choose between.

    Tracks of one language and label that differ in their channels are one choice in several layouts; a choice that
    lacks a layout stands in that group with the layout it has.
    """
    choices: dict[tuple[str | None, str | None, int], dict[int, Track]] = defaultdict(dict)
    seen: Counter[tuple[str | None, str | None, int]] = Counter()
    for track in tracks:
        shown, channels = (names.language(track.language), _sound(track)), track.channels or 0
        choices[*shown, seen[*shown, channels]][channels] = track
        seen[*shown, channels] += 1
    groups: dict[tuple[str, ...], tuple[int, list[Track]]] = {}  # layouts with the same members are one group
    for layout in sorted({track.channels or 0 for track in tracks}):
        members = [choice.get(layout) or choice[min(choice)] for choice in choices.values()]
        groups.setdefault(tuple(track.name for track in members), (layout, members))
    titles = _titles((language, label) for language, label, _ in choices)
    languages = [language for language, _, _ in choices]
    flagged = [any(track.default for track in choice.values()) for choice in choices.values()]
    default = flagged.index(True) if True in flagged else 0
    return [
        _AudioGroup(
            id="audio" if len(groups) == 1 else f"audio-{layout}",
            renditions=tuple(
                _AudioRendition(title, track, index == default, _autoselect(index, default, languages))
                for index, (title, track) in enumerate(zip(titles, members, strict=True))
            ),
        )
        for layout, members in groups.values()
    ]


def _sound(track: Track) -> str | None:
    """A label without the layout that it may name: "Director 5.1" is "Director" in another layout."""
    label = names.label(track.label)
    return _LAYOUT.sub("", label) if label and (track.channels or 0) > 2 else label


def _titles(choices: Iterable[tuple[str | None, str | None]]) -> list[str]:
    """A name for each choice, no two alike (section 4.3.4.1.1): its label, its language, or its place."""
    titles: list[str] = []
    for place, (language, label) in enumerate(choices, 1):
        title = label or language or f"Track {place}"
        while title in titles:
            title = f"{title} ({place})"
        titles.append(title)
    return titles


def _autoselect(index: int, default: int, languages: Sequence[str | None]) -> bool:
    """Only one rendition of a language may be chosen without asking (section 4.3.4.1.1); the default always may."""
    language = languages[index]
    return index == default or (language != languages[default] and languages.index(language) == index)


def _audio_media(group: _AudioGroup, rendition: _AudioRendition) -> str:
    track, language = rendition.track, names.language(rendition.track.language)
    attributes = ["TYPE=AUDIO", f'GROUP-ID="{group.id}"', f'NAME="{rendition.name}"']
    if language:
        attributes.append(f'LANGUAGE="{language}"')
    attributes += [f"DEFAULT={_YES[rendition.default]}", f"AUTOSELECT={_YES[rendition.autoselect]}"]
    if track.channels:
        attributes.append(f'CHANNELS="{track.channels}"')
    return _tag("MEDIA", [*attributes, f'URI="{_playlist_url(track)}"'])


def _captions_media(items: Sequence[Artefact]) -> list[str]:
    languages = [names.language(item.language) for item in items]
    titles = _titles(
        [(language, names.label(item.label)) for language, item in zip(languages, items, strict=True)]
    )
    lines = []
    for index, (item, language, title) in enumerate(zip(items, languages, titles, strict=True)):
        attributes = ["TYPE=SUBTITLES", f'GROUP-ID="{_CAPTIONS_GROUP}"', f'NAME="{title}"']
        if language:
            attributes.append(f'LANGUAGE="{language}"')
        first = languages.index(language) == index
        attributes += ["DEFAULT=NO", f"AUTOSELECT={_YES[first]}", "FORCED=NO"]
        lines.append(_tag("MEDIA", [*attributes, f'URI="{names.url(names.captions_playlist(item))}"']))
    return lines


def _playlist_url(track: Track) -> str:
    return f"{names.url(track.name)}/{names.MEDIA_PLAYLIST}"


def _microseconds(ticks: int, track: Track) -> int:
    """Positions are rounded and durations are their differences, so that the durations add up without drift."""
    return (2 * ticks * _MICROSECONDS + track.timescale) // (2 * track.timescale)


def _extinf(microseconds: int) -> str:
    return f"#EXTINF:{microseconds // _MICROSECONDS}.{microseconds % _MICROSECONDS:06d},"


def _tag(name: str, attributes: Iterable[str]) -> str:
    return f"#EXT-X-{name}:{','.join(attributes)}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
