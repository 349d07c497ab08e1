"""A typed client of the control interface, for programs on the same machine. Synchronous; one per thread."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from penstock.membership import views
from penstock.membership.errors import MembershipError, Unreachable

M = TypeVar("M", bound=BaseModel)
TIMEOUT = 15.0  # seconds for an answer; joining and leaving may take five
QUIET_SECONDS = 60.0  # without even a keep-alive, after which a watched connection is taken for gone


class Refused(MembershipError):
    """The node said no; nothing was changed. ``code`` is stable, ``status`` that of HTTP."""

    def __init__(self, detail: str, *, code: str, status: int) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status


class MembershipClient:
    """Speaks to the node at a Unix socket, or at a port of this machine with its token."""

    def __init__(
        self,
        socket_path: Path | None = None,
        *,
        port: int | None = None,
        token: str | None = None,
        patience: float = TIMEOUT,
    ) -> None:
        """``patience``: seconds to wait for an answer."""
        transport = httpx.HTTPTransport(uds=str(socket_path)) if socket_path is not None else None
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        host = "http://node" if socket_path is not None else f"http://127.0.0.1:{port}"
        # No proxy of the environment: this never leaves the machine.
        self._http = httpx.Client(
            base_url=host, transport=transport, headers=headers, timeout=patience, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes connections."""
        self._http.close()

    def status(self) -> views.Status:
        """How the node is."""
        return self._ask(views.Status, "GET", "/status")

    def members(self, *states: views.StateName) -> list[views.Member]:
        """All members, or those in these states."""
        return self._ask(views.MemberList, "GET", "/v1/members", params={"state": states}).items

    def member(self, name_or_id: str) -> views.Member:
        """One member."""
        return self._ask(views.Member, "GET", f"/v1/members/{name_or_id}")

    def join(self, addresses: Sequence[str]) -> list[str]:
        """Meets the cluster of whoever is there; returns the ids of who answered."""
        return self._ask(views.Joined, "POST", "/v1/join", json={"addresses": list(addresses)}).met

    def leave(self) -> views.Member:
        """Leaves the cluster; returns when the others have been told."""
        return self._ask(views.Member, "POST", "/v1/leave")

    def force_leave(self, name_or_id: str) -> views.Member:
        """Declares that a member which does not answer has left."""
        return self._ask(views.Member, "POST", f"/v1/members/{name_or_id}/force-leave")

    def set_metadata(self, value: views.MetadataObject) -> views.Member:
        """States what all members shall see of this node."""
        return self._ask(views.Member, "PUT", "/v1/metadata", json=value)

    def register(self, service: str, value: views.MetadataObject, *, ttl: float) -> views.Member:
        """States what one program of the node says of itself; gone after ``ttl`` seconds unless it registers again."""
        asked = {"metadata": value, "ttl": ttl}
        return self._ask(views.Member, "PUT", f"/v1/services/{service}", json=asked)

    def unregister(self, service: str) -> views.Member:
        """Takes it back: the program ends."""
        return self._ask(views.Member, "DELETE", f"/v1/services/{service}")

    def keys(self) -> list[views.Key]:
        """The ring of the node, the primary key first."""
        return self._ask(views.KeyList, "GET", "/v1/keys").items

    def add_key(self, key: str) -> list[views.Key]:
        """Adds a key in base64."""
        return self._ask(views.KeyList, "POST", "/v1/keys", json={"key": key}).items

    def use_key(self, fingerprint: str) -> list[views.Key]:
        """Makes a key primary."""
        return self._ask(views.KeyList, "POST", f"/v1/keys/{fingerprint}/use").items

    def remove_key(self, fingerprint: str) -> list[views.Key]:
        """Removes a key that is not primary."""
        return self._ask(views.KeyList, "DELETE", f"/v1/keys/{fingerprint}").items

    def events(self, limit: int = 100) -> list[views.Event]:
        """Recent events, oldest first."""
        return self._ask(views.EventList, "GET", "/v1/events", params={"limit": limit}).items

    def watch(self, after: str | None = None) -> Iterator[list[views.Member] | views.Event]:
        """All members, then each change as it happens; all members again wherever changes were lost.

        ``after``: id of the last event seen, to go on there. Ends when the node does. Raises :class:`Unreachable`.
        """
        headers = {"last-event-id": after} if after is not None else {}
        timeout = httpx.Timeout(TIMEOUT, read=QUIET_SECONDS)
        try:
            with self._http.stream("GET", "/v1/watch", headers=headers, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield from _messages(response.iter_lines())
        except httpx.HTTPError as error:
            raise Unreachable(f"The node's control interface ended the connection: {error}") from error

    def _ask(self, model: type[M], method: str, path: str, **options: Any) -> M:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"The node's control interface does not answer ({error}): is 'penstock serve member' running?"
            ) from error
        if response.is_error:
            raise _refusal(response)
        return model.model_validate_json(response.content)


def _messages(lines: Iterator[str]) -> Iterator[list[views.Member] | views.Event]:
    kind = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            kind = value
        elif field == "data" and kind == "snapshot":
            yield views.MemberList.model_validate_json(value).items
        elif field == "data" and kind == "change":
            yield views.Event.model_validate_json(value)


def _refusal(response: httpx.Response) -> Refused:
    try:
        problem = views.Problem.model_validate(json.loads(response.content))
    except ValueError:
        return Refused(response.text[:200], code="unexpected_answer", status=response.status_code)
    return Refused(problem.detail, code=problem.code, status=problem.status)
