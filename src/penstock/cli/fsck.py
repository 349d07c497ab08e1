"""``fsck``: whether records, history and objects agree, on a machine that reaches both stores and the database."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.terminal import Status, examples, fail, out, print_json, reporting, size
from penstock.cli.videos import AsJson

if TYPE_CHECKING:
    from penstock.audit.audit import Audit
    from penstock.audit.findings import Finding
    from penstock.settings import Settings
    from penstock.wiring.parts import Parts

commands = typer.Typer()


@commands.command(
    rich_help_panel="Looking closer", epilog=examples("penstock fsck", "penstock fsck --deep --repair")
)
@reporting
def fsck(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every object and compare its digest; else sizes alone.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove objects that nothing can refer to any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that records, history and objects agree: nothing missing, damaged, stuck, doubled or left over.

    Reads the database and the stores that the settings name, whether the server runs or not, and changes nothing unless
    told to. Exit 1 where a fault remains.
    """
    from penstock.settings import Settings
    from penstock.wiring.parts import Parts

    settings = Settings.load()
    require_records(settings)
    found: list[Finding] = []
    with closing(Parts(settings)) as parts:
        audit = _audit(parts, deep=deep, repair=repair)
        for finding in audit.run():
            found.append(finding)
            if not as_json:
                _show(finding)
    tally = asdict(audit.tally)
    if as_json:
        print_json({"deep": deep, "looked_at": tally, "faults": [_document(each) for each in found]})
    else:
        _sum_up(tally, found, deep=deep)
    if any(not finding.repaired for finding in found):
        raise typer.Exit(Status.FAILED)


def _audit(parts: "Parts", *, deep: bool, repair: bool) -> "Audit":
    from penstock.audit.audit import Audit

    return Audit(
        parts.catalog,
        sources=parts.sources,
        outputs=parts.outputs,
        staging=parts.staging,
        deep=deep,
        repair=repair,
    )


def require_records(settings: "Settings") -> None:
    """Opening a SQLite file makes it: a wrong folder must not look like an empty instance."""
    from pathlib import Path

    scheme, _, path = settings.database.partition(":///")
    if scheme == "sqlite" and not Path(path).exists():
        fail(
            f"There are no records at {path}; name the folder in PENSTOCK_DATA, or the database in PENSTOCK_DATABASE_URL.",
            code="records_missing",
            status=Status.CONFIGURATION,
        )


def _document(finding: "Finding") -> dict[str, Any]:
    return {**asdict(finding), "remedy": finding.remedy}


def _show(finding: "Finding") -> None:
    mark = "[green]removed[/]" if finding.repaired else "[bold red]fault[/]  "
    out.print(f"{mark} {finding.code}  ", end="")
    out.print(finding.where, markup=False)
    out.print(f"        {finding.what}", markup=False)
    if not finding.repaired:
        out.print(f"        {finding.remedy}", markup=False)


def _sum_up(tally: dict[str, int], found: "list[Finding]", *, deep: bool) -> None:
    counts = ", ".join(_counted(tally))
    read = f", {size(tally['bytes_read'])} read" if deep else ", sizes compared"
    remaining = sum(not finding.repaired for finding in found)
    removed = len(found) - remaining
    verdict = "no fault" if not remaining else f"{remaining} fault{'s' * (remaining > 1)}"
    swept = f", {removed} removed" if removed else ""
    out.print(f"looked at {counts}{read}: {verdict}{swept}")


def _counted(tally: dict[str, int]) -> Iterator[str]:
    for name in ("videos", "generations", "tasks", "events", "objects"):
        count = tally[name]
        yield f"{count} {name if count != 1 else name[:-1]}"
