"""``plan``: what would become of a file, without doing it. Local: nothing is sent anywhere."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from penstock.cli.app import app
from penstock.cli.terminal import bitrate, duration, examples, out, print_json, reporting, table

if TYPE_CHECKING:
    from penstock.video.media import SourceMedia
    from penstock.video.plan import Chunk, Plan


@app.command(
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
    from penstock.ffmpeg.tools import discover
    from penstock.settings import Settings
    from penstock.video import plan as planning

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
    facts = Table.grid(padding=(0, 2))
    facts.add_row("  container", media.container)
    facts.add_row("  length", duration(None if media.duration is None else float(media.duration)))
    for video in media.video:
        rate = f"{_rate(video.constant_rate)}/s" if video.constant_rate else "variable rate"
        turned = f", turned {video.rotation} degrees" if video.rotation else ""
        hdr = f", {video.colour.hdr}" if video.colour.hdr else ""
        facts.add_row(
            "  picture", f"{video.codec} {video.width}x{video.height}, {rate}, {video.bit_depth} bit{turned}{hdr}, {video.scan}"
        )  # fmt: skip
    for audio in media.audio:
        language = f", {audio.language}" if audio.language else ""
        facts.add_row(
            "  sound", f"{audio.codec}, {audio.channels} channels, {audio.sample_rate} Hz{language}"
        )
    for subtitle in media.subtitles:
        facts.add_row("  subtitles", f"{subtitle.codec}{'' if subtitle.text else ' (pictures)'}")
    for skipped in media.skipped:
        facts.add_row("  left out", f"stream {skipped.index}: {skipped.kind}, {skipped.reason}")
    out.print(facts)


def _show_plan(made: "Plan", chunks: tuple["Chunk", ...], frames: int, seconds: Fraction) -> None:
    out.print("\n[bold]PLAN[/]")
    facts = Table.grid(padding=(0, 2))
    facts.add_row("  length", duration(float(seconds)))
    if made.grid is not None:
        facts.add_row(
            "  grid",
            f"{_rate(made.grid.rate)} frames/s, {frames} frames, keyframe every {made.grid.gop_frames}",
        )
        segment = Fraction(made.grid.segment_frames) / made.grid.rate
        facts.add_row("  segments", f"{float(segment):g} s each")
        facts.add_row("  chunks", f"{len(chunks)}, the first of {chunks[0].frames if chunks else 0} frames")
    if made.video is not None and made.video.tonemap:
        facts.add_row("  colour", "mapped from HDR to BT.709")
    if made.poster is not None:
        facts.add_row("  poster", f"at {duration(float(made.poster.time))}")
    for captions in made.captions:
        facts.add_row("  captions", captions.label)
    out.print(facts)
    ladder = table("  RENDITION", "SIZE", "QUALITY", "AT MOST")
    for rung in made.rungs:
        ladder.add_row(
            f"  {rung.name}", f"{rung.width}x{rung.height}", f"CRF {rung.crf}", bitrate(rung.maxrate)
        )
    for track in made.audio:
        language = f" {track.language}" if track.language else ""
        ladder.add_row(
            f"  {track.name}", f"{track.channels} channels{language}", "AAC-LC", bitrate(track.bitrate)
        )
    out.print()
    out.print(ladder)


def _rate(rate: Any) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")
