"""``openapi``: the interface as a document, and whether it still is what was promised."""

import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.terminal import Status, err, examples, fail, reporting

commands = typer.Typer()


@commands.command(
    rich_help_panel="Looking closer",
    epilog=examples(
        "penstock openapi > docs/openapi.json",
        "penstock openapi --check docs/openapi.json",
        "penstock openapi --against former.json",
    ),
)
@reporting
def openapi(
    check: Annotated[
        Path | None,
        typer.Option(
            help="Fail where this file differs from the code.", metavar="FILE", exists=True, dir_okay=False
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Fail where clients written for this former document would break.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Print the HTTP interface as an OpenAPI 3.1 document, or check a file."""
    present = document()
    text = rendered(present)
    if check is None and against is None:
        typer.echo(text, nl=False)
    if check is not None and check.read_bytes() != text.encode():
        fail(
            f"{check} is not what the code serves; write it anew with 'penstock openapi > {check}' and look at what changed.",
            code="contract_outdated",
        )
    if against is not None:
        from penstock.cli.compatibility import incompatibilities

        found = incompatibilities(_former(against), present)
        for complaint in found:
            err.print(f"  {complaint}", markup=False)
        if found:
            err.print(f"{len(found)} changes break clients of the former document")
            raise typer.Exit(Status.FAILED)


def _former(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        fail(f"{path} is no OpenAPI document in JSON.", code="contract_unreadable")


def document() -> dict[str, Any]:
    """What the code serves. The services are built in a folder of their own and touch nothing else."""
    from penstock.settings import Settings
    from penstock.wiring import apps
    from penstock.wiring.parts import Parts

    with tempfile.TemporaryDirectory() as folder, closing(Parts(Settings.load(data=Path(folder)))) as parts:
        return apps.document(parts)


def rendered(document: dict[str, Any]) -> str:
    """The one form in which it is checked in, so that a difference is a difference of meaning."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
