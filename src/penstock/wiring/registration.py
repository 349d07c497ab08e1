"""One service of this machine in the cluster's eyes: what its own ``/status`` says, told to the node's member agent.

Where no cluster is configured nothing is told. The agent may be away, come back, or know nothing any more: the service
tells it again every few seconds, which bounds the rate of change as well, and works on whatever becomes of it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from penstock.membership.client import MembershipClient
    from penstock.membership.config import MembershipConfig
    from penstock.settings import Settings

INTERVAL = 5.0  # seconds between two words: each that differs is news for every node of the cluster
FIRST_INTERVAL = 1.0  # until the agent, which starts beside, has answered once
TIME_TO_LIVE = 15.0  # seconds until a service that was killed is gone: it may miss two words
PATIENCE = 3.0  # seconds for an answer, of the agent and of the service itself

_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (recognised, not bound)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Served:
    """What runs here: ``name`` is unique on the machine; ``host`` and ``port`` are where it listens."""

    name: str
    roles: Sequence[str]
    host: str
    port: int


@contextmanager
def registering(settings: "Settings") -> Iterator[Callable[[Served], None]]:
    """Gives what a service calls once it serves; at the end it is taken back."""
    if settings.cluster is None:
        yield lambda _served: None
        return
    started: list[Registration] = []

    def begin(served: Served) -> None:
        started.append(Registration(settings.membership, served, settings.version))
        started[-1].start()

    try:
        yield begin
    finally:
        for registration in started:
            registration.end()


class Registration:
    """Keeps one service registered, from a thread of its own, between :meth:`start` and :meth:`end`."""

    def __init__(self, config: "MembershipConfig", served: Served, version: str) -> None:
        self._config = config
        self._served = served
        self._version = version
        self._ending = threading.Event()
        self._registered: bool | None = None  # None: not yet known
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def end(self) -> None:
        """Takes the registration back; where the agent is away there is nothing to take back."""
        from penstock.membership.control_address import connect
        from penstock.membership.errors import MembershipError

        self._ending.set()
        self._thread.join(2 * PATIENCE)
        with suppress(MembershipError), connect(self._config, patience=PATIENCE) as client:
            client.unregister(self._served.name)

    def _run(self) -> None:
        from penstock.membership.control_address import connect
        from penstock.membership.errors import MembershipError

        while not self._ending.is_set():
            try:
                # Anew after each failure: the agent may have come back at another port.
                with connect(self._config, patience=PATIENCE) as client:
                    self._keep(client)
            except MembershipError as error:
                if self._registered:
                    log.warning("registration_lost", registered_as=self._served.name, detail=error.detail)
                    self._registered = False
            self._ending.wait(FIRST_INTERVAL if self._registered is None else INTERVAL)

    def _keep(self, client: "MembershipClient") -> None:
        """Tells the agent again and again, until the service ends. Raises what the client raises."""
        while not self._ending.is_set():
            node = client.status().node
            said = describe(self._served, ask(self._served), version=self._version, node_host=node.host)
            client.register(self._served.name, said, ttl=TIME_TO_LIVE)
            if not self._registered:
                log.info("registered", registered_as=self._served.name, member=node.id, url=said["url"])
                self._registered = True
            self._ending.wait(INTERVAL)


def ask(served: Served) -> Mapping[str, Any] | None:
    """The service's own ``/status``, asked as any other program would; None where it does not answer."""
    import httpx

    url = f"{_url(_WILDCARD.get(served.host, served.host), served.port)}/status"
    try:
        answer = httpx.get(url, timeout=PATIENCE, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def describe(
    served: Served, status: Mapping[str, Any] | None, *, version: str, node_host: str
) -> dict[str, Any]:
    """What the cluster is told: short, since every node holds it. ``node_host`` stands for "any address of this machine"."""
    host = node_host if served.host in _WILDCARD else served.host
    said: dict[str, Any] = {
        "roles": list(served.roles),
        "url": _url(host, served.port),
        "version": version,
        "health": "ok" if status is not None and status.get("status") == "ok" else "down",
    }
    lanes = ((status or {}).get("processing") or {}).get("slots")
    if lanes:
        total = sum(lane["places"] for lane in lanes.values())
        said["load"] = [total - sum(lane["free"] for lane in lanes.values()), total]
    return said


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
