"""``up`` and ``serve``: starting the whole platform, or one service of it, on this machine."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.terminal import err, examples, out, report, reporting

if TYPE_CHECKING:
    from penstock.settings import Settings

commands = typer.Typer()

Data = Annotated[
    Path | None, typer.Option(help="Folder of everything that is kept (PENSTOCK_DATA; default ./data).")
]
Bind = Annotated[
    str | None,
    typer.Option(help="Address to listen on (PENSTOCK_BIND; default 127.0.0.1, this machine alone)."),
]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on (PENSTOCK_PORT; default 8800; 0: any free one).")
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Where objects are kept (PENSTOCK_STORAGE; default the data folder): s3://bucket/prefix or file:///folder."
    ),
]

serve = typer.Typer(
    help="Start one service alone, as on a machine of many. Paths and settings are those of 'penstock up'.",
    no_args_is_help=True,
)
commands.add_typer(serve, name="serve", rich_help_panel="Running it")


@commands.command(
    rich_help_panel="Running it",
    epilog=examples(
        "penstock up",
        "penstock up --data /srv/penstock --bind 0.0.0.0 --port 9000",
        "penstock up --storage s3://my-bucket/videos",
    ),
)
@reporting
def up(data: Data = None, bind: Bind = None, port: Port = None, storage: Storage = None) -> None:
    """Start everything on this machine: one port, one folder, nothing to install beside it.

    Prints the address and where the administrator's API key lies. Ctrl-C ends it; uploads in flight get some seconds.
    """
    from penstock.settings import Settings
    from penstock.wiring import platform

    settings = Settings.load(data=data, bind=bind, port=port, storage=storage)
    given = {"data": settings.folder, "bind": bind, "port": port, "storage": storage}
    status = platform.run(settings, settings.environment(**given), announce=_announce)
    if status:
        report(
            "process_failed", "One of the processes could not start; what it said stands above or in the log."
        )
    raise typer.Exit(status)


@serve.command()
@reporting
def web(data: Data = None, bind: Bind = None, port: Port = None) -> None:
    """All HTTP services on one port: upload, library and streaming."""
    _serve("web", data, bind, port)


@serve.command()
@reporting
def upload(data: Data = None, bind: Bind = None, port: Port = None) -> None:
    """The upload service: /api/uploads and /api/status."""
    _serve("upload", data, bind, port)


@serve.command()
@reporting
def library(data: Data = None, bind: Bind = None, port: Port = None) -> None:
    """The library: /api/videos, /api/me and the watch pages."""
    _serve("library", data, bind, port)


@serve.command()
@reporting
def streaming(data: Data = None, bind: Bind = None, port: Port = None) -> None:
    """The streaming service: /stream. It needs the output store and the signing keys, and no database."""
    _serve("streaming", data, bind, port)


@serve.command()
@reporting
def processing(data: Data = None) -> None:
    """The processing service: works on uploaded videos; PENSTOCK_PROCESSING_PORT has its health and metrics."""
    _serve("processing", data, None, None)


@serve.command(
    epilog=examples(
        "penstock serve member --bind 10.0.0.5",
        "penstock serve member --bind 10.0.0.6 --seed 10.0.0.5 --seed 10.0.0.7",
    )
)
@reporting
def member(
    data: Data = None,
    bind: Annotated[
        str | None,
        typer.Option(
            help="Address to receive on, UDP and TCP (PENSTOCK_MEMBERSHIP_BIND; default 127.0.0.1)."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port for both (PENSTOCK_MEMBERSHIP_PORT; default 7946).")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Display name (PENSTOCK_NODE; default the host's).")
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT of a node to ask; repeatable (PENSTOCK_MEMBERSHIP_SEEDS)."),
    ] = None,
    seeds_file: Annotated[
        Path | None, typer.Option(help="File with one more seed per line (PENSTOCK_MEMBERSHIP_SEEDS_FILE).")
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option(help="HOST:PORT that the others should use (PENSTOCK_MEMBERSHIP_ADVERTISE)."),
    ] = None,
    control_port: Annotated[
        int | None,
        typer.Option(help="Port of the control interface on 127.0.0.1, instead of a Unix socket."),
    ] = None,
) -> None:
    """The membership service of this machine: knows who else is there, and who is alive."""
    from penstock.settings import Settings
    from penstock.wiring import processes

    settings = Settings.load(data=data, node=name)
    config = settings.membership
    config = replace(
        config,
        bind=bind or config.bind,
        port=config.port if port is None else port,
        seeds=",".join(seed) if seed else config.seeds,
        seeds_file=seeds_file or config.seeds_file,
        advertise=advertise or config.advertise,
        control_port=config.control_port if control_port is None else control_port,
    )
    processes.run_member(settings, config)


def _serve(service: str, data: Path | None, bind: str | None, port: int | None) -> None:
    from penstock.settings import Settings
    from penstock.wiring import processes

    settings = Settings.load(data=data, bind=bind, port=port)
    processes.run(service, settings)


def _announce(settings: "Settings", url: str) -> None:
    out.print(f"Penstock is up at [bold]{url}[/]")
    out.print(f"  data            {settings.folder}")
    out.print(f"  administrator   the API key is in {settings.admin_key_file}")
    if settings.cluster is not None:
        out.print(f"  cluster         {settings.cluster}, as {settings.node}; penstock cluster shows it")
    out.print("  try             penstock upload FILE --wait")
    if settings.is_public:
        err.print("  note            other machines can reach this port; put a proxy with TLS in front of it")
