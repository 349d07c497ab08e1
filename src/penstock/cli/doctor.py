"""``doctor``: looks at everything that this machine must bring, and says what to do about what is wrong."""

import errno
import logging
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from penstock.cli.serve import Data
from penstock.cli.terminal import Status, examples, out, print_json, reporting, size
from penstock.video.errors import ConfigurationError, PenstockError

if TYPE_CHECKING:
    from penstock.settings import Settings
    from penstock.storage.s3_access import StoreConfig

commands = typer.Typer()

_REMEDIES = {  # room: whose settings open the store
    "storage_denied": "Check PENSTOCK_{room}_ACCESS_KEY_ID and its secret (or AWS_*), the region, this machine's clock, and that "
    "the key may list, read, write and delete in the bucket.",
    "bucket_missing": "Make the bucket, or correct its name; a store that is not Amazon's needs PENSTOCK_{room}_ENDPOINT too.",
    "storage_full": "Free some room, or raise the quota.",
    "storage_unsuitable": "Use a store that answers ranged requests.",
    "storage_unavailable": "Check that the address answers from this machine (PENSTOCK_{room}_ENDPOINT, network, TLS), the "
    "folder's permissions, and the room that is left.",
}
_LEAST_SQLITE = (3, 35, 0)  # RETURNING


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    NOTE = "note"  # works, and could be better
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; ``remedy`` is empty where nothing needs to be done."""

    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""


@commands.command(
    rich_help_panel="Running it",
    epilog=examples("penstock doctor", "penstock doctor --storage s3://my-bucket/videos"),
)
@reporting
def doctor(
    data: Data = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Try this store out instead (s3://bucket/prefix or file:///folder): write, read, list and delete objects of its own."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check tools, codecs, isolation, port, disk, database and stores; exit 1 where something must be done."""
    findings: list[Finding] = []
    with _quiet():
        for finding in _try_out(data, storage) if storage else examine(data):
            findings.append(finding)
            if not as_json:
                _show(finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.verdict is Verdict.FAULT for finding in findings):
        raise typer.Exit(Status.FAILED)


