import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from penstock.wiring.listening import listen

# Serves on an inherited socket: a page, a slow answer, an endless stream of events.
PROGRAM = """
import asyncio, socket, sys
from pathlib import Path
from penstock.wiring import server

folder = Path(sys.argv[2])

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if (folder / "refuse").exists():
            await send({"type": "lifespan.startup.failed", "message": "no disk"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        (folder / "ended").touch()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/events":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        while True:
            await send({"type": "http.response.body", "body": b"data: tick\\n\\n", "more_body": True})
            await asyncio.sleep(0.05)
    if scope["path"] == "/upload":
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            (folder / "receiving").touch()
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": (folder / "page").read_bytes()})

listener = socket.socket(fileno=int(sys.argv[1]))
server.serve(server.Site(app), listener, idle_s=30, on_ready=(folder / "ready").touch)
"""


class Served:
    """A server in a process of its own, on a socket that the test owns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "page").write_bytes(b"hello\n")
        (folder / "program.py").write_text(PROGRAM)
        self.listener = listen("127.0.0.1", 0, backlog=64, remedy="")
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.start()

    def start(self) -> None:
        """Starts a process on the socket."""
        descriptor = self.listener.fileno()
        argv = [sys.executable, str(self.folder / "program.py"), str(descriptor), str(self.folder)]
        with (self.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(argv, pass_fds=[descriptor], stderr=errors)

    def close(self) -> None:
        """Ends whatever runs."""
        self.process.kill()
        self.process.wait()
        self.listener.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A running server; requests made before it is up wait in the socket's queue."""
    served = Served(tmp_path)
    yield served
    served.close()


def test_requests_of_before_the_start_are_answered(served: Served) -> None:
    """The socket queues what comes while the process starts."""
    assert httpx.get(served.url, timeout=60).content == b"hello\n"
    assert (served.folder / "ready").exists()


def test_a_restart_refuses_nobody(served: Served) -> None:
    """After kill -9 the next process on the same socket answers what arrived in between."""
    httpx.get(served.url, timeout=60)
    served.process.kill()
    served.process.wait()
    answers = []
    client = threading.Thread(target=lambda: answers.append(httpx.get(served.url, timeout=60).status_code))
    client.start()
    served.start()
    client.join()
    assert answers == [200]


def test_a_stop_lets_an_upload_finish_and_ends_event_streams(served: Served) -> None:
    """What a client sends at that moment is answered; a stream of events is cut, and the application ends in order."""

    def body() -> Iterator[bytes]:
        yield b"x" * 1000
        while not (served.folder / "receiving").exists():
            pass
        with httpx.stream("GET", f"{served.url}/events", timeout=60) as events:
            lines = events.iter_lines()
            assert next(lines) == "data: tick"
            served.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in lines:
                    pass
        yield b"y" * 1000

    answer = httpx.post(f"{served.url}/upload", content=body(), timeout=60)
    assert answer.text == "2000"
    assert served.process.wait(60) == 0
    assert (served.folder / "ended").exists()


def test_an_application_that_refuses_to_start_ends_the_process(served: Served) -> None:
    """The reason is raised, not swallowed."""
    httpx.get(served.url, timeout=60)
    (served.folder / "ready").unlink()
    (served.folder / "refuse").touch()
    served.process.kill()
    served.process.wait()
    served.start()
    assert served.process.wait(60) != 0
    assert "no disk" in (served.folder / "errors").read_text()
    assert not (served.folder / "ready").exists()
