"""Settings: every one there is, what it means, and what follows from it.

``Settings`` has what concerns the whole program, and fills each room's own frozen configuration. Every field of a room
can be set too, under the room's name: ``PENSTOCK_PROCESSING_ENCODE_SLOTS`` is ``ProcessingConfig.encode_slots``, and
its meaning stands there. What contradicts itself, and what is no setting at all, is refused at start with the remedy.
"""

import socket
from collections.abc import Mapping
from dataclasses import Field as DataclassField
from dataclasses import fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock import bounds, environment
from penstock.access.config import AccessConfig
from penstock.catalog.config import CatalogConfig
from penstock.environment import PREFIX
from penstock.ffmpeg.config import FfmpegConfig
from penstock.http_server.config import ServerConfig
from penstock.library.config import LibraryConfig
from penstock.membership.config import MembershipConfig, ProtocolConfig
from penstock.processing.config import ProcessingConfig
from penstock.storage.s3_access import StoreConfig
from penstock.streaming.config import StreamingConfig
from penstock.telemetry import TelemetryConfig
from penstock.upload.config import PART_ENTRY_BYTES, UploadConfig
from penstock.video import plan
from penstock.video.errors import ConfigurationError
from penstock.web_api.config import WebConfig

C = TypeVar("C")

# Environment name of a room: its configuration, and the fields that follow from the settings of the whole program.
ROOMS: Mapping[str, tuple[type[Any], frozenset[str]]] = {
    "ACCESS": (AccessConfig, frozenset({"keyring_path"})),
    "CATALOG": (CatalogConfig, frozenset({"url"})),
    "FFMPEG": (FfmpegConfig, frozenset()),
    "LIBRARY": (LibraryConfig, frozenset({"public_url"})),
    "MEMBERSHIP": (MembershipConfig, frozenset({"folder", "name", "cluster", "protocol"})),
    "MEMBERSHIP_PROTOCOL": (ProtocolConfig, frozenset()),
    "OUTPUTS": (StoreConfig, frozenset({"url"})),
    "PLAN": (plan.Settings, frozenset({"fingerprint"})),
    "PROCESSING": (ProcessingConfig, frozenset({"node", "run_folder", "scratch_folder", "planning"})),
    "SERVER": (ServerConfig, frozenset()),
    "SOURCES": (StoreConfig, frozenset({"url"})),
    "STREAMING": (StreamingConfig, frozenset({"node", "cache_folder"})),
    "UPLOAD": (UploadConfig, frozenset({"public_url"})),
    "WEB": (WebConfig, frozenset({"service", "version", "node"})),
}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_WILDCARD = frozenset({"0.0.0.0", "::"})  # noqa: S104  (recognised, not bound)


class ClientSettings(BaseSettings):
    """How the command line finds the server that it talks to."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    url: str | None = None
    """Address of the server: ``http://host:port``. None: the one that runs on ``data``, else the default port here."""

    api_key: str | None = None
    """Key to present. None: the administrator's, from the file that the first start wrote into ``data``."""

    state: Path | None = None
    """Folder in which the command line notes uploads, so that the same command goes on with one that was interrupted. None:
    ``penstock`` in ``XDG_STATE_HOME``, which is ``~/.local/state`` unless set."""

    @property
    def memory(self) -> Path:
        """The file of those notes."""
        home = environment.value("XDG_STATE_HOME") or ""
        states = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
        return (self.state or states / "penstock") / "uploads.db"


