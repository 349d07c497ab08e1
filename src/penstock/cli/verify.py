"""``verify``: checks a finished video against its source, on a machine that reaches both stores."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from penstock.cli.server import connect
from penstock.cli.terminal import Status, examples, fail, out, patience_status, print_json, reporting
from penstock.cli.videos import AsJson, Id

if TYPE_CHECKING:
    from penstock.cli.verification import Finding
    from penstock.client.models import Video
    from penstock.settings import Settings
    from penstock.storage.store import ObjectStore

commands = typer.Typer()


@commands.command(
    rich_help_panel="Looking closer", epilog=examples("penstock verify 01k2ad9w7m4bq9x0j7e5c3v8hn")
)
@reporting
def verify(video_id: Id, as_json: AsJson = False) -> None:
    """Check a finished video: digests, frames and joins of everything that is played, against its source.

    Reads the stores that the settings name, so it runs where the server's folders or buckets can be reached. Decodes every
    rung whole; exit 1 where something is not as it should be.
    """
    from penstock.settings import Settings

    settings = Settings.load()
    with connect() as client:
        video = client.video(video_id)
        history = client.history(video_id)
    if video.state != "ready" or video.playback is None:
        fail(
            f"Only a finished video can be verified; this one is {video.state}.",
            code="video_not_ready",
            status=patience_status(video.state),
        )
    findings: list[Finding] = []
    for finding in _findings(settings, video, history):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        from dataclasses import asdict

        print_json([asdict(finding) for finding in findings])
    if any(finding.good is False for finding in findings):
        raise typer.Exit(Status.FAILED)


def _findings(settings: "Settings", video: "Video", history: list[dict[str, Any]]) -> "Iterator[Finding]":
    from penstock.cli import verification
    from penstock.cli.verification import Finding
    from penstock.ffmpeg.discovery import discover
    from penstock.storage.open import open_store
    from penstock.storage.s3_access import Pace
    from penstock.video import keys

    assert video.playback is not None
    generation_id = urlsplit(video.playback.hls).path.split("/")[-2]
    outputs, sources = (open_store(each, Pace.WORK) for each in (settings.outputs, settings.sources))
    tools = discover(settings.ffmpeg)
    published = verification.published(outputs, video.id, generation_id)
    with TemporaryDirectory(prefix="penstock-verify-") as scratch:
        yield from verification.examine(published, outputs, tools, Path(scratch))
        found = next(iter(sources.list(keys.video_prefix(video.id))), None)
        if found is None:
            yield Finding("source", None, "not there any more: not compared")
            return
        source = sources.local_path(found.key) or _copied(sources, found.key, Path(scratch) / "source")
        yield _source_digest(source, history)
        yield from verification.compare(published, source, tools, settings.planning)


def _copied(sources: "ObjectStore", key: str, path: Path) -> Path:
    """A source that lies in a bucket, as a file."""
    with path.open("wb") as file:
        for piece in sources.stream(key):
            file.write(piece)
    return path


def _source_digest(source: Path, history: list[dict[str, Any]]) -> "Finding":
    from penstock.cli.verification import Finding, digest_of

    recorded = next(
        (event["data"].get("sha256") for event in history if (event["data"] or {}).get("sha256")), None
    )
    if recorded is None:
        return Finding("source", None, "no digest was recorded")
    return Finding(
        "source", digest_of(source) == recorded, "its digest against the one recorded at the upload"
    )


def _show(finding: "Finding") -> None:
    mark = {True: "[green]ok   [/]", False: "[bold red]WRONG[/]", None: "     "}[finding.good]
    out.print(f"{mark} {finding.subject:<18} ", end="")
    out.print(finding.detail, markup=False)
