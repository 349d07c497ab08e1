"""The DASH manifest (ISO/IEC 23009-1, live profile with ``SegmentTimeline`` and ``$Number$``) of one timeline.

Pure: a timeline in, XML out. It knows no tokens and no servers; every URL is relative.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import groupby

from penstock.manifests import names
from penstock.manifests.hls import captions_bit_rate
from penstock.video.timeline import Artefact, Timeline, TimelineState, Track

MEDIA_TYPE = "application/dash+xml"

_PROFILE = "urn:mpeg:dash:profile:isoff-live:2011"
_ROLE = "urn:mpeg:dash:role:2011"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_DAY = 24 * 3600
_UPDATE_PERIOD = 2  # seconds; a growing timeline is published no more often


def mpd(timeline: Timeline) -> str:
    """The manifest: dynamic while the timeline grows, static once it is frozen."""
    root = ET.Element(
        "MPD",
        {"xmlns": "urn:mpeg:dash:schema:mpd:2011", "profiles": _PROFILE, **_presentation(timeline)},
    )
    period = ET.SubElement(root, "Period", {"id": "0", "start": "PT0S"})
    video = [track for track in timeline.video_tracks if track.segments]
    for _, rungs in groupby(video, key=lambda track: track.codecs.partition(".")[0]):
        _video_set(period, timeline, list(rungs))
    audio = [track for track in timeline.audio_tracks if track.segments]
    chosen = next((track for track in audio if track.default), audio[0] if audio else None)
    for track in audio:
        _audio_set(period, timeline, track, main=track is chosen)
    for item in timeline.captions:
        _captions_set(period, timeline, item)
    for number, adaptation_set in enumerate(period):
        adaptation_set.set("id", str(number))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _presentation(timeline: Timeline) -> dict[str, str]:
    attributes = {"minBufferTime": _duration(Fraction(timeline.target_duration))}
    if timeline.state is not TimelineState.GROWING:
        return {
            **attributes,
            "type": "static",
            "mediaPresentationDuration": _duration(timeline.planned_duration),
        }
    # To a player a growing presentation is a live one. Everything in it has been available for a long time (so a clock
    # that is wrong by hours hides nothing), and the wanted distance from the live edge is longer than that time, so
    # play begins at the beginning, whenever a viewer comes during the first day. Whole days, because the planned
    # duration may be corrected while the availability start must not move.
    lead = max(1, -(-timeline.planned_duration.__ceil__() // _DAY)) * _DAY
    return {
        **attributes,
        "type": "dynamic",
        "availabilityStartTime": _time(timeline.first_published_ms - 1000 * lead),
        "publishTime": _time(timeline.published_ms),
        "minimumUpdatePeriod": _duration(Fraction(_UPDATE_PERIOD)),
        "suggestedPresentationDelay": _duration(Fraction(lead + _DAY)),
    }


def _video_set(period: ET.Element, timeline: Timeline, rungs: Sequence[Track]) -> None:
    adaptation_set = ET.SubElement(
        period,
        "AdaptationSet",
        {
            "contentType": "video",
            "mimeType": "video/mp4",
            "segmentAlignment": "true",
            "startWithSAP": "1",
            "maxWidth": str(max(track.width or 0 for track in rungs)),
            "maxHeight": str(max(track.height or 0 for track in rungs)),
        },
    )
    for track in rungs:
        attributes = {"width": str(track.width or 0), "height": str(track.height or 0), "sar": "1:1"}
        if track.frame_rate:
            attributes["frameRate"] = str(track.frame_rate)
        _representation(adaptation_set, timeline, track, attributes)


def _audio_set(period: ET.Element, timeline: Timeline, track: Track, *, main: bool) -> None:
    attributes = {
        "contentType": "audio",
        "mimeType": "audio/mp4",
        "segmentAlignment": "true",
        "startWithSAP": "1",
    }
    adaptation_set = _set(period, attributes, track.language)
    _label(adaptation_set, track.label)
    ET.SubElement(adaptation_set, "Role", {"schemeIdUri": _ROLE, "value": "main" if main else "alternate"})
    representation = _representation(adaptation_set, timeline, track, {})
    if track.channels:
        channels = ET.Element(
            "AudioChannelConfiguration", {"schemeIdUri": _CHANNELS, "value": str(track.channels)}
        )
        representation.insert(0, channels)


def _captions_set(period: ET.Element, timeline: Timeline, item: Artefact) -> None:
    adaptation_set = _set(period, {"contentType": "text", "mimeType": item.media_type}, item.language)
    _label(adaptation_set, item.label)
    ET.SubElement(adaptation_set, "Role", {"schemeIdUri": _ROLE, "value": "subtitle"})
    attributes = {
        "id": item.name.removesuffix(".vtt"),
        "bandwidth": str(max(1, captions_bit_rate(timeline, item))),
    }
    representation = ET.SubElement(adaptation_set, "Representation", attributes)
    ET.SubElement(representation, "BaseURL").text = names.url(item.name)


def _set(period: ET.Element, attributes: dict[str, str], language: str | None) -> ET.Element:
    adaptation_set = ET.SubElement(period, "AdaptationSet", attributes)
    if tag := names.language(language):
        adaptation_set.set("lang", tag)
    return adaptation_set


def _label(adaptation_set: ET.Element, text: str | None) -> None:
    if shown := names.label(text):
        ET.SubElement(adaptation_set, "Label").text = shown


def _representation(
    adaptation_set: ET.Element, timeline: Timeline, track: Track, attributes: dict[str, str]
) -> ET.Element:
    frozen = timeline.state is TimelineState.FROZEN
    rate = track.peak_bandwidth(timeline.target_duration) if frozen else track.bandwidth
    representation = ET.SubElement(
        adaptation_set,
        "Representation",
        {"id": track.name, "bandwidth": str(rate), "codecs": track.codecs, **attributes},
    )
    # Times are the media's own, so there is no presentationTimeOffset, for audio with an encoder delay neither: its edit
    # list is in the init segment and players apply it; an offset here would shift the audio a second time.
    template = ET.SubElement(
        representation,
        "SegmentTemplate",
        {
            "timescale": str(track.timescale),
            "initialization": f"{names.url(track.name)}/{names.INIT_SEGMENT}",
            "media": f"{names.url(track.name)}/$Number${names.SEGMENT_SUFFIX}",
            "startNumber": str(track.segments[0].number),
        },
    )
    _segment_timeline(template, track)
    return representation


def _segment_timeline(template: ET.Element, track: Track) -> None:
    element = ET.SubElement(template, "SegmentTimeline")
    for duration, run in groupby(track.segments, key=lambda segment: segment.duration):
        segments = list(run)
        attributes = {"d": str(duration)}
        if segments[0] is track.segments[0]:
            attributes = {"t": str(segments[0].start), **attributes}
        if len(segments) > 1:
            attributes["r"] = str(len(segments) - 1)
        ET.SubElement(element, "S", attributes)


def _duration(seconds: Fraction) -> str:
    whole, microseconds = divmod(round(seconds * 1_000_000), 1_000_000)
    decimals = f".{microseconds:06d}".rstrip("0") if microseconds else ""
    return f"PT{whole}{decimals}S"


def _time(milliseconds: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