class Settings(BaseSettings):
    """What concerns the whole program. Every name is read from the environment as ``PENSTOCK_`` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    data: Path = Path("data")
    """Folder of everything that this machine keeps: records, objects, keys, locks. On a local file system with room for
    the sources and about as much again for what becomes of them. Relative to where the program is started."""

    bind: str = "127.0.0.1"
    """Address to listen on. The default answers this machine alone; ``0.0.0.0`` answers the network, where a proxy with
    TLS should stand in front, since API keys travel with requests."""

    port: int = 8800
    """TCP port to listen on; 0 lets the system choose one."""

    public_url: str | None = None
    """Address that clients and players see, ``https://video.example.org``: playback and upload addresses begin with it.
    None: wherever a request came to, which is right unless a proxy in front changes name or scheme."""

    node: str = Field(default_factory=lambda: socket.gethostname().partition(".")[0].lower() or "localhost")
    """Name of this machine in claims, logs, metrics and ``/status``; its host name unless given. Each machine of a
    cluster has its own."""

    database_url: str | None = None
    """``postgresql://USER:PASSWORD@HOST/NAME`` for many machines. None: a SQLite file in ``data``, for one."""

    storage: str | None = None
    """Where all objects are kept, ``s3://bucket/prefix`` or ``file:///absolute/folder``: the originals below ``sources``, what
    is played below ``outputs``. None: in ``data``."""

    sources_url: str | None = None
    """Store of the uploaded originals. None: ``sources`` in ``storage`` or ``data``. Apart from the outputs, so that what
    faces the public can be denied the originals."""

    outputs_url: str | None = None
    """Store of everything that is played. None: ``outputs`` in ``storage`` or ``data``."""

    keyring: Path | None = None
    """File of signing keys. None: ``keyring.json`` in ``data``, made at the first start. Machines that sign and verify
    playback addresses need the same file."""

    cluster: str | None = None
    """Name of the cluster that this machine is a node of. None: it stands alone. With a name, ``penstock up`` runs the
    membership service as well, every service here is registered with it, and ``PENSTOCK_MEMBERSHIP_SEEDS`` tells whom to
    ask. Nodes of different names do not understand each other, even with the same key."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged. ``debug`` adds health checks and the steps of dispatch."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """``json``: one object per line. ``console``: readable. ``auto``: readable on a terminal, else JSON."""

    log_file: Path | None = None
    """File that log lines are appended to. None: standard error."""

    otlp_endpoint: str | None = None
    """Base address of an OpenTelemetry collector that speaks OTLP over HTTP, ``http://localhost:4318``. None: no traces."""

    trace_ratio: float = 1.0
    """Share of new traces that are recorded, 0 to 1. A request that arrives with a decision keeps it."""

    settings_file: Path | None = None
    """File of further settings, one ``NAME=value`` a line, as containers and systemd read them. What the environment sets
    comes before it. It may hold secrets: keep it readable by this user alone. None: no file."""

    faults: Path | None = None
    """For the project's own tests: a folder of orders to end or hold processes at named points. Refused outside a test
    run. None: no faults."""

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """The settings of the environment and of the file it may name, with ``overrides`` that are not None before them.

        Raises :class:`ConfigurationError` that names each variable at fault, and the remedy.
        """
        environment.complete_from_file(f"{PREFIX}SETTINGS_FILE")
        environment.refuse_unknown(_names())
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            settings = cls(**given)
        except ValidationError as error:
            raise environment.refusal(error, PREFIX) from None
        settings._check()
        settings.rooms()
        return settings

    def environment(self, **overrides: Any) -> dict[str, str]:
        """The environment for a process that shall load these settings: this one's, with ``overrides`` written into it."""
        return environment.extended(overrides)

    # -- what follows from them

    @cached_property
    def version(self) -> str:
        """Of this program."""
        return version("penstock")

    @cached_property
    def folder(self) -> Path:
        """The data folder, absolute."""
        return self.data.expanduser().absolute()

    @property
    def run_folder(self) -> Path:
        """Locks and doorbells of the processes of this machine."""
        return self.folder / "run"

    @property
    def admin_key_file(self) -> Path:
        """Where the first start leaves the administrator's API key, mode 0600."""
        return self.folder / "admin.key"

    @property
    def database(self) -> str:
        """URL of the records."""
        return self.database_url or f"sqlite:///{self.folder / 'penstock.db'}"

    @cached_property
    def sources(self) -> StoreConfig:
        """The store of originals."""
        return _store("SOURCES", self.sources_url or self._stored("sources"))

    @cached_property
    def outputs(self) -> StoreConfig:
        """The store of outputs."""
        return _store("OUTPUTS", self.outputs_url or self._stored("outputs"))

    def store(self, url: str) -> tuple[str, StoreConfig]:
        """Any store, and the room whose settings open it: that which keeps its own in the same place, else ``SOURCES``."""
        near = _place(self.outputs.url) == _place(url) != _place(self.sources.url)
        inside = url.rstrip("/").startswith(self.outputs.url.rstrip("/"))
        room, like = ("OUTPUTS", self.outputs) if near or inside else ("SOURCES", self.sources)
        return room, replace(like, url=url) if like.url.startswith("s3:") else _store(room, url)

    def _stored(self, name: str) -> str:
        return f"{self.storage.rstrip('/')}/{name}" if self.storage else _folder_url(self.folder / name)

    def address(self, port: int) -> str:
        """``http://`` URL at which a browser on this machine reaches ``port``."""
        host = "localhost" if self.bind in _WILDCARD else self.bind
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the port."""
        return self.bind not in _LOOPBACK

    # -- the rooms' own configurations

    def rooms(self) -> Mapping[str, Any]:
        """Every room's configuration by its name in the environment. Raises as :meth:`load`."""
        return {
            "ACCESS": self.access,
            "CATALOG": self.catalog,
            "FFMPEG": self.ffmpeg,
            "LIBRARY": self.library,
            "MEMBERSHIP": self.membership,
            "MEMBERSHIP_PROTOCOL": self.membership.protocol,
            "OUTPUTS": self.outputs,
            "PLAN": self.planning,
            "PROCESSING": self.processing,
            "SERVER": self.server,
            "SOURCES": self.sources,
            "STREAMING": self.streaming,
            "UPLOAD": self.upload,
            "WEB": self.web("web"),
        }

    def telemetry(self, service: str, *, terminal: bool) -> TelemetryConfig:
        """For one process. ``terminal``: whether its standard error is looked at by a person."""
        automatic = "console" if terminal and self.log_file is None else "json"
        return TelemetryConfig(
            service=service,
            node=self.node,
            version=self.version,
            level=self.log_level,
            format=automatic if self.log_format == "auto" else self.log_format,
            file=self.log_file,
            otlp_endpoint=self.otlp_endpoint,
            trace_ratio=self.trace_ratio,
        )

    @cached_property
    def access(self) -> AccessConfig:
        """Keys and tokens."""
        return _room("ACCESS", AccessConfig, keyring_path=self.keyring or self.folder / "keyring.json")

    @cached_property
    def catalog(self) -> CatalogConfig:
        """Records."""
        return _room("CATALOG", CatalogConfig, url=self.database)

    @cached_property
    def ffmpeg(self) -> FfmpegConfig:
        """Media tools and limits."""
        return _room("FFMPEG", FfmpegConfig)

    @cached_property
    def planning(self) -> plan.Settings:
        """What becomes of every video."""
        return _room("PLAN", plan.Settings)

    @cached_property
    def processing(self) -> ProcessingConfig:
        """The background service."""
        config = _room(
            "PROCESSING",
            ProcessingConfig,
            node=self.node,
            run_folder=self.run_folder,
            scratch_folder=self.folder / "scratch",
            planning=self.planning,
        )
        if config.port is not None:
            return config
        return replace(config, port=self.port + 1 if 0 < self.port < 65535 else 0)

    @cached_property
    def upload(self) -> UploadConfig:
        """The upload service. Without a public address, the URLs it gives are relative to the one that was called."""
        return _room("UPLOAD", UploadConfig, public_url=(self.public_url or "").rstrip("/"))

    @cached_property
    def streaming(self) -> StreamingConfig:
        """The streaming service."""
        return _room("STREAMING", StreamingConfig, node=self.node, cache_folder=self.folder / "cache")

    @cached_property
    def library(self) -> LibraryConfig:
        """The library."""
        return _room("LIBRARY", LibraryConfig, public_url=self.public_url)

    @cached_property
    def membership(self) -> MembershipConfig:
        """This machine as a member of a cluster."""
        return _room(
            "MEMBERSHIP",
            MembershipConfig,
            folder=self.folder / "membership",
            name=self.node,
            cluster=self.cluster or "penstock",  # of a membership service that runs on its own
            protocol=_room("MEMBERSHIP_PROTOCOL", ProtocolConfig),
        )

    @cached_property
    def server(self) -> ServerConfig:
        """Connections to the HTTP services."""
        return _room("SERVER", ServerConfig)

    def web(self, service: str) -> WebConfig:
        """What all HTTP services share, for the one of this name."""
        return _room("WEB", WebConfig, service=service, version=self.version, node=self.node)

    def _check(self) -> None:
        bounds.check({"PORT": self.port, "TRACE_RATIO": self.trace_ratio}, prefix=PREFIX)
        local_store = next(
            (store for store in (self.sources, self.outputs) if store.url.startswith("file:")), None
        )
        if local_store is not None and _is_remote_database(self.database):
            raise ConfigurationError(
                "A database on another machine is shared, a folder is not: other machines would look for objects that only "
                f"this one has. Keep the objects in a bucket ({PREFIX}STORAGE=s3://bucket), or the records on this machine: "
                f"leave {PREFIX}DATABASE_URL unset, or name a PostgreSQL at localhost."
            )
        needed, limit = self.upload.most_parts * PART_ENTRY_BYTES, self.web("upload").json_body_limit
        if needed > limit:
            raise ConfigurationError(
                f"A completed upload may list {self.upload.most_parts} parts, which takes {needed} bytes, and "
                f"{PREFIX}WEB_JSON_BODY_LIMIT is {limit}. Raise it, or lower {PREFIX}UPLOAD_MOST_PARTS."
            )
        if self.cluster is not None and self.membership.bind in _LOOPBACK and self._has_distant_seeds():
            raise ConfigurationError(
                f"{PREFIX}MEMBERSHIP_SEEDS names other machines, and {PREFIX}MEMBERSHIP_BIND is {self.membership.bind}, which "
                "this machine alone can reach. Bind an address of this machine that the others reach, or 0.0.0.0."
            )
        if self.sources.url.rstrip("/") == self.outputs.url.rstrip("/"):
            raise ConfigurationError(
                f"{PREFIX}SOURCES_URL and {PREFIX}OUTPUTS_URL name the same store; what serves the outputs would reach the "
                "originals. Give each its own folder or bucket."
            )
        if self.public_url is not None and urlsplit(self.public_url).scheme not in {"http", "https"}:
            raise ConfigurationError(f"{PREFIX}PUBLIC_URL must begin with http:// or https://.")

    def _has_distant_seeds(self) -> bool:
        from penstock.membership import seeds
        from penstock.membership.errors import InvalidInput

        try:
            hosts = [seeds.parse(text).host for text in seeds.split(self.membership.seeds)]
        except InvalidInput as error:
            raise ConfigurationError(f"{PREFIX}MEMBERSHIP_SEEDS: {error.detail}") from None
        return any(host not in _LOOPBACK and not host.startswith("127.") for host in hosts)


