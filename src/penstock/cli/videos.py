"""The commands about videos on a server: listing, looking, playing, retrying, deleting."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from penstock.cli import findings
from penstock.cli.server import connect
from penstock.cli.terminal import (
    bitrate,
    duration,
    err,
    examples,
    facts,
    fail,
    moment,
    out,
    patience_status,
    print_json,
    reporting,
    size,
    table,
)

commands = typer.Typer()

PANEL = "Videos"
Id = Annotated[str, typer.Argument(metavar="ID", help="Of the video, as 'penstock videos' shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the server answers, as JSON.")]


@commands.command(
    rich_help_panel=PANEL,
    epilog=examples("penstock videos --state failed", "penstock videos --json | jq -r '.items[].id'"),
)
@reporting
def videos(
    search: Annotated[str | None, typer.Option(help="Part of the title or file name.")] = None,
    state: Annotated[
        str | None, typer.Option(help="pending, uploaded, processing, ready, failed or deleted.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List videos, newest first."""
    with connect() as client:
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(items) < limit:
            params = {
                "search": search,
                "state": state,
                "cursor": cursor,
                "limit": min(limit - len(items), 200),
            }
            page = client.connection.json("GET", "/api/videos", params=params)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
    if as_json:
        print_json({"items": items, "next_cursor": cursor})
        return
    listing = table("ID", "STATE", "DONE", "LENGTH", "UPLOADED", "TITLE")
    for item in items:
        listing.add_row(
            item["id"], _state(item), f"{item['progress']:.0%}", duration(item["duration"]), moment(item["uploaded_at"]), escape(item["title"])
        )  # fmt: skip
    out.print(listing)
    if cursor is not None:
        err.print(f"there are more; --limit {2 * limit} shows some of them")


@commands.command(rich_help_panel=PANEL, epilog=examples("penstock show 01k2ad9w7m4bq9x0j7e5c3v8hn"))
@reporting
def show(video_id: Id, as_json: AsJson = False) -> None:
    """Show one video: state, timings, what was found and decided, ladder, tasks."""
    with connect() as client:
        video = client.connection.json("GET", f"/api/videos/{video_id}")
        details = client.details(video_id)
        history = client.history(video_id)
    if as_json:
        print_json({"video": video, "status": details, "events": history})
        return
    _show_facts(video, details)
    _show_renditions(video)
    _show_generation(details)
    _show_history(history)


