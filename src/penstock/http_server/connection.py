"""One client's connection: has its requests answered one after the other, and is patient within limits.

It stands on the socket itself, so that the system can send a file from where it lies. A request's answer is known, then sent, and
then the next one's turn comes; what a client sends ahead waits for its turn, and the client with it.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from anyio.to_thread import run_sync

from penstock.http_server.body import Body
from penstock.http_server.calls import Call, Scope, scope_of
from penstock.http_server.files import FilePart, FileShorter
from penstock.http_server.hearing import Hearing
from penstock.http_server.messages import Answer, Request, Steps, answer_head, lines
from penstock.http_server.outgoing import Left, Outgoing
from penstock.http_server.problems import HeadStalled
from penstock.video.errors import PenstockError, TransientError
from penstock.web_api import problems

if TYPE_CHECKING:
    from penstock.http_server.server import Server

_STALLED_S = 60.0  # how long a client may take nothing of what is sent to it; it is looked at so often, so up to twice that
_LINGER_S = 5.0  # how long what a refused client still sends is thrown away, so that it can read why
_MORE: int = getattr(socket, "MSG_MORE", 0)  # Linux: the head leaves in one packet with what follows
_SOME, _UNREAD = Left.SOME, Left.UNREAD

_log = structlog.get_logger()


class Connection:
    """Everything here runs on the loop of its server, and nothing in it blocks."""

    __slots__ = (
        "_address", "_answer", "_answering", "_blocked", "_busy", "_due", "_ended", "_given", "_hearing", "_last", "_number",
        "_outgoing", "_produced", "_reading", "_server", "_socket", "_untaken", "closed", "deadline",
    )  # fmt: skip

    def __init__(self, server: "Server", client: socket.socket, address: tuple[str, int]) -> None:
        self._server = server
        self._socket = client
        self._number = client.fileno()
        self._address = address
        # What is read.
        self._hearing = Hearing(self._listen)
        self._reading = False
        self._ended = False  # nothing comes any more
        # What is answered, from its turn until the system has taken all of the answer.
        self._answering: tuple[Request, Body] | None = None
        self._answer: Answer | None = None  # a responder's, until it was told what became of it
        self._given = False  # the whole answer is known: when what follows is sent, it is done
        self._due = False  # the answer is sent at the end of this turn of the loop
        self._busy = False  # a thread reads the answer's file, or its pieces
        # What is sent.
        self._outgoing = Outgoing(client)
        self._produced = 0  # bytes of a responder's body that were put there
        self._blocked = False  # the socket takes nothing now
        self._untaken: int | None = None  # bytes that the client had not taken at the last deadline
        # How it ends.
        self._last = False  # with the answer that is being sent, or was
        self.closed = False
        self.deadline: float | None = server.now + server.idle_s  # None: it is not the client's turn
        self._read(on=True)

    # Called by the server.

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return self._answering is None and not self._hearing.waiting and not self._outgoing.unsent

    def finish(self) -> None:
        """The server ends: what is being answered is the last."""
        if self.idle:
            self.close()

    def expire(self) -> None:
        """The deadline has passed."""
        hearing = self._hearing
        if self._answering is None and hearing.unfinished and not hearing.deaf:
            hearing.refuse(HeadStalled("The head of the request did not become whole in time."))
            self._advance()
        elif self._blocked and self._takes():  # a slow client, for whom the system has a lot in store
            self.deadline = self._server.now + _STALLED_S
        else:
            self.close()

    def _takes(self) -> bool:
        """Whether the client has taken something since it was asked last."""
        before, self._untaken = self._untaken, self._outgoing.untaken()
        return before is None or self._untaken < before

    def close(self) -> None:
        """Ends it at once; whoever still answers hears that nobody listens."""
        if self.closed:
            return
        self.closed = True
        self.deadline = None
        self._listen()
        self._block(on=False)
        self._socket.close()
        self._cut()
        for _, body in self._hearing.waiting:
            body.drop()
        self._outgoing.clear()
        if not self._busy:
            self._tell(whole=False)
        self._server.forget(self)

    # Reading.

    def _readable(self) -> None:
        buffer = self._server.buffer
        try:
            count = self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not count:
            self._end_of_input()
            return
        self._hearing.feed(buffer[:count])
        self._server.soon(self._heard)

    def _heard(self) -> None:
        asked = bool(self._hearing.waiting)
        self._advance()
        # Where something is answered, sending it tells whether the socket is broken.
        if not (self.closed or (asked and (self._due or self._answering is None))):
            self._keep_watch()

    def _keep_watch(self) -> None:
        """Asks to hear the rest from a socket that is broken: uvloop calls once and forgets it, even if there is more to read."""
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._server.loop.call_soon(self._watch_anew)

    def _watch_anew(self) -> None:
        if self._reading:
            self._read(on=False)
            self._read(on=True)

    def _end_of_input(self) -> None:
        """The client has said all; what it asked for before, it may still want to hear."""
        self._ended = True
        self._cut()
        if self.idle:
            self.close()
        else:
            self._listen()

    def _cut(self) -> None:
        """No more of any body comes."""
        self._hearing.cut()
        if self._answering is not None:
            self._answering[1].cut()

    def _listen(self) -> None:
        """Reads on, unless what came before waits for somebody."""
        on = not (self.closed or self._ended or self._hearing.full)
        if on is not self._reading:
            self._read(on=on)

    def _read(self, *, on: bool) -> None:
        self._reading = on
        if on:
            self._server.loop.add_reader(self._number, self._readable)
        else:
            self._server.loop.remove_reader(self._number)

    # Answering.

    def _advance(self) -> None:
        """Has the next request answered, if it is its turn."""
        hearing = self._hearing
        if self._answering is None and not self._last and not self.closed:
            if hearing.waiting:
                self._answering = hearing.waiting.popleft()
                self.deadline = None
                self._begin(*self._answering)
            elif hearing.refusal is not None:
                self._refuse(hearing.refusal)
        self._listen()

    def _begin(self, request: Request, body: Body) -> None:
        try:
            responder = self._server.responder(request.target)
            if responder is None:
                scope = scope_of(request, self._address, self._socket.getsockname()[:2])
                self._server.spawn(self._call(request, body, scope))
                return
            steps = responder(request)
            awaited = next(steps)
        except StopIteration as done:  # as nearly always
            self._send(request, body, done.value)
        except Exception as error:  # noqa: BLE001 - what must not happen, and must not leave a client waiting for ever
            self._fail(request, error)
        else:
            self._server.spawn(self._answer_later(request, body, steps, awaited))

    async def _answer_later(
        self, request: Request, body: Body, steps: Steps, awaited: Awaitable[Any]
    ) -> None:
        resume: Callable[[], Awaitable[Any]]
        while True:
            try:
                resume = partial(steps.send, await awaited)
            except Exception as error:  # noqa: BLE001 - it is the responder's to understand
                resume = partial(steps.throw, error)
            except asyncio.CancelledError:  # the server has waited long enough
                steps.close()
                self.close()
                return
            try:
                awaited = resume()
            except StopIteration as done:
                self._send(request, body, done.value)
                break
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(request, error)
                break
        self._advance()

    async def _call(self, request: Request, body: Body, scope: Scope) -> None:
        call = Call(self, request, body)
        failure: PenstockError | None = None
        try:
            await call.run(self._server.app, scope)
        except asyncio.CancelledError:  # the server has waited long enough
            failure = TransientError("The server is stopping; try again.", code="stopping", retry_after=1)
        except Exception as error:  # noqa: BLE001 - whatever it was, the client is to be told or cut off
            if call.begun:
                _log.warning("answer_cut", error=repr(error))
            else:
                _log.error("request_failed", exc_info=error, method=request.method)
            failure = PenstockError("Something went wrong here; the log says what.")
        if self.closed:
            body.drop()
            return
        refusal = self._hearing.refusal
        if call.complete:
            request.keep_alive = call.keep_alive
            self._complete()
        elif call.begun or (self._ended and not body.complete and refusal is None):
            self.close()  # the only way to say that this is not all; or nobody awaits an answer to half a request
        else:
            self._refuse(refusal or failure or PenstockError("The application gave no answer."))
        self._advance()

    def _fail(self, request: Request, error: Exception) -> None:
        if not self.closed:
            self._refuse(PenstockError("Something went wrong here; the log says what."))
        _log.error("request_failed", exc_info=error, method=request.method)

    def _refuse(self, error: PenstockError) -> None:
        """The last that this client hears."""
        response = problems.response_for(error)
        head = self.head(error.status, lines(response.raw_headers), close=True)
        bare = self._answering is not None and self._answering[0].method == "HEAD"
        self._last = True
        self.write(head if bare else head + bytes(response.body))
        self._complete()
        _log.info("request_refused", code=error.code, status=error.status)

    def _complete(self) -> None:
        """Nothing more is to be said than what waits to be sent."""
        self._given = True
        if not self.closed:
            self._push()

    def _finished(self) -> None:
        """The system has taken all of an answer."""
        self._given = False
        self._tell(whole=True)
        self.deadline = self._server.now + self._server.idle_s
        answered, self._answering = self._answering, None
        if answered is None:  # a refusal of what is no request
            self._part(unread=True)
            return
        request, body = answered
        body.drop()
        hearing = self._hearing
        # Whether what was refused was the rest of this one.
        spoilt = hearing.refusal is not None and not body.complete
        if spoilt or not request.keep_alive or self._server.closing or (self._ended and not hearing.waiting):
            self._last = True
        if self._last:
            self._part(unread=hearing.deaf or not body.complete or bool(hearing.waiting))

    def _part(self, *, unread: bool) -> None:
        """Says goodbye. Closing while a client still sends would take the answer from it."""
        if not unread or self._ended:
            self.close()
            return
        self._hearing.deaf = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self.deadline = self._server.now + _LINGER_S
        self._listen()

    # Sending.

    def head(self, status: int, headers: bytes, *, close: bool) -> bytes:
        """See :class:`penstock.http_server.calls.Wire`."""
        return answer_head(status, headers, self._server.date, close=close)

    def write(self, data: bytes) -> None:
        """See :class:`penstock.http_server.calls.Wire`."""
        if not self.closed:
            self._push((data,))

    async def drained(self) -> None:
        """See :class:`penstock.http_server.calls.Wire`."""
        if not self.closed:
            await self._outgoing.drained()

    def streaming(self) -> None:
        """See :class:`penstock.http_server.calls.Wire`."""
        self._server.streaming(asyncio.current_task())

    def _send(self, request: Request, body: Body, answer: Answer) -> None:
        self._answer, self._produced = answer, 0
        data = answer.body
        if self.closed:
            if not isinstance(data, (bytes, FilePart)):
                data.close()
            self._tell(whole=False)
            return
        keep = request.keep_alive = request.keep_alive and body.complete and not self._server.closing
        head = answer_head(answer.status, answer.head, self._server.date, close=not keep)
        if isinstance(data, (bytes, FilePart)):
            self._due = True
            self._server.soon(lambda: self._send_off(head, data))
        else:
            self._busy = True
            self._server.spawn(self._stream(head, data), steady=True)

    def _send_off(self, head: bytes, data: bytes | FilePart) -> None:
        self._due = False
        if self.closed:
            return
        self._given = True
        if isinstance(data, FilePart):
            self._outgoing.file = data
            self._push((head,), _MORE)
        else:
            self._produced = len(data)
            self._push((head, data))
        hearing = self._hearing
        if hearing.waiting or hearing.refusal is not None or not self._reading:
            self._advance()

    async def _stream(self, head: bytes, pieces: Generator[bytes, None, None]) -> None:
        whole = False
        self.write(head)
        try:
            while not self.closed:
                piece = await run_sync(next, pieces, b"")
                if not piece or self.closed:
                    whole = not piece
                    break
                self._produced += len(piece)
                self.write(piece)
                await self.drained()
        except Exception as error:  # noqa: BLE001 - the store's, or the unforeseen: the client is cut off
            _log.warning("answer_cut", error=repr(error))
        finally:
            pieces.close()
        self._resume(whole=whole)

    async def _load(self, file: FilePart) -> None:
        loaded = False
        try:
            await run_sync(file.load)
            loaded = True
        except OSError as error:
            _log.error("file_unreadable", error=repr(error))
        self._resume(whole=loaded)

    def _resume(self, *, whole: bool) -> None:
        """A thread is done with what it did for the answer, or with the half of it."""
        self._busy = False
        if whole and not self.closed:
            self._complete()
            self._advance()
        else:
            self.close()  # the only way to say that this is not all
            self._tell(whole=False)  # where it was closed before, this had to wait for the thread

    def _writable(self) -> None:
        self.deadline, self._untaken = self._server.now + _STALLED_S, None
        self._push()
        self._advance()

    def _push(self, parts: tuple[bytes, ...] = (), flags: int = 0) -> None:
        """Sends what waits, and these bytes, as far as the socket takes them; then it is the next one's turn."""
        outgoing = self._outgoing
        try:
            left = outgoing.push(self._server.now, parts, flags)
        except OSError as error:
            if isinstance(error, FileShorter):
                _log.error("file_shorter")
            self.close()
            return
        if left is _SOME:
            self._block(on=True)
            return
        if self._blocked:
            self._block(on=False)
        self.deadline = None
        if left is _UNREAD:
            assert outgoing.file is not None
            self._busy = True
            self._server.spawn(self._load(outgoing.file), steady=True)
            return
        if self._given:
            self._finished()

    def _tell(self, *, whole: bool) -> None:
        """Lets a responder know what became of its answer, once."""
        answer, self._answer, self._outgoing.file = self._answer, None, None
        if answer is None:
            return
        if isinstance(answer.body, FilePart):
            count = answer.body.sent
        else:
            count = max(0, self._produced - self._outgoing.unsent)
        try:
            answer.sent(count, whole)
        except Exception as error:  # noqa: BLE001 - the answer was given; whoever keeps account of it has an error of its own
            _log.error("answer_unaccounted", exc_info=error)

    def _block(self, *, on: bool) -> None:
        """Waits for the socket to take more, or no longer."""
        if on is self._blocked:
            return
        self._blocked = on
        if on:
            self.deadline, self._untaken = self._server.now + _STALLED_S, None
            self._server.loop.add_writer(self._number, self._writable)
        else:
            self._server.loop.remove_writer(self._number)