def settable(room: str) -> dict[str, DataclassField[Any]]:
    """The fields of a room's configuration that the environment may set, by variable name."""
    config, derived = ROOMS[room]
    return {
        f"{PREFIX}{room}_{field.name.upper()}": field for field in fields(config) if field.name not in derived
    }


def _room(room: str, config: type[C], **derived: Any) -> C:
    """A room's configuration: ``derived`` fields as given, the others from the environment, else their own defaults."""
    return environment.configuration(
        room, config, (field.name for field in settable(room).values()), **derived
    )


def _store(room: str, url: str) -> StoreConfig:
    """A store's configuration; for a bucket, what is not set is taken from the names that all tools of S3 know."""
    config = _room(room, StoreConfig, url=url)
    if not url.startswith("s3:"):
        return config
    known = environment.value
    config = replace(
        config,
        endpoint=config.endpoint or known("AWS_ENDPOINT_URL_S3") or known("AWS_ENDPOINT_URL"),
        region=config.region or known("AWS_REGION") or known("AWS_DEFAULT_REGION"),
    )
    if config.access_key_id is not None:
        if config.secret_access_key is None:
            raise ConfigurationError(f"{PREFIX}{room}_ACCESS_KEY_ID needs {PREFIX}{room}_SECRET_ACCESS_KEY.")
        return config
    return replace(
        config,
        access_key_id=known("AWS_ACCESS_KEY_ID"),
        secret_access_key=known("AWS_SECRET_ACCESS_KEY"),
        session_token=known("AWS_SESSION_TOKEN"),
    )


def _place(url: str) -> tuple[str, str]:
    """The bucket, or that it is a folder."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _names() -> frozenset[str]:
    whole = {f"{PREFIX}{name.upper()}" for model in (Settings, ClientSettings) for name in model.model_fields}
    return frozenset(whole.union(*map(settable, ROOMS)))


def _is_remote_database(url: str) -> bool:
    parts = urlsplit(url)
    return not parts.scheme.startswith("sqlite") and (parts.hostname or "localhost") not in _LOOPBACK


def _folder_url(path: Path) -> str:
    return f"file://{quote(str(path))}"