@commands.command(
    "play-url",
    rich_help_panel=PANEL,
    epilog=examples(
        "ffplay $(penstock play-url ID)", "penstock play-url --dash ID", "penstock play-url --watch ID"
    ),
)
@reporting
def play_url(
    video_id: Id,
    dash: Annotated[
        bool, typer.Option("--dash", help="The DASH manifest instead of the HLS playlist.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="The page to watch it on.")] = False,
) -> None:
    """Print a signed address that plays the video until it expires."""
    with connect() as client:
        video = client.video(video_id)
    if watch and video.watch_url:
        typer.echo(video.watch_url)
        return
    if video.playback is None:
        reason = video.error.message if video.error else f"it is {video.state}, {video.progress:.0%} done"
        fail(
            f"Nothing of this video can be played: {reason}",
            code="video_not_ready",
            status=patience_status(video.state),
        )
    typer.echo(video.playback.dash if dash else video.playback.hls)


@commands.command(rich_help_panel=PANEL)
@reporting
def retry(video_id: Id) -> None:
    """Process a failed video again; finished work is kept where the plan is the same."""
    with connect() as client:
        video = client.retry(video_id)
    out.print(f"{video.id} is {video.state} again")


@commands.command(rich_help_panel=PANEL)
@reporting
def reprocess(video_id: Id) -> None:
    """Make a ready video anew, for other settings; it plays on as it is, and changes over when that is done."""
    with connect() as client:
        video = client.reprocess(video_id)
    out.print(f"{video.id} is {video.state}, and being made anew")


@commands.command(rich_help_panel=PANEL, epilog=examples("penstock delete --yes 01k2ad9w7m4bq9x0j7e5c3v8hn"))
@reporting
def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Of the videos.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete videos for good: their work ends at once, their files go within minutes."""
    with connect() as client:
        for video_id in ids:
            title = client.video(video_id).title
            if not yes and not typer.confirm(f"Delete '{title}' ({video_id})?"):
                continue
            client.delete(video_id)
            out.print(f"deleted {video_id}")


def _show_facts(video: dict[str, Any], details: dict[str, Any]) -> None:
    pairs = [("id", video["id"]), ("title", escape(video["title"]))]
    if video["filename"]:
        pairs.append(("file", escape(video["filename"])))
    pairs.append(("state", _state(video) + ("  (the source was cut short)" if video["truncated"] else "")))
    if video["error"]:
        pairs.append(("error", f"[red]{video['error']['code']}[/]: {escape(video['error']['message'])}"))
    pairs.append(("progress", f"{video['progress']:.0%}"))
    if video["width"]:
        pairs.append(("picture", f"{video['width']}x{video['height']}"))
    pairs += [("length", duration(video["duration"])), ("uploaded", moment(video["uploaded_at"]))]
    pairs += [(f"time: {stage}", duration(seconds)) for stage, seconds in details["timings"].items()]
    if video["watch_url"]:
        pairs.append(("watch", escape(video["watch_url"])))
    facts(pairs)


def _show_renditions(video: dict[str, Any]) -> None:
    if not video["renditions"]:
        return
    listing = table("RENDITION", "SIZE", "RATE", "CODEC", "BITRATE", "SEGMENTS", "BYTES", "")
    for item in video["renditions"]:
        picture = (
            f"{item['width']}x{item['height']}" if item["width"] else f"{item['channels'] or '?'} channels"
        )
        rate = f"{item['frame_rate']:g}/s" if item["frame_rate"] else ""
        done = "complete" if item["complete"] else "growing"
        listing.add_row(
            item["name"], picture, rate, item["codecs"] or "-", bitrate(item["bitrate"]), str(item["segments"]), size(item["size"]), done
        )  # fmt: skip
    out.print()
    out.print(listing)


def _show_generation(details: dict[str, Any]) -> None:
    """What an administrator's key is shown of the processing itself."""
    generation = details.get("generation")
    if generation is None:
        return
    if generation["found"] is not None:
        findings.show_found(generation["found"])
    if generation["decided"] is not None:
        findings.show_decided(generation["decided"])
    out.print("\n[bold]PROCESSING[/]")
    facts(
        [
            ("generation", f"{generation['id']}, number {generation['number']}, {generation['state']}"),
            (
                "published",
                f"{duration(generation['published_seconds'])} as timeline version {generation['timeline_version']}",
            ),
        ],
        indent="  ",
    )
    listing = table("  TASK", "STATE", "DONE", "ATTEMPT", "FAILURES", "LOSSES", "NODE", "ERROR")
    for task in generation["tasks"]:
        error = f"{task['error']['code']}: {task['error']['message']}" if task["error"] else ""
        listing.add_row(
            f"  {task['kind']} {task['index']}", task["state"], f"{task['progress']:.0%}", str(task["attempt"]),
            str(task["failures"]), str(task["losses"]), task["node"] or "-", escape(error),
        )  # fmt: skip
    out.print(listing)


def _show_history(history: list[dict[str, Any]]) -> None:
    out.print("\n[bold]HISTORY[/]")
    listing = table("  WHEN", "EVENT", "STATE", "WHO", "WHAT")
    for event in history:
        change = f"{event['from_state'] or ''} -> {event['to_state']}" if event["to_state"] else ""
        what = event["why"] or ", ".join(
            f"{name} {value}" for name, value in (event["data"] or {}).items() if _short(value)
        )
        listing.add_row(
            f"  {moment(event['at'])}", event["event"], change.strip(), event["who"], escape(what)
        )
    out.print(listing)


def _short(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and len(str(value)) <= 40


def _state(video: dict[str, Any]) -> str:
    colour = {"ready": "green", "failed": "red", "deleted": "dim"}.get(video["state"], "yellow")
    playable = ", playable" if video["playable"] and video["state"] != "ready" else ""
    return f"[{colour}]{video['state']}[/]{playable}"
