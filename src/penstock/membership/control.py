"""The control interface of one node, over HTTP, for programs on the same machine. It translates; the agent acts."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from penstock.membership import views
from penstock.membership.agent import Agent
from penstock.membership.errors import MembershipError, NotAuthorised
from penstock.membership.keyring import Key
from penstock.membership.precedence import State
from penstock.membership.registrations import Registrations
from penstock.membership.watching import Event

EXPIRY_SECONDS = 1.0  # between two looks for registrations whose time is over
KEEP_ALIVE_SECONDS = 15.0  # a comment in a quiet stream, so that both sides notice a connection that is gone
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": views.Problem, "description": "Refused; nothing was changed."},
}
TOKEN = HTTPBearer(
    scheme_name="token",
    description="The line of `control.token` in the node's folder. Asked for at a loopback port; the Unix socket, which is its owner's alone, asks for none.",
    auto_error=False,
)
ServiceName = Annotated[
    str,
    Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Chosen by who registers, unique on the node."),
]
FollowId = Annotated[str | None, Header(description="Id of the last event seen, to go on after it.")]


def application(agent: Agent, *, version: str, token: str | None = None) -> FastAPI:
    """The service. It starts the agent when it starts, and leaves the cluster when it ends.

    ``token``: what requests must present, where others on this machine can reach the port.
    """
    registrations = Registrations(agent.describe)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await agent.start()
        expiry = asyncio.create_task(_expire_regularly(agent, registrations))
        try:
            yield
        finally:
            expiry.cancel()
            await agent.leave()
            await agent.stop()

    app = FastAPI(
        title="Penstock membership",
        version=version,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
    )
    app.add_exception_handler(MembershipError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.include_router(_operations(agent, version))
    guard = [Depends(_guard(token))] if token is not None else []
    routers = (
        _members(agent),
        _commands(agent, registrations),
        _services(agent, registrations),
        _keys(agent),
        _events(agent),
    )
    for router in routers:
        app.include_router(router, prefix="/v1", dependencies=guard)
    return app


def _guard(token: str) -> Callable[..., Awaitable[None]]:
    async def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(TOKEN)]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise NotAuthorised("Present the token of control.token as 'Authorization: Bearer TOKEN'.")

    return check


def _operations(agent: Agent, version: str) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health")
    async def health() -> views.Health:
        """Answers while the process is alive."""
        return views.Health()

    @router.get("/status")
    async def status() -> views.Status:
        """Who this node is, how many members it sees, and how far it trusts itself."""
        counts = dict.fromkeys(State, 0)
        for record in agent.core.members:
            counts[record.state] += 1
        round_trip = agent.core.round_trip
        return views.Status(
            version=version,
            status="leaving" if agent.me.state is State.LEFT else "ok",
            cluster=agent.config.cluster,
            node=views.Member.of(agent.me, agent.clock, agent.id),
            members={
                "alive": counts[State.ALIVE],
                "suspect": counts[State.SUSPECT],
                "dead": counts[State.DEAD],
                "left": counts[State.LEFT],
            },
            health=agent.core.health,
            round_trip_ms=None if round_trip is None else round(round_trip * 1000, 3),
            news_queued=agent.core.queued,
        )

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(request: Request) -> Response:
        """Metrics in the Prometheus exposition format."""
        agent.observe()
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(REGISTRY), media_type=content_type)

    return router


def _members(agent: Agent) -> APIRouter:
    router = APIRouter(tags=["members"])

    @router.get("/members")
    async def members(
        state: Annotated[
            list[views.StateName] | None, Query(description="Only these; all where none is given.")
        ] = None,
    ) -> views.MemberList:
        """All members that this node knows, itself included."""
        shown = _all(agent)
        return views.MemberList(items=[member for member in shown if state is None or member.state in state])

    @router.get("/members/{member}")
    async def member(member: str) -> views.Member:
        """One member, by id or by a name that only one has."""
        return views.Member.of(agent.find(member), agent.clock, agent.id)

    @router.post("/members/{member}/force-leave")
    async def force_leave(member: str) -> views.Member:
        """Declare that a member which does not answer has left for good: it is not tried again."""
        agent.force_leave(member)
        return views.Member.of(agent.find(member), agent.clock, agent.id)

    return router


def _commands(agent: Agent, registrations: Registrations) -> APIRouter:
    router = APIRouter(tags=["commands"])

    @router.post("/join")
    async def join(asked: views.Join) -> views.Joined:
        """Meet the cluster of whoever is there; a node that left comes back. Answers when tables were compared."""
        return views.Joined(met=[node.hex() for node in await agent.join(asked.addresses)])

    @router.post("/leave")
    async def leave() -> views.Member:
        """Leave the cluster; the process goes on, and may join again. Answers when the others have been told."""
        await agent.leave()
        return views.Member.of(agent.me, agent.clock, agent.id)

    @router.put("/metadata")
    async def metadata(value: views.MetadataObject) -> views.Member:
        """State what all members shall see of this node: at most 4 KB of JSON, together with what is registered."""
        registrations.state(value)
        return views.Member.of(agent.me, agent.clock, agent.id)

    return router


def _services(agent: Agent, registrations: Registrations) -> APIRouter:
    router = APIRouter(prefix="/services", tags=["services"])

    @router.put("/{service}")
    async def register(service: ServiceName, asked: views.Registration) -> views.Member:
        """State what one program of this node says of itself, as `services` of the node's metadata.

        It is gone after `ttl` seconds, unless the program registers again; others' registrations stay as they are.
        """
        registrations.register(service, asked.metadata, until=agent.clock + asked.ttl)
        return views.Member.of(agent.me, agent.clock, agent.id)

    @router.delete("/{service}")
    async def unregister(service: ServiceName) -> views.Member:
        """Take it back: the program ends. Repeating it changes nothing."""
        registrations.unregister(service)
        return views.Member.of(agent.me, agent.clock, agent.id)

    return router


async def _expire_regularly(agent: Agent, registrations: Registrations) -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        registrations.expire(agent.clock)


def _keys(agent: Agent) -> APIRouter:
    router = APIRouter(prefix="/keys", tags=["keys"])

    def shown() -> views.KeyList:
        primary = agent.ring.primary
        return views.KeyList(
            items=[views.Key(fingerprint=key.fingerprint, primary=key == primary) for key in agent.ring.keys]
        )

    @router.get("")
    async def keys() -> views.KeyList:
        """The ring of this node, by fingerprints."""
        return shown()

    @router.post("")
    async def add(asked: views.NewKey) -> views.KeyList:
        """Open what is sealed with one more key. First step of rolling: on every node."""
        agent.ring.add(Key.parse(asked.key))
        return shown()

    @router.post("/{fingerprint}/use")
    async def use(fingerprint: str) -> views.KeyList:
        """Seal with this key from now on. Second step: once every node has it."""
        agent.ring.use(fingerprint)
        return shown()

    @router.delete("/{fingerprint}")
    async def remove(fingerprint: str) -> views.KeyList:
        """Open nothing sealed with this key any more. Last step: once every node seals with another."""
        agent.ring.remove(fingerprint)
        return shown()

    return router


def _events(agent: Agent) -> APIRouter:
    router = APIRouter(tags=["events"])

    @router.get("/events")
    async def events(
        limit: Annotated[int, Query(ge=1, le=1000, description="Most events to return.")] = 100,
    ) -> views.EventList:
        """Recent events with their reasons, oldest first."""
        return views.EventList(items=[_shown(agent, event) for event in agent.history.recent(limit)])

    @router.get(
        "/watch",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def watch(last_event_id: FollowId = None) -> StreamingResponse:
        """Follow: ``snapshot`` with all members, then one ``change`` per event.

        With ``Last-Event-ID`` it goes on after that event; where that is no longer kept, or the follower fell behind,
        comes ``reset`` and a new snapshot.
        """
        stream = _follow(agent, last_event_id)
        return StreamingResponse(
            stream,
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return router


async def _follow(agent: Agent, last_id: str | None) -> AsyncIterator[str]:
    while not agent.stopped:
        with agent.history.watch() as watcher:
            for message in _beginning(agent, last_id):
                yield message
            while not watcher.lost:
                event = await watcher.next(KEEP_ALIVE_SECONDS)
                if event is not None:
                    yield _change(agent, event)
                elif not watcher.lost:
                    yield ": still here\n\n"
        last_id = "lost"


def _beginning(agent: Agent, last_id: str | None) -> list[str]:
    """What was missed since ``last_id``; else all members, after ``reset`` where the follower believed to know them."""
    run, _, number = (last_id or "").partition("-")
    events = agent.history.since(int(number)) if run == str(agent.boot) and number.isdecimal() else None
    if events is not None:
        return [_change(agent, event) for event in events]
    members = [member.model_dump(mode="json") for member in _all(agent)]
    snapshot = _message("snapshot", f"{agent.boot}-{agent.history.last}", {"items": members})
    if last_id is None:
        return [snapshot]
    return [_message("reset", None, {"reason": "events were lost: begin again"}), snapshot]


def _change(agent: Agent, event: Event) -> str:
    shown = _shown(agent, event)
    return _message("change", shown.id, shown.model_dump(mode="json"))


def _shown(agent: Agent, event: Event) -> views.Event:
    return views.Event.of(event, agent.boot, agent.clock, agent.id)


def _all(agent: Agent) -> list[views.Member]:
    shown = [views.Member.of(record, agent.clock, agent.id) for record in agent.core.members]
    return sorted(shown, key=lambda member: (member.name, member.id))


def _message(kind: str, number: str | None, data: object) -> str:
    name = f"id: {number}\n" if number is not None else ""
    return f"event: {kind}\n{name}data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _refused(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, MembershipError):  # registered for nothing else
        raise error
    title = type(error).__name__
    return _problem(views.Problem(title=title, status=error.status, detail=error.detail, code=error.code))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):  # as above
        raise error
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    detail = "; ".join(faults)
    return _problem(views.Problem(title="InvalidInput", status=422, detail=detail, code="invalid_request"))


def _problem(problem: views.Problem) -> JSONResponse:
    return JSONResponse(problem.model_dump(), problem.status, media_type="application/problem+json")
