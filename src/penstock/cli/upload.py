"""``upload``: sends files, and with ``--wait`` watches what becomes of them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.server import connect
from penstock.cli.terminal import Status, duration, err, examples, out, print_json, report, reporting
from penstock.cli.videos import PANEL
from penstock.client import ClientError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from penstock.client import Client
    from penstock.client.models import Uploaded, Video

commands = typer.Typer()


@commands.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "penstock upload holiday.mp4",
        "penstock upload *.mov --wait --visibility unlisted",
        'penstock upload talk.mkv --title "The talk" --wait --json',
    ),
)
@reporting
def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Video files.", dir_okay=False)],
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until each video is ready; exit 1 if one fails.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Shown to viewers; the file's name unless given.")] = None,
    visibility: Annotated[str | None, typer.Option(help="private (default), unlisted or public.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make a new video even where the same bytes were uploaded before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the videos as JSON.")] = False,
) -> None:
    """Upload video files; each is acknowledged only once it is safely on the server's disk.

    Prints the id of each video. With --wait it shows the processing and prints when the video could be played first, when
    it was ready, and where to watch it.
    """
    results: list[Video] = []
    failed = False
    with connect() as client:
        for path in files:
            try:
                video = _one(client, path, title, visibility, again=again, wait=wait)
            except ClientError as error:
                if len(files) == 1:
                    raise
                report(error.code, f"{path}: {error.detail}")
                failed = True
                continue
            results.append(video)
            failed = failed or video.state == "failed"
            if not as_json:
                _print(path, video, waited=wait)
    if as_json:
        from dataclasses import asdict

        print_json([asdict(video) for video in results])
    if failed:
        raise typer.Exit(Status.FAILED)


def _one(
    client: "Client", path: Path, title: str | None, visibility: str | None, *, again: bool, wait: bool
) -> "Video":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>4.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=err,
        disable=not sys.stderr.isatty(),
    ) as bars:
        uploaded = _send(client, path, bars, title, visibility, again=again)
        if uploaded.duplicate:
            err.print(f"{path}: these bytes are video {uploaded.id} already (--again makes another one)")
        if wait:
            _watch(client, uploaded.id, bars)
    return client.video(uploaded.id)


def _send(
    client: "Client", path: Path, bars: "Progress", title: str | None, visibility: str | None, *, again: bool
) -> "Uploaded":
    try:
        total = path.stat().st_size
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}.", code="file_unreadable") from None
    shown: dict[str, TaskID] = {}
    labels = {"hash": "checksum", "send": "upload"}

    def progress(stage: str, done: int) -> None:
        if stage not in shown:
            shown[stage] = bars.add_task(labels[stage], total=total, note=path.name)
        bars.update(shown[stage], completed=done)

    return client.upload(path, title=title, visibility=visibility, allow_duplicate=again, progress=progress)


def _watch(client: "Client", video_id: str, bars: "Progress") -> None:
    bar = bars.add_task("processing", total=1.0, note="")
    playable = False
    for status in client.follow(video_id):
        note = f"{status.state}, playable" if status.playable else status.state
        bars.update(bar, completed=status.progress, note=note)
        if status.playable and not playable:
            playable = True
            err.print(
                f"[green]playable[/] while the rest is being made; its address: penstock play-url {video_id}"
            )


def _print(path: Path, video: "Video", *, waited: bool) -> None:
    if not waited:
        out.print(f"{video.id}  {video.state}  {path.name}", markup=False)
        return
    out.print(f"{video.id}  {path.name}", markup=False)
    if video.state == "failed" and video.error is not None:
        out.print(f"  [red]failed[/]    {video.error.code}: {video.error.message}")
        return
    if video.uploaded_at and video.playable_at and video.ready_at:
        out.print(
            f"  playable  {duration((video.playable_at - video.uploaded_at).total_seconds())} after the upload"
        )
        out.print(
            f"  ready     {duration((video.ready_at - video.uploaded_at).total_seconds())} after the upload"
        )
    if video.watch_url:
        out.print(f"  watch     {video.watch_url}", markup=False)
