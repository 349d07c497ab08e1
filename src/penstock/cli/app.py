"""The commands, put together. Each group has its file; each file imports what is heavy only when a command runs."""

import io
import sys
from typing import Annotated

import typer

from penstock.cli import (
    accounts,
    cluster,
    configuration,
    doctor,
    fsck,
    importing,
    members,
    openapi,
    plan,
    serve,
    signing,
    tasks,
    upload,
    verify,
    videos,
)
from penstock.cli.terminal import Status, err

EPILOG = "Begin with: penstock up, and in another terminal: penstock upload FILE --wait"

app = typer.Typer(
    name="penstock",
    help="Self-hosted video: hand it a raw file, play it adaptively a moment later.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for group in (
    serve,
    upload,
    importing,
    videos,
    plan,
    verify,
    fsck,
    tasks,
    doctor,
    accounts,
    cluster,
    members,
    signing,
    configuration,
    openapi,
):  # as help lists them
    app.add_typer(group.commands)


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"penstock {version('penstock')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Self-hosted video: hand it a raw file, play it adaptively a moment later."""


def run() -> None:
    """The command that was typed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # names of files and titles may hold what this terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(Status.INTERRUPTED)
