"""``plan``: what would become of a file, without doing it. Local: nothing is sent anywhere."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from penstock.cli.terminal import bitrate, duration, examples, facts, fail, out, print_json, reporting, table

if TYPE_CHECKING:
    from penstock.video.media import SourceMedia
    from penstock.video.plan import Chunk, Plan

commands = typer.Typer()


@commands.command(
    rich_help_panel="Looking closer",
    epilog=examples("penstock plan holiday.mov", "penstock plan a.mkv --json"),
)
@reporting
def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)],
    as_json: Annotated[bool, typer.Option("--json", help="Print facts and plan as JSON.")] = False,
) -> None:
    """Say what is in a file and what would become of it: ladder, grid, chunks, tracks. Nothing is encoded or sent."""
    from dataclasses import replace

    from penstock.ffmpeg import inspect as looking
    from penstock.ffmpeg.discovery import discover
    from penstock.settings import Settings
    from penstock.video import plan as planning

    if not file.is_file():
        fail(f"{file} is no file but something else, a pipe or a device.", code="file_unreadable")
    settings = Settings.load()
    tools = discover(settings.ffmpeg)
    media = looking.inspect(tools, file.absolute())
    made = planning.plan(media, replace(settings.planning, fingerprint=tools.fingerprint))
    scan = looking.scan(tools, file.absolute(), made)
    chunks = planning.chunks(made, scan)
    frames = planning.total_frames(made, scan)
    if as_json:
        import json

        print_json(
            {
                "source": json.loads(media.to_json()),
                "plan": json.loads(made.to_json()),
                "chunks": len(chunks),
                "frames": frames,
                "duration": float(planning.duration(made, scan)),
            }
        )
        return
    _show_source(media)
    _show_plan(made, chunks, frames, planning.duration(made, scan))


def _show_source(media: "SourceMedia") -> None:
    out.print("[bold]SOURCE[/]")
    pairs = [
        ("container", media.container),
        ("length", duration(None if media.duration is None else float(media.duration))),
    ]
    for video in media.video:
        rate = f"{_rate(video.constant_rate)}/s" if video.constant_rate else "variable rate"
        turned = (", mirrored" if video.mirrored else "") + (
            f", turned {video.rotation} degrees" if video.rotation else ""
        )
        hdr = f", {video.colour.hdr}" if video.colour.hdr else ""
        pairs.append(
            (
                "picture",
                f"{video.codec} {video.width}x{video.height}, {rate}, {video.bit_depth} bit{turned}{hdr}, {video.scan}",
            )
        )
    for audio in media.audio:
        language = f", {escape(audio.language)}" if audio.language else ""
        pairs.append(("sound", f"{audio.codec}, {audio.channels} channels, {audio.sample_rate} Hz{language}"))
    pairs += [("subtitles", f"{item.codec}{'' if item.text else ' (pictures)'}") for item in media.subtitles]
    pairs += [("left out", f"stream {item.index}: {item.kind}, {item.reason}") for item in media.skipped]
    facts(pairs, indent="  ")


def _show_plan(made: "Plan", chunks: tuple["Chunk", ...], frames: int, seconds: Fraction) -> None:
    out.print("\n[bold]PLAN[/]")
    pairs = [("length", duration(float(seconds)))]
    if made.grid is not None:
        grid = f"{_rate(made.grid.rate)} frames/s, {frames} frames, keyframe every {made.grid.gop_frames}"
        pairs.append(("grid", grid))
        segment = Fraction(made.grid.segment_frames) / made.grid.rate
        pairs.append(("segments", f"{float(segment):g} s each"))
        pairs.append(("chunks", f"{len(chunks)}, the first of {chunks[0].frames if chunks else 0} frames"))
    if made.video is not None and made.video.tonemap:
        pairs.append(("colour", "mapped from HDR to BT.709"))
    if made.poster is not None:
        size = f"{made.poster.width}x{made.poster.height}"
        pairs.append(("poster", f"poster.jpg, {size}, at {duration(float(made.poster.time))}"))
    pairs += [("captions", f"{captions.name}.vtt, {escape(captions.label)}") for captions in made.captions]
    facts(pairs, indent="  ")
    ladder = table("  RENDITION", "SIZE", "QUALITY", "AT MOST")
    for rung in made.rungs:
        ladder.add_row(
            f"  {rung.name}", f"{rung.width}x{rung.height}", f"CRF {rung.crf}", bitrate(rung.maxrate)
        )
    for track in made.audio:
        language = f" {escape(track.language)}" if track.language else ""
        ladder.add_row(
            f"  {track.name}", f"{track.channels} channels{language}", "AAC-LC", bitrate(track.bitrate)
        )
    out.print()
    out.print(ladder)


def _rate(rate: Any) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")
