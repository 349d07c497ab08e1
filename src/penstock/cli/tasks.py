"""``tasks``: what is being worked on, what waits, and what was given up, over all videos; read from the records on this machine."""

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from penstock.cli.fsck import require_records
from penstock.cli.terminal import examples, moment, out, print_json, reporting, table
from penstock.cli.videos import AsJson

if TYPE_CHECKING:
    from penstock.catalog.records import Task

commands = typer.Typer()


@commands.command(
    rich_help_panel="Looking closer",
    epilog=examples("penstock tasks --dead", "penstock tasks --dead --json | jq -r '.items[].video_id'"),
)
@reporting
def tasks(
    dead: Annotated[
        bool, typer.Option("--dead", help="Only those that were given up and need a person.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the tasks of all videos that are not done: given up, running, waiting; each given up with what to do about it.

    Reads the database that the settings name, whether the server runs or not, and changes nothing.
    """
    from penstock.catalog import backlog
    from penstock.catalog.words import TaskState
    from penstock.settings import Settings
    from penstock.wiring.parts import Parts

    settings = Settings.load()
    require_records(settings)
    with closing(Parts(settings)) as parts, parts.catalog.read() as tx:
        found = backlog.listing(tx, states=(TaskState.DEAD,) if dead else backlog.UNDONE, limit=limit)
    if as_json:
        print_json({"items": [_document(each) for each in found]})
        return
    if not found:
        out.print("no task was given up" if dead else "nothing is left to do")
        return
    listing = table("VIDEO", "TASK", "STATE", "FAILURES", "LOSSES", "NODE", "ERROR", "SINCE", "REMEDY")
    for task in found:
        error = f"{task.error_code}: {task.error_message}" if task.error_code else ""
        listing.add_row(
            task.video_id, f"{task.kind} {task.index}", str(task.state), str(task.failures), str(task.losses),
            escape(task.node_id or "-"), escape(error), moment(_since(task)), (_remedy(task) or "").rpartition(" ")[0],
        )  # fmt: skip
    out.print(listing)


def _since(task: "Task") -> str:
    milliseconds = task.ended_at or task.claimed_at or task.queued_at
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat().replace("+00:00", "Z")


def _remedy(task: "Task") -> str | None:
    """The command that lets it be tried again; a video that could do without it plays, and is made anew."""
    if task.ended_at is None:
        return None
    return f"penstock {'retry' if task.required else 'reprocess'} {task.video_id}"


def _document(task: "Task") -> dict[str, Any]:
    error = {"code": task.error_code, "message": task.error_message} if task.error_code else None
    return {
        "id": task.id,
        "video_id": task.video_id,
        "kind": str(task.kind),
        "index": task.index,
        "state": str(task.state),
        "required": task.required,
        "attempt": task.attempt,
        "failures": task.failures,
        "losses": task.losses,
        "node": task.node_id,
        "error": error,
        "since": _since(task),
        "remedy": _remedy(task),
    }
