"""One client's connection: reads requests one after the other, has each answered, and is patient within limits.

It stands on the socket itself, so that the system can send a file from where it lies, and on llhttp (httptools) for what a
request is. One request is answered at a time; what a client sends ahead waits for its turn, and the client with it.
"""

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anyio.to_thread
import httptools
import structlog

from penstock.http_server.body import Body
from penstock.http_server.calls import Call, Scope
from penstock.http_server.files import FilePart
from penstock.http_server.messages import Answer, Header, Request, Steps, lines
from penstock.http_server.problems import CodingUnsupported, HeadStalled, HeadTooLarge, RequestMalformed
from penstock.video.errors import PenstockError, TransientError
from penstock.web_api import problems

if TYPE_CHECKING:
    from penstock.http_server.server import Server

_LARGEST_HEAD = 64 << 10  # bytes of address and headers
_ENOUGH = 256 << 10  # bytes that wait to be sent; whoever makes more of them waits
_MOST_FIELDS = 100  # headers
_STALLED_S = 60.0  # how long a client may take nothing of what is sent to it; it is looked at so often, so up to twice that
_LINGER_S = 5.0  # how long what a refused client still sends is thrown away, so that it can read why
_PIECES_A_TURN = 4  # calls of the system for one client, before it is another's turn
_ANY = 1 << 62
_MORE: int = getattr(socket, "MSG_MORE", 0)  # Linux: the head leaves in one packet with what follows
_STATUS = {
    **{number: b"HTTP/1.1 %d \r\n" % number for number in range(200, 600)},
    **{each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus},
}

_log = structlog.get_logger()


