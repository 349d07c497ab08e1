"""``import``: the videos of a folder or a bucket. Run again, it sends what is not there yet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.server import connect
from penstock.cli.terminal import Status, err, examples, out, print_json, report, reporting, size, table
from penstock.cli.transfers import Bars
from penstock.cli.videos import PANEL

if TYPE_CHECKING:
    from penstock.client import Client
    from penstock.client.importing import Found, Imported
    from penstock.client.models import Uploaded
    from penstock.client.sources import Source

commands = typer.Typer()


@commands.command(
    "import",
    rich_help_panel=PANEL,
    epilog=examples(
        "penstock import /media/holidays --dry-run",
        "penstock import /media/holidays --visibility unlisted",
        "penstock import s3://archive/2019 --name '*.mxf'",
    ),
)
@reporting
def import_(
    origin: Annotated[str, typer.Argument(metavar="DIR|s3://BUCKET/PREFIX", help="Where the videos are.")],
    visibility: Annotated[str | None, typer.Option(help="private (default), unlisted or public.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only files of such names ('*.mxf'), instead of known endings."),
    ] = None,
    together: Annotated[int, typer.Option(min=1, max=16, help="Files under way at once.")] = 3,
    endpoint: Annotated[str | None, typer.Option(help="Address of an S3-compatible server.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each file's outcome as JSON.")] = False,
) -> None:
    """Upload every video of a folder or a bucket.

    Videos that are there already are not sent again, so the same command goes on after an interrupt, and brings what is new
    when run a month later. Ends with what was uploaded, what was there, and what was refused and why.
    """
    found = _find(origin, name or [], endpoint)
    with Bars() as bars, connect(bars.waiting) as client:
        if dry_run:
            _show_plan(client, found, visibility, as_json=as_json)
            return
        outcomes = list(found.unreadable)
        for refused in outcomes:
            _tell(refused)
        interrupted = False
        try:
            for outcome in _send(client, bars, found, visibility, together):
                outcomes.append(outcome)
                _tell(outcome, quiet=as_json)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            bars.close()
            if as_json:
                print_json([_facts(outcome) for outcome in outcomes])
            else:
                _summarise(found, outcomes, interrupted=interrupted)
    if interrupted:
        raise typer.Exit(Status.INTERRUPTED)
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(Status.FAILED)


def _find(origin: str, names: list[str], endpoint: str | None) -> "Found":
    from penstock.client.importing import in_bucket, in_folder

    if not origin.startswith("s3://"):
        return in_folder(Path(origin), names)
    from penstock.client.sources import Bucket
    from penstock.storage.s3_access import StoreConfig, multipart_client

    name, _, prefix = origin.removeprefix("s3://").partition("/")
    client = multipart_client(StoreConfig(f"s3://{name}", endpoint=endpoint))
    return in_bucket(Bucket(client, name, f"{prefix.rstrip('/')}/" if prefix else ""), names)


def _send(client: "Client", bars: Bars, found: "Found", visibility: str | None, together: int) -> Any:
    from penstock.client.importing import send_all

    total = bars.of_many(len(found.sources), sum(source.size for source in found.sources))

    def send(source: "Source") -> "Uploaded":
        counted = 0

        def progress(stage: str, done: int) -> None:
            nonlocal counted
            if stage == "send":
                total(0, done - counted)
                counted = done

        uploaded = client.upload(source, visibility=visibility, progress=progress, parallel=2)
        total(1, source.size - counted)
        return uploaded

    return send_all(found.sources, send, together=together)


def _tell(outcome: "Imported", *, quiet: bool = False) -> None:
    """One line for each: what to use goes to standard output, what is wrong to standard error."""
    if outcome.error is not None:
        report(outcome.error.code, f"{outcome.shown}: {outcome.error.detail}")
    elif not quiet:
        out.print(f"{outcome.video_id}  {outcome.outcome}  {outcome.shown}", markup=False)


def _summarise(found: "Found", outcomes: "list[Imported]", *, interrupted: bool) -> None:
    from penstock.client.importing import Outcome

    shown = table("", "FILES", "BYTES")
    words = {
        Outcome.UPLOADED: "uploaded",
        Outcome.DUPLICATE: "there already",
        Outcome.REFUSED: "refused",
    }
    for outcome, word in words.items():
        those = [one for one in outcomes if one.outcome is outcome]
        if those:
            shown.add_row(word, str(len(those)), size(sum(one.size for one in those)))
    if not (found.sources or found.unreadable):
        err.print("There is no video there. --name says which other files to take.")
    untried = len(found.sources) + len(found.unreadable) - len(outcomes)
    if untried:
        shown.add_row("not tried" if not interrupted else "not done", str(untried), "")
    if found.left_out:
        shown.add_row("left out by name", str(found.left_out), "")
    err.print(shown)
    if untried:
        err.print("The same command goes on; what arrived is not sent again.")


def _show_plan(client: "Client", found: "Found", visibility: str | None, *, as_json: bool) -> None:
    """What is known without reading files or asking for more than states: a digest may yet show that a file is there."""
    rows = [(source, client.uploaded_before(source, visibility=visibility)) for source in found.sources]
    if as_json:
        print_json(
            [{"shown": source.shown, "size": source.size, "video_id": there} for source, there in rows]
        )
        return
    for source, there in rows:
        note = f"there already as {there}" if there else "would be uploaded"
        out.print(f"{size(source.size):>10}  {note}  {source.shown}", markup=False)
    for refused in found.unreadable:
        _tell(refused)
    new = [source for source, there in rows if there is None]
    err.print(
        f"{len(new)} of {len(rows)} files would be uploaded, {size(sum(source.size for source in new))};"
        f" {found.left_out} others are left out by their names. Files whose bytes are there already are found out when their"
        " digest is known, and not sent."
    )


def _facts(outcome: "Imported") -> dict[str, Any]:
    error = outcome.error
    return {
        "shown": outcome.shown,
        "size": outcome.size,
        "outcome": outcome.outcome,
        "video_id": outcome.video_id,
        "error": None if error is None else {"code": error.code, "detail": error.detail},
    }
