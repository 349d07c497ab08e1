"""``upload``: sends files, and with ``--wait`` watches what becomes of them. Run again, it goes on where it was ended."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.server import connect
from penstock.cli.terminal import Status, duration, err, examples, out, print_json, report, reporting
from penstock.cli.transfers import Bars
from penstock.cli.videos import PANEL
from penstock.client import ClientError

if TYPE_CHECKING:
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

    Prints the id of each video. A server that goes away is waited for; an upload that was interrupted goes on when the same
    command is run again. With --wait it shows the processing of all of them and prints when each could be played first,
    when it was ready, and where to watch it.
    """
    with Bars() as bars, connect(bars.waiting) as client:
        try:
            sent = _send_all(client, bars, files, title, visibility, again=again)
            videos = {path: _settled(client, bars, path, found, wait=wait) for path, found in sent.items()}
        except KeyboardInterrupt:
            bars.close()
            _say_how_to_go_on(bars)
            raise typer.Exit(Status.INTERRUPTED) from None
    failed = sum(video.state == "failed" for video in videos.values()) if wait else 0
    if as_json:
        from dataclasses import asdict

        print_json([asdict(video) for video in videos.values()])
    else:
        for path, video in videos.items():
            _print(path, video, waited=wait)
        _summarise(files, sent, failed)
    if len(sent) < len(files) or failed:
        raise typer.Exit(Status.FAILED)


def _send_all(
    client: "Client", bars: Bars, files: list[Path], title: str | None, visibility: str | None, *, again: bool
) -> dict[Path, "Uploaded"]:
    """What became of each file that could be sent; one that could not is told, unless it is the only one."""
    sent: dict[Path, Uploaded] = {}
    for path in files:
        try:
            sent[path] = client.upload(
                path,
                title=title,
                visibility=visibility,
                allow_duplicate=again,
                progress=bars.of_file(path.name, _size(path)),
            )
        except ClientError as error:
            if len(files) == 1 or error.code == "unreachable":
                raise
            report(error.code, f"{path}: {error.detail}")
            continue
        if sent[path].duplicate:
            err.print(
                f"{path}: these bytes are video {sent[path].id} already (--again makes another one)",
                markup=False,
            )
    return sent


def _settled(client: "Client", bars: Bars, path: Path, uploaded: "Uploaded", *, wait: bool) -> "Video":
    """The video, with ``wait`` once nothing more happens to it."""
    if wait:
        show = bars.of_processing(path.name)
        playable = False
        for status in client.follow(uploaded.id):
            show(status.progress, f"{status.state}, playable" if status.playable else status.state)
            if status.playable and not playable:
                playable = True
                err.print(
                    f"[green]playable[/] while the rest is being made; its address: penstock play-url {uploaded.id}"
                )
    return client.video(uploaded.id)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the client says what is wrong with it


def _say_how_to_go_on(bars: Bars) -> None:
    import sys

    what_is_there = f": {bars.stands()}" if bars.stands() else ""
    command = shlex.join(["penstock", *sys.argv[1:]])
    err.print(f"interrupted{what_is_there}. To go on: {command}", markup=False)


def _summarise(files: list[Path], sent: dict[Path, "Uploaded"], failed: int) -> None:
    if len(files) == 1:
        return
    there = sum(uploaded.duplicate for uploaded in sent.values())
    counts = {
        "uploaded": len(sent) - there,
        "there already": there,
        "failed": failed,
        "refused": len(files) - len(sent),
    }
    err.print(", ".join(f"{count} {what}" for what, count in counts.items() if count))


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