@contextmanager
def _quiet() -> Iterator[None]:
    """What stores and databases log of their faults is what the findings say, and has no place between them."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def examine(data: Path | None) -> Iterator[Finding]:
    """Every check in turn; one that fails does not keep the others from being made."""
    from penstock.settings import Settings

    yield _python()
    try:
        settings = Settings.load(data=data)
    except PenstockError as error:
        yield Finding("settings", Verdict.FAULT, error.detail, "Correct the variable that it names.")
        return
    yield Finding("settings", Verdict.OK, f"node {settings.node}, data in {settings.folder}")
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (_folder, _database, _stores, _tools, _port)
    for check in checks:
        yield from check(settings)


def _python() -> Finding:
    versions = f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        return Finding(
            "python", Verdict.FAULT, versions, "Use a Python that is built with SQLite 3.35 or later."
        )
    return Finding("python", Verdict.OK, versions)


def _folder(settings: "Settings") -> Iterator[Finding]:
    from penstock.catalog import filesystem

    existing = next(path for path in (settings.folder, *settings.folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    needed = settings.processing.disk_reserve
    if free < needed:
        yield Finding(
            "disk", Verdict.FAULT, f"{size(free)} free; below {size(needed)} no task is started",
            "Make room, or keep the data elsewhere (PENSTOCK_DATA).",
        )  # fmt: skip
    else:
        yield Finding("disk", Verdict.OK, f"{size(free)} free at {existing}")
    try:
        filesystem.refuse_network(existing)
    except PenstockError as error:
        yield Finding("file system", Verdict.FAULT, error.detail, "Keep the data on a disk of this machine.")
    try:
        _try_writing(existing)
    except OSError as error:
        yield Finding(
            "data folder", Verdict.FAULT, f"{existing} cannot be written: {error.strerror}",
            "Give this user the folder, or name another one (PENSTOCK_DATA).",
        )  # fmt: skip


def _try_writing(folder: Path) -> None:
    probe = folder / ".penstock-doctor"
    probe.write_bytes(b"")
    probe.unlink()


def _database(settings: "Settings") -> Iterator[Finding]:
    from penstock.catalog import Catalog

    shown = settings.database.partition("@")[2] or settings.database
    if settings.database_url is None and not (settings.folder / "penstock.db").exists():
        yield Finding("database", Verdict.OK, "none yet; the first start makes it")
        return
    try:
        catalog = Catalog.open(settings.catalog)
        try:
            catalog.ping()
            catalog.check_version()
        finally:
            catalog.close()
    except ConfigurationError as error:
        yield Finding(
            "database", Verdict.FAULT, error.detail, "Use the Penstock that wrote it, or other data."
        )
    except PenstockError as error:
        yield Finding(
            "database", Verdict.FAULT, error.detail, "Check PENSTOCK_DATABASE_URL and that the server runs."
        )
    else:
        yield Finding("database", Verdict.OK, f"answers: {shown}")


def _stores(settings: "Settings") -> Iterator[Finding]:
    for name, store in (("sources", settings.sources), ("outputs", settings.outputs)):
        subject = f"store of {name}"
        if store.url == (settings.folder / name).as_uri() and not (settings.folder / name).exists():
            yield Finding(subject, Verdict.OK, "none yet; the first start makes it")
            continue
        steps = _exercise(name.upper(), store)
        failed = next((found for found in steps if found.verdict is Verdict.FAULT), None)
        if failed is None:
            yield Finding(subject, Verdict.OK, "written, read, listed and deleted")
        else:
            yield replace(failed, subject=subject)


def _try_out(data: Path | None, url: str) -> Iterator[Finding]:
    from penstock.settings import Settings

    try:
        room, config = Settings.load(data=data).store(url)
    except PenstockError as error:
        yield Finding("settings", Verdict.FAULT, error.detail, "Correct the variable that it names.")
        return
    yield from _exercise(room, config)


def _exercise(room: str, config: "StoreConfig") -> Iterator[Finding]:
    from penstock.storage.exercise import exercise
    from penstock.storage.open import open_store
    from penstock.storage.s3_access import Pace

    try:
        store = open_store(config, Pace.WORK)
    except PenstockError as error:
        yield Finding("storage", Verdict.FAULT, error.detail, "Correct the URL.")
        return
    for step in exercise(store):
        subject = f"storage: {step.name}"
        if step.error is None:
            yield Finding(subject, Verdict.OK, f"{step.seconds * 1000:.0f} ms")
        else:
            remedy = _REMEDIES.get(step.error.code, _REMEDIES["storage_unavailable"]).format(room=room)
            yield Finding(subject, Verdict.FAULT, f"{step.error.code}: {step.error.detail}", remedy)


def _tools(settings: "Settings") -> Iterator[Finding]:
    from penstock.ffmpeg import trial
    from penstock.ffmpeg.config import Isolation
    from penstock.ffmpeg.discovery import discover

    try:
        tools = discover(settings.ffmpeg)
        trial.attempt(tools)
    except PenstockError as error:
        yield Finding(
            "media tools", Verdict.FAULT, error.detail, "Install what is missing, or unset PENSTOCK_FFMPEG_*."
        )
        return
    yield Finding(
        "media tools",
        Verdict.OK,
        f"FFmpeg {tools.version} at {tools.ffmpeg}; every codec, filter and option is there; a trial encode worked",
    )
    match tools.isolation:
        case Isolation.BUBBLEWRAP:
            yield Finding(
                "isolation", Verdict.OK, "bubblewrap: a media process sees its source and its outputs only"
            )
        case Isolation.NAMESPACE:
            remedy = "Install bubblewrap: then a media process sees no other files either."
            yield Finding("isolation", Verdict.NOTE, "media processes have no network", remedy)
        case _:
            remedy = "Install bubblewrap, or permit unprivileged user namespaces; process only trusted sources until then."
            yield Finding(
                "isolation",
                Verdict.NOTE,
                "media processes have limits, and this user's files and network",
                remedy,
            )


def _port(settings: "Settings") -> Iterator[Finding]:
    if settings.port == 0:
        return
    try:
        with socket.create_server((settings.bind, settings.port)):
            yield Finding("port", Verdict.OK, f"{settings.port} on {settings.bind} is free")
    except OSError as error:
        where = f"{settings.port} on {settings.bind}"
        if error.errno == errno.EADDRINUSE and _is_penstock(settings):
            yield Finding("port", Verdict.OK, f"{where}: Penstock is running there")
        elif error.errno == errno.EADDRINUSE:
            remedy = "Choose another with PENSTOCK_PORT, or stop what uses it (see 'ss -ltnp')."
            yield Finding("port", Verdict.FAULT, f"{where} is in use by something else", remedy)
        else:
            remedy = (
                "Choose an address of this machine (PENSTOCK_BIND) and a port above 1023 (PENSTOCK_PORT)."
            )
            yield Finding("port", Verdict.FAULT, f"{where}: {error.strerror}", remedy)


def _is_penstock(settings: "Settings") -> bool:
    import httpx

    try:
        answer = httpx.get(f"{settings.address(settings.port)}/status", timeout=5)
        return "service" in answer.json()
    except (httpx.HTTPError, ValueError):
        return False


def _show(finding: Finding) -> None:
    style = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.FAULT: "bold red"}[finding.verdict]
    out.print(f"[{style}]{finding.verdict:<6}[/] {finding.subject:<18} ", end="")
    out.print(finding.detail, markup=False)
    if finding.remedy:
        out.print(f"       {'':<18} -> {finding.remedy}", markup=False)
