"""One server, one key: sends requests, repeats what may be repeated, and turns every failure into a :class:`ClientError`."""

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any, Self

import httpx

from penstock.client.errors import ClientError

_REPEATABLE = frozenset(
    {"GET", "HEAD", "PUT", "DELETE"}
)  # by their definition; a POST only with an idempotency key


@dataclass(frozen=True, slots=True)
class Patience:
    """When to give up. Seconds. Before the n-th repetition: ``min(first * 2 ** (n - 1), longest)``, up to half less."""

    tries: int = 6
    first: float = 0.5
    longest: float = 8.0  # six tries outlast a restart of the server with some margin: 0.5 + 1 + 2 + 4 + 8 s
    connect: float = 5.0
    idle: float = 60.0  # without a byte, either way; uploads are acknowledged only when durable, which a slow disk delays
    asked: float = (
        300.0  # what the server asks for is waited for whole; if it asks for more, its refusal is the answer
    )

    def delay(self, repetition: int, asked: float | None) -> float:
        """Seconds to wait before a repetition; what the server asked for comes first."""
        if asked is not None:
            return asked
        most = min(self.first * 2.0 ** (repetition - 1), self.longest)
        return most * random.uniform(0.5, 1.0)  # noqa: S311  (spreads clients, protects nothing)


Waiting = Callable[[float, ClientError], None]  # told the seconds of a pause before it, and its reason


def silently(_seconds: float, _reason: ClientError) -> None:
    """For whom nobody watches."""


class Connection:
    """Safe to use from several threads; :meth:`close` ends the waits of all of them."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        patience: Patience | None = None,
        waiting: Waiting = silently,
    ) -> None:
        """``base_url`` is the server's address, without a path; ``waiting`` is told of every pause before a repetition.

        Raises :class:`ClientError` for a key that cannot be one.
        """
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ClientError(
                "The API key has characters that no key has, such as a line break; copy it anew.",
                code="api_key_invalid",
            )
        self.patience = patience or Patience()
        self._waiting = waiting
        self._closed = Event()
        self.base_url = base_url.rstrip("/")
        self.caller = f"{self.base_url} {hashlib.sha256((api_key or '').encode()).hexdigest()}"
        """Which server and which key, without telling the key."""
        self._authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._reached = False
        self._http = httpx.Client(
            timeout=httpx.Timeout(self.patience.idle, connect=self.patience.connect), follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the connections go."""
        self._closed.set()
        self._http.close()

    def pause(self, repetition: int, reason: ClientError) -> None:
        """Waits before the n-th repetition. Raises ``reason`` where there is to be none: it was the last, or we close."""
        asked = reason.retry_after
        if repetition >= self.patience.tries or (asked is not None and asked > self.patience.asked):
            raise reason
        delay = self.patience.delay(repetition, asked)
        self._waiting(delay, reason)
        if self._closed.wait(delay):
            raise reason

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> httpx.Response:
        """A successful answer. ``body`` is sent as JSON; ``content`` makes the bytes anew for each try.

        ``repeatable`` tells what the method does not: whether doing it twice is doing it once.

        A path that is a whole URL is asked as it stands and without the key (it carries its own permission).
        Raises :class:`ClientError`.
        """
        url, sent = self._address(path, headers)
        if repeatable is None:
            repeatable = method in _REPEATABLE or "Idempotency-Key" in sent
        data: dict[str, Any] = {"json": body} if body is not None else {}
        attempt = 0
        while True:
            attempt += 1
            try:
                given = {"content": content()} if content is not None else data
                answer = self._http.request(method, url, params=_present(params), headers=sent, **given)
            except UnicodeEncodeError as error:
                raise ClientError(
                    f"{error.object!r} is no text; it was written in another encoding than this program reads.",
                    code="invalid_request",
                ) from None
            except httpx.HTTPError as error:
                failure = unreachable(self.base_url, error)
                if isinstance(error, httpx.ConnectError) and not self._reached:
                    raise failure from None  # nobody is there; a server that was just here will come back
            else:
                self._reached = True
                if answer.is_success:
                    return answer
                failure = failure_of(answer)
            if not (repeatable and failure.passing):
                raise failure
            self.pause(attempt, failure)

    def json(self, method: str, path: str, **options: Any) -> Any:
        """As :meth:`request`; the answer's JSON, None where it is empty."""
        answer = self.request(method, path, **options)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise _not_ours(answer) from error

    @contextmanager
    def lines(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Iterator[str]]:
        """The lines of a stream of events, not repeated: the caller knows where it stood. Raises :class:`ClientError`."""
        url, sent = self._address(path, {"Accept": "text/event-stream", **(headers or {})})
        try:
            with self._http.stream("GET", url, headers=sent) as answer:
                if not answer.is_success:
                    answer.read()
                    raise failure_of(answer)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise _not_ours(answer)
                yield answer.iter_lines()
        except httpx.HTTPError as error:
            raise unreachable(self.base_url, error) from error

    def _address(self, path: str, headers: Mapping[str, str] | None) -> tuple[str, dict[str, str]]:
        if path.startswith(("http://", "https://")):
            return path, dict(headers or {})
        return f"{self.base_url}{path}", {**self._authorization, **(headers or {})}


def failure_of(answer: httpx.Response) -> ClientError:
    """The error that an unsuccessful answer tells, whoever wrote it."""
    retry_after = _seconds(answer.headers.get("retry-after"))
    try:
        problem = json.loads(answer.content)
        return ClientError(
            problem["detail"],
            code=problem["code"],
            status=answer.status_code,
            request_id=problem.get("request_id"),
            retry_after=retry_after,
            fields=tuple((item["pointer"], item["detail"]) for item in problem.get("errors") or ()),
        )
    except (ValueError, KeyError, TypeError):
        failure = _not_ours(answer)
        failure.retry_after = retry_after
        return failure


def unreachable(base_url: str, error: httpx.HTTPError) -> ClientError:
    """The error for a request without an answer."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        detail = f"Nothing answers at {base_url}. Start the server with 'penstock up', or name another with PENSTOCK_URL."
    elif isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        detail = f"'{base_url}' is not the address of a server; it has the form http://host:port."
    else:
        detail = f"The connection to {base_url} broke ({type(error).__name__}); try again."
    return ClientError(detail, code="unreachable")


def _not_ours(answer: httpx.Response) -> ClientError:
    return ClientError(
        f"The answer (status {answer.status_code}) is not Penstock's; is the address right, and what stands in between?",
        code="unexpected_answer",
        status=answer.status_code,
    )


def _present(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    # None rather than nothing: even empty parameters would replace those that a signed URL brings along.
    return {name: value for name, value in (params or {}).items() if value is not None} or None


def _seconds(retry_after: str | None) -> float | None:
    """The header's value: a number of seconds or a date (RFC 9110 section 10.2.3)."""
    if not retry_after:
        return None
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
