"""Looking at a source: what it is (``inspect``) and where its packets lie (``scan``)."""

import json
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

from penstock.ffmpeg import commands, probe
from penstock.ffmpeg.packets import PacketReader
from penstock.ffmpeg.refusals import Refusal, refused
from penstock.ffmpeg.run import Finished, run
from penstock.ffmpeg.sniff import Structure, sniff
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import MediaError, ToolFailed
from penstock.video.media import SkippedStream, SourceMedia
from penstock.video.plan import Plan, ScanResult

_SAMPLE = 500  # packets of all streams: five seconds and more of ordinary films, enough to tell 29.97 from 30
# Pictures: to know the colours; to know whether lines are interlaced where something moves.
_FEW, _MANY = 2, 100
_KILLED = frozenset(128 + number for number in (6, 7, 9, 11, 15, 25))  # how bubblewrap reports a signal
# Not "Cannot allocate memory": a broken header asks for any amount.
_MACHINE = ("Input/output error", "No such file or directory", "Permission denied")
_PATIENCE = 60.0  # seconds for a look at a file's beginning; a healthy one takes a tenth of one
_MAX_ANSWER = 64 << 20  # bytes of a probe's answer: 64 streams and 500 packets are far below


def inspect(tools: Tools, source: Path, *, cancel: Event | None = None) -> SourceMedia:
    """The facts about a source, from its header, its first packets and its first decoded pictures: well under a second.

    Raises ``MediaError`` with a code of ``refusals.Refusal`` for what cannot become a video, ``Cancelled``,
    ``ToolFailed``.
    """
    structure = sniff(source)
    answer = bytearray()

    def collect(data: bytes) -> None:
        if len(answer) + len(data) > _MAX_ANSWER:
            raise refused(Refusal.DAMAGED, "Its header describes too much.")
        answer.extend(data)

    finished = run(
        tools,
        commands.probe(source, _SAMPLE, tools.config.max_pixels),
        {1: collect},
        cancel=cancel,
        deadline=_PATIENCE,
    )
    if finished.status != 0:
        probe.refuse_larger(finished.messages, tools.config)
        raise _unreadable(finished, structure)
    try:
        document = json.loads(answer)
        media = probe.read(
            document, size=source.stat().st_size, decodable=tools.decodable, limits=tools.config
        )
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # A header may say anything: a clock of no ticks, a stream without a number.
        raise refused(Refusal.DAMAGED) from error
    except MediaError as error:
        # FFmpeg reads what it can of an index that was cut short, down to streams of no kind.
        raise (
            refused(Refusal.DAMAGED) if structure.truncated and error.code == Refusal.NO_STREAMS else error
        ) from None
    media = replace(media, truncated=structure.truncated)
    return _with_pictures_seen(tools, source, media, document, cancel) if media.video else media


def scan(tools: Tools, source: Path, plan: Plan, *, cancel: Event | None = None) -> ScanResult:
    """Read every packet's head: 10 hours take some seconds. Raises as :func:`inspect`."""
    reader = PacketReader(plan, tools.config.max_packets)
    finished = run(
        tools,
        commands.scan(source, plan, tools.config.max_pixels),
        {1: reader.feed},
        cancel=cancel,
        nice=tools.config.nice,  # it runs beside the first chunk, which somebody waits for
    )
    result = reader.result()
    if result is None:
        raise _unreadable(finished, Structure()) if finished.status else refused(Refusal.NO_STREAMS)
    seconds = result.end * result.time_base - plan.origin
    if seconds > tools.config.max_duration:
        raise refused(Refusal.TOO_LONG, f"Its timestamps span {float(seconds) / 3600:.1f} h.")
    return result


def _with_pictures_seen(
    tools: Tools, source: Path, media: SourceMedia, document: Mapping[str, Any], cancel: Event | None
) -> SourceMedia:
    """The facts with what the first decoded pictures say in place of the header's word on them."""
    stream = media.video[0]
    if probe.dolby_vision_profile(document, stream.index) == 5:
        raise refused(Refusal.COLOUR_UNSUPPORTED)
    if stream.width * stream.height > tools.config.max_pixels:  # before anything is decoded
        raise refused(Refusal.TOO_LARGE, f"It is {stream.width} by {stream.height}.")

    def look(pictures: int, at: Fraction | None) -> probe.Look:
        command = commands.look(
            source,
            stream.index,
            pictures,
            tools.config.max_pixels,
            at=None if at is None else float(at),
        )
        finished = run(tools, command, {}, cancel=cancel, deadline=_PATIENCE, keep=_report_size(pictures))
        _blame_the_machine(finished)
        seen = probe.look(finished.messages)
        if seen.pictures == 0:
            probe.refuse_larger(finished.messages, tools.config)
        return seen

    first = look(_FEW, None)
    if first.pictures == 0 and not stream.width and media.audio:
        # Not even a header of the pictures is there (a recording that begins in the middle): the sound remains.
        lost = SkippedStream(stream.index, "video", "undecodable")
        return replace(media, video=media.video[1:], skipped=(*media.skipped, lost))
    seen = probe.corrected(stream, first, tools.config)
    if media.still:
        turn, mirrored = _orientation_of_still(tools, source, stream.index, cancel)
        return replace(media, video=(replace(seen, rotation=turn, mirrored=mirrored), *media.video[1:]))
    order = next(
        str(item.get("field_order")) for item in document["streams"] if item["index"] == stream.index
    )
    if probe.may_be_interlaced(order, stream.codec) or first.flagged_top or first.flagged_bottom:
        # A little way in, where something moves; a beginning is often a black picture or a title.
        many = look(_MANY, None if media.duration is None else media.duration / 10)
        seen = replace(seen, scan=(many if many.pictures else first).scan)
    return replace(media, video=(seen, *media.video[1:]))


def _orientation_of_still(tools: Tools, source: Path, stream: int, cancel: Event | None) -> tuple[int, bool]:
    answer = bytearray()
    command = commands.orientation(source, stream, tools.config.max_pixels)
    run(tools, command, {1: answer.extend}, cancel=cancel, deadline=_PATIENCE)
    frames = json.loads(answer or b"{}").get("frames", [])
    return probe.orientation(frames[0]) if frames else (0, False)


def _report_size(pictures: int) -> int:
    """Bytes of a report: some 400 per picture and a few thousand besides, twice over."""
    return 64_000 + pictures * 1_000


def _blame_the_machine(finished: Finished) -> None:
    """Raises ``ToolFailed`` where a run ended for a reason that is not in the file: trying again may help."""
    if (
        finished.status < 0
        or finished.status in _KILLED
        or any(words in finished.messages for words in _MACHINE)
    ):
        raise ToolFailed("A media tool could not read the source, or was killed while it did.")


def _unreadable(finished: Finished, structure: Structure) -> MediaError:
    """Why ffprobe could not open a file, from the file's own structure and the tool's words."""
    _blame_the_machine(finished)
    if "max_streams" in finished.messages:  # FFmpeg's own limit, above any of ours
        return refused(Refusal.TOO_MANY_STREAMS)
    if structure.mp4 and not structure.moov:
        return refused(Refusal.NO_MOOV)
    if structure.mp4:
        return refused(Refusal.DAMAGED)
    words = finished.messages
    if any(f"[{name} " in words for name in ("hls", "concat", "dash", "sdp", "imf", "concatf")):
        return refused(Refusal.PLAYLIST)
    if "Format not on whitelist" in words or "Invalid data found" in words:
        return refused(Refusal.NOT_RECOGNISED)
    return refused(Refusal.DAMAGED)