class Connection:
    """Everything here runs on the loop of its server, and nothing in it blocks."""

    def __init__(self, server: "Server", client: socket.socket, address: tuple[str, int]) -> None:
        self._server = server
        self._socket = client
        self._number = client.fileno()
        self._address = address
        # What is read.
        self._parser = httptools.HttpRequestParser(self)
        self._reading = False
        self._url = b""
        self._headers: list[Header] = []
        self._head = 0  # bytes of an unfinished head, 0 between requests
        self._unheard = 0  # bytes of which nothing came but a part of a head, of what trails a body or of a chunk's extensions
        self._body: Body | None = None  # of the request whose head came last
        self._refusal: PenstockError | None = None  # what came last is no request that can be answered
        self._deaf = False  # what comes is thrown away
        self._ended = False  # nothing comes any more
        # What is answered.
        self._waiting: deque[tuple[Request, Body]] = deque()
        self._answering: tuple[Request, Body] | None = None
        # What is sent.
        self._out: deque[memoryview] = deque()
        self._unsent = 0  # bytes of that
        self._sending: Answer | None = None  # what was not built by an application, until all of it is sent
        self._file: FilePart | None = None
        self._loading = False  # a thread reads the file
        self._blocked = False  # the socket takes nothing now
        self._untaken = _ANY  # bytes that the client had not taken at the last deadline
        self._drained: asyncio.Future[None] | None = None
        # How it ends.
        self._last = False  # with what waits to be sent
        self.closed = False
        self.deadline: float | None = server.now + server.idle_s  # None: it is not the client's turn
        self._read(on=True)

    # Called by the server.

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return self._answering is None and not self._waiting and not self._out

    def finish(self) -> None:
        """The server ends: what is being answered is the last."""
        if self.idle:
            self.close()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._answering is None and self._head and not self._deaf:
            self._refusal = HeadStalled("The head of the request did not become whole in time.")
            self._advance()
        elif self._blocked and (untaken := _untaken(self._number)) < self._untaken:
            self._untaken = untaken  # a slow client, for whom the system has a lot in store
            self.deadline = self._server.now + _STALLED_S
        else:
            self.close()

    def close(self) -> None:
        """Ends it at once; whoever still answers hears that nobody listens."""
        if self.closed:
            return
        self.closed = True
        self.deadline = None
        self._read(on=False)
        self._block(on=False)
        self._socket.close()
        self._cut()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._sending is not None and not self._loading:
            self._settle(whole=False)
        self._server.forget(self)

    # Called by the parser, while bytes are fed to it.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._url, self._headers, self._head, self._body = b"", [], 1, None

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._url += url
        self._measure(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what trails a body is not one."""
        if self._body is None:
            self._measure(len(name) + len(value))
            if len(self._headers) < _MOST_FIELDS:
                self._headers.append((name.lower(), value))
            elif self._refusal is None:
                self._refusal = HeadTooLarge(f"There are more than {_MOST_FIELDS} headers.")

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        self._head = self._unheard = 0
        if self._refusal is not None:
            return
        parser = self._parser
        self._body = Body(self._listen)
        target = _origin_form(self._url)
        if target is None:
            self._refusal = RequestMalformed("The request's target is not an address on this server.")
        elif any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self._headers):  # fmt: skip
            self._refusal = CodingUnsupported("The only transfer coding that is understood is 'chunked'.")
        else:
            request = Request(
                parser.get_method().decode("ascii"),
                target,
                self._headers,
                parser.get_http_version(),
                parser.should_keep_alive(),
            )
            self._waiting.append((request, self._body))

    def on_body(self, data: bytes) -> None:
        """Bytes of the body."""
        self._unheard = 0
        if self._body is not None and not self._body.gone:
            self._body.feed(data)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._unheard = 0
        if self._body is not None:
            self._body.finish()

    def _measure(self, size: int) -> None:
        self._head += size + 4
        if self._head > _LARGEST_HEAD and self._refusal is None:
            self._refusal = HeadTooLarge(
                f"Address and headers are larger than {_LARGEST_HEAD} bytes together."
            )

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
        if self._deaf:
            return
        self._unheard += count
        try:
            self._parser.feed_data(buffer[:count])
        except httptools.HttpParserUpgrade:
            self._deaf = True  # no other protocol is spoken: this is answered as if it had not been asked for, and the last
            if self._waiting:
                self._waiting[-1][0].keep_alive = False
        except httptools.HttpParserError as error:
            self._misheard(RequestMalformed(f"This is no HTTP request: {error}."))
        if self._unheard > _LARGEST_HEAD:  # the parser keeps it, and would keep any amount
            self._misheard(
                HeadTooLarge(f"Address and headers are larger than {_LARGEST_HEAD} bytes together.")
            )
        self._advance()
        if self._answering is not None and not self.closed:
            self._keep_watch()

    def _keep_watch(self) -> None:
        """Asks to hear the rest from a socket that is broken: uvloop calls once and forgets it, even if there is more to read."""
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._server.loop.call_soon(self._watch_anew)

    def _watch_anew(self) -> None:
        if self._reading:
            self._read(on=False)
            self._read(on=True)

    def _misheard(self, refusal: PenstockError) -> None:
        """Nothing that comes from here on can be understood."""
        self._deaf = True
        if self._refusal is None:
            self._refusal = refusal
        if self._body is not None and not self._body.complete:
            self._body.cut()  # whoever reads it answers, or else this does

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
        if self._body is not None:
            self._body.cut()
        if self._answering is not None:
            self._answering[1].cut()

    def _listen(self) -> None:
        """Reads on, unless what came before waits for somebody."""
        ahead = self._answering is not None and self._waiting
        full = self._body is not None and self._body.full
        self._read(on=not (self.closed or self._ended or ((ahead or full) and not self._deaf)))

    def _read(self, *, on: bool) -> None:
        if on is not self._reading:
            self._reading = on
            if on:
                self._server.loop.add_reader(self._number, self._readable)
            else:
                self._server.loop.remove_reader(self._number)

    # Answering.

    def _advance(self) -> None:
        """Has the next request answered, if it is its turn."""
        while self._answering is None and not self.closed and not self._last:
            if self._waiting:
                self._answering = self._waiting.popleft()
                self.deadline = None
                self._begin(*self._answering)
            elif self._refusal is not None:
                self._refuse(self._refusal)
            else:
                break
        self._listen()

    def _begin(self, request: Request, body: Body) -> None:
        responder = self._server.responder(request.target)
        if responder is None:
            self._server.spawn(self._call(request, body))
            return
        steps = responder(request)
        try:
            awaited = next(steps)
        except StopIteration as done:  # as nearly always
            self._send(request, body, done.value)
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
                self._advance()
                return

    async def _call(self, request: Request, body: Body) -> None:
        call = Call(self, request, body)
        failure: PenstockError | None = None
        try:
            await call.run(self._server.app, self._scope(request))
        except asyncio.CancelledError:  # the server has waited long enough
            failure = TransientError("The server is stopping; try again.", code="stopping", retry_after=1)
        except Exception as error:  # noqa: BLE001 - whatever it was, the client is to be told or cut off
            if call.begun:
                _log.warning("answer_cut", error=repr(error))
            else:
                _log.error("request_failed", exc_info=error, method=request.method)
            failure = PenstockError("Something went wrong here; the log says what.")
        if self.closed:
            return
        if call.complete:
            request.keep_alive = call.keep_alive
            self._finished()
        elif call.begun:
            self.close()  # the only way to say that this is not all
        else:
            self._refuse(self._refusal or failure or PenstockError("The application gave no answer."))
        self._advance()

    def _scope(self, request: Request) -> Scope:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version,
            "method": request.method,
            "scheme": "http",
            "path": unquote(path.decode("latin-1")) if b"%" in path else path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": self._address,
            "server": self._socket.getsockname()[:2],
        }

    def _refuse(self, error: PenstockError) -> None:
        """The last that this client hears."""
        _log.info("request_refused", code=error.code, status=error.status)
        response = problems.response_for(error)
        self._last = True
        self.write(self.head(error.status, lines(response.raw_headers), close=True) + bytes(response.body))
        if not self._out:
            self._part(unread=True)

    def _finished(self) -> None:
        """An answer was given in full, though some of it may still wait to be sent."""
        assert self._answering is not None
        request, body = self._answering
        self._answering = None
        body.cut()
        if not self._blocked:
            self.deadline = self._server.now + self._server.idle_s
        spoilt = self._refusal is not None and not body.complete  # what was refused was the rest of this one
        if not request.keep_alive or spoilt or self._server.closing or (self._ended and not self._waiting):
            self._last = True
            if not self._out:
                self._part(unread=not body.complete)

    def _part(self, *, unread: bool) -> None:
        """Says goodbye. Closing while a client still sends would take the answer from it."""
        if not unread or self._ended:
            self.close()
            return
        self._deaf = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self.deadline = self._server.now + _LINGER_S
        self._listen()

    # Sending.

    def head(self, status: int, headers: bytes, *, close: bool) -> bytes:
        """See :class:`penstock.http_server.calls.Wire`."""
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        return b"".join((_STATUS[status], headers, self._server.date, end))

    def write(self, data: bytes) -> None:
        """See :class:`penstock.http_server.calls.Wire`."""
        if not self.closed:
            self._write((data,), 0)

    async def drained(self) -> None:
        """See :class:`penstock.http_server.calls.Wire`."""
        if self._unsent > _ENOUGH and not self.closed:
            self._drained = self._server.loop.create_future()
            await self._drained

    def streaming(self) -> None:
        """See :class:`penstock.http_server.calls.Wire`."""
        self._server.streaming(asyncio.current_task())

    def _send(self, request: Request, body: Body, answer: Answer) -> None:
        data = answer.body
        keep = request.keep_alive = request.keep_alive and body.complete and not self._server.closing
        head = self.head(answer.status, answer.head, close=not keep)
        if isinstance(data, Generator):
            self._server.spawn(self._stream(head, data, answer.sent))
            return
        self._sending = answer
        if isinstance(data, FilePart):
            self._file = data
            if not self.closed:
                self._write((head,), _MORE)
        elif not self.closed:
            self._write((head, data), 0)
        if self.closed:
            self._settle(whole=False)
        else:
            self._push()

    async def _stream(self, head: bytes, pieces: Generator[bytes, None, None], sent: Callable[[int, bool], None]) -> None:  # fmt: skip
        count, whole = 0, False
        self.write(head)
        try:
            while not self.closed:
                piece = await anyio.to_thread.run_sync(next, pieces, b"")
                if not piece:
                    whole = True
                    break
                self.write(piece)
                count += len(piece)
                await self.drained()
        except Exception as error:  # noqa: BLE001 - the store's, or the unforeseen: the client is cut off
            _log.warning("answer_cut", error=repr(error))
        finally:
            pieces.close()
            sent(count, whole)
            if not whole:
                self.close()  # the only way to say that this is not all
        if not self.closed:
            self._finished()
            self._advance()

    def _write(self, parts: tuple[bytes, ...], flags: int) -> None:
        """Sends, or keeps what the socket does not take."""
        count = 0
        if not self._out:
            try:
                count = self._socket.sendmsg(parts, (), flags)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self.close()
                return
        for part in parts:
            if count < len(part):
                self._out.append(memoryview(part)[count:])
                self._unsent += len(part) - count
            count = max(0, count - len(part))
        if self._out:
            self._block(on=True)

    def _writable(self) -> None:
        self.deadline, self._untaken = self._server.now + _STALLED_S, _ANY
        self._push()
        self._advance()

    def _push(self) -> None:
        """Sends what waits, then the file, as far as the socket takes them; then it is the next one's turn."""
        if not self._flush() or (self._file is not None and not self._send_file()):
            return
        self._block(on=False)
        self.deadline = None if self._answering is not None else self._server.now + self._server.idle_s
        if self._sending is not None:
            self._settle(whole=True)
            self._finished()
        elif self._last:
            self._part(
                unread=self._refusal is not None or (self._body is not None and not self._body.complete)
            )

    def _flush(self) -> bool:
        while self._out:
            try:
                count = self._socket.sendmsg(list(islice(self._out, 16)))
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self.close()
                return False
            self._unsent -= count
            while count:
                first = self._out.popleft()
                if count < len(first):
                    self._out.appendleft(first[count:])
                count = max(0, count - len(first))
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        return True

    def _send_file(self) -> bool:
        file = self._file
        assert file is not None
        for _ in range(_PIECES_A_TURN):
            if file.finished:
                return True
            if not file.ready():
                self._block(on=False)
                self.deadline, self._loading = None, True
                self._server.spawn(self._load(file))
                return False
            try:
                if not file.send(self._number):
                    _log.error("file_shorter")
                    self.close()
                    return False
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return False
        if not file.finished:
            self._block(on=True)
        return file.finished

    async def _load(self, file: FilePart) -> None:
        try:
            await anyio.to_thread.run_sync(file.load)
        except OSError as error:
            _log.error("file_unreadable", error=repr(error))
            self.close()
        finally:
            self._loading = False
        if self.closed:
            self._settle(whole=False)  # which had to wait for the thread
        else:
            self._push()
            self._advance()

    def _settle(self, *, whole: bool) -> None:
        """Tells what became of an answer."""
        answer, self._sending = self._sending, None
        assert answer is not None
        if self._file is not None:
            count = self._file.sent
            self._file = None
        else:
            assert isinstance(answer.body, bytes)
            count = max(0, len(answer.body) - self._unsent)
        answer.sent(count, whole)

    def _block(self, *, on: bool) -> None:
        """Waits for the socket to take more, or no longer."""
        if on is self._blocked:
            return
        self._blocked = on
        if on:
            self.deadline, self._untaken = self._server.now + _STALLED_S, _ANY
            self._server.loop.add_writer(self._number, self._writable)
        else:
            self._server.loop.remove_writer(self._number)


def _untaken(number: int) -> int:
    """Bytes that a socket holds for its client, where the system tells."""
    try:
        return int.from_bytes(fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return _ANY


def _origin_form(url: bytes) -> bytes | None:
    """The path and the query of a request's target (RFC 9112, section 3.2), None where it has none."""
    if url.startswith(b"/"):
        return url
    scheme, separator, rest = url.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return None
    _, slash, path = rest.partition(b"/")
    return slash + path if slash else b"/"
