"""What strangers and other owners send to the platform that a user starts: nothing opens, nothing breaks, nothing stays stuck."""

import base64
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.access import api_keys
from penstock.access.keyring import Keyring
from penstock.access.playback import PlaybackGrant, mint
from penstock.access.principals import Scope
from penstock.catalog import Catalog, CatalogConfig, accounts
from penstock.catalog.words import Role
from penstock.video.identity import new_id
from tests.cluster.running import PATIENCE, Platform, eventually

pytestmark = pytest.mark.xdist_group("hostile-requests")  # one platform serves all tests of this file

CLIP = "bbb_176x144_128kbps_15fps_h263.3gp"
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
# What a segment of a path may be: names of things that are there, so that a refusal is about whose they are.
KNOWN = {"track", "file", "number", "generation_id", "token"}
IDS = {"video_id", "upload_id"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Olga's private video and her open upload, with Stan's key in other hands."""

    platform: Platform
    olga: dict[str, str]
    stan: dict[str, str]
    video_id: str
    upload_id: str
    hls: str  # the path of her playlist, with her token in it
    stans: str  # the same of a video of Stan's

    @property
    def segments(self) -> list[str]:
        """Of her playlist's path: nothing, ``stream``, token, video, generation, file."""
        return self.hls.split("/")

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """One request over a connection of its own."""
        return httpx.request(method, f"{self.platform.url}{path}", headers=headers, timeout=60, **more)


def account(data: Path, name: str) -> dict[str, str]:
    """A further account, with the header that its key makes."""
    catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{data / 'penstock.db'}"))
    key = api_keys.new()
    with catalog.write() as tx:
        made = accounts.create(tx, login=name, name=name.title(), role=Role.USER)
        accounts.add_key(
            tx, account_id=made.id, name="test", prefix=key.prefix, digest=key.digest, scopes=frozenset(Scope)
        )
    catalog.close()
    return {"authorization": f"Bearer {key.text}"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Iterator[Scene]:
    """A running platform with two owners."""
    data = tmp_path_factory.mktemp("platform") / "data"
    platform = Platform(data, {"PLAN_MAX_RUNG": "240", "WEB_JSON_BODY_S": "2", "UPLOAD_IDLE_TIMEOUT_S": "2"})
    try:
        platform.start()
        olga, stan = account(data, "olga"), account(data, "stan")
        hls = {}
        videos = {}
        for name, key in (("olga", olga), ("stan", stan)):
            parameters = {"filename": f"{name}.3gp", "visibility": "private"}
            answer = httpx.post(
                f"{platform.url}/api/uploads", params=parameters, content=(clips / CLIP).read_bytes(),
                headers={**key, "content-type": "video/3gpp"}, timeout=60,
            )  # fmt: skip
            assert answer.status_code == 201, answer.text
            videos[name] = answer.json()["id"]
        for name, key in (("olga", olga), ("stan", stan)):

            def playable(path: str = f"/api/videos/{videos[name]}", key: dict[str, str] = key) -> str | None:
                video = httpx.get(f"{platform.url}{path}", headers=key, timeout=60).json()
                return str(video["playback"]["hls"]) if video["state"] == "ready" else None

            hls[name] = eventually(playable, "the clip is ready").removeprefix(platform.url)
        body = {"filename": "later.mp4", "size": 10, "transport": "direct"}
        opened = httpx.post(
            f"{platform.url}/api/uploads/initiate", json=body, headers=olga, timeout=60
        ).json()
        yield Scene(platform, olga, stan, videos["olga"], opened["upload_id"], hls["olga"], hls["stan"])
        assert not platform.log("request_failed")
        assert not platform.log("process_crashed")
    finally:
        platform.close()


def answered_slowly(scene: Scene, stop: threading.Event) -> dict[str, bytes]:
    """What each kind of slow client was told before its connection was closed."""
    host, port = scene.platform.url.removeprefix("http://").split(":")
    key = scene.olga["authorization"].encode()
    json_head = b"POST /api/uploads/initiate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    upload = (
        b"POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nhost: x\r\nauthorization: %s\r\ncontent-length: 1000\r\n\r\n"
        % key
    )
    kinds = {
        "silence": (b"", b""),
        "half a head": (b"GET /health HTTP/1.1\r\nhost: x\r\na: ", b""),
        "a head that drips": (b"GET /health HTTP/1.1\r\n", b"a: b\r\n"),
        "an idle connection": (b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", b""),
        "half a body": (json_head + b"{", b""),
        "a body that drips": (json_head + b"{", b" "),
        "an upload that stops": (upload + b"abc", b""),
    }
    answers = dict.fromkeys(kinds, b"")
    with ExitStack() as connections:
        open_ = {
            what: connections.enter_context(socket.create_connection((host, int(port)), timeout=1))
            for what in kinds
        }
        for what, connection in open_.items():
            connection.sendall(kinds[what][0])
        deadline = time.monotonic() + PATIENCE
        while open_ and not stop.is_set() and time.monotonic() < deadline:
            for what, connection in list(open_.items()):
                connection.settimeout(0.2)
                try:
                    connection.sendall(kinds[what][1])
                    data = connection.recv(65536)
                except TimeoutError:
                    continue
                except OSError:
                    data = b""
                answers[what] += data
                # A server that answered in full may leave the connection to its client, who is to speak next.
                if not data or b" 408 " in data:
                    open_.pop(what).close()
            assert scene.ask("GET", "/health").status_code == 200
        assert not open_, f"still open: {list(open_)}"
    return answers


@pytest.fixture(scope="module", autouse=True)
def slow_clients(scene: Scene) -> Iterator[Future[dict[str, bytes]]]:
    """Slow clients beside all tests of this file: it takes the server half a minute to give the last of them up."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(answered_slowly, scene, stop)
        stop.set()


def told(answer: httpx.Response) -> tuple[int, Any]:
    """All that an answer says, but for the id of the request and times."""
    if not answer.content:
        return answer.status_code, sorted(set(answer.headers) - {"date", "x-request-id"})
    try:
        said = answer.json()
    except ValueError:
        return answer.status_code, answer.text
    if isinstance(said, dict):
        said.pop("request_id", None)
    return answer.status_code, said


def operations(scene: Scene) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method and path of the document that the platform serves, with its description."""
    paths: dict[str, dict[str, Any]] = scene.ask("GET", "/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, description in methods.items():
            if method in METHODS:
                yield method, path, description


def filled(path: str, scene: Scene, ids: dict[str, str]) -> str:
    """A path of the document with values; a parameter that this test has not heard of is an error."""
    _, _, token, _, generation, _ = scene.segments
    values = {
        "track": "144p", "file": "poster.jpg", "number": "1", "generation_id": generation, "token": token, **ids
    }  # fmt: skip
    unknown = set(re.findall(r"{(\w+)}", path)) - values.keys()
    assert not unknown, f"{path} has parameters that nobody has thought of here: {unknown}"
    return path.format_map(values)


def body_for(description: dict[str, Any], scene: Scene, ids: dict[str, str]) -> Any:
    """A body that names a thing by its id, None where the operation takes none that does."""
    content = description.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    schemas = scene.ask("GET", "/openapi.json").json()["components"]["schemas"]
    properties = schemas.get(name, {}).get("properties", {})
    return {key: value for key, value in ids.items() if key in properties} or {}


def test_no_route_tells_what_belongs_to_another(scene: Scene) -> None:
    """Asked by Stan and by nobody, each operation answers for Olga's things exactly as for things that never were."""
    asked = 0
    before = scene.ask("GET", f"/api/videos/{scene.video_id}", scene.olga).json()
    real = {"video_id": scene.video_id, "upload_id": scene.upload_id}
    for method, path, description in operations(scene):
        if path.startswith("/stream/"):
            continue  # permission is in the path there: see below
        body = body_for(description, scene, real)
        if not (IDS & set(re.findall(r"{(\w+)}", path)) or body):
            continue
        made_up = {"video_id": new_id(), "upload_id": new_id()}
        for key in (scene.stan, {}):
            answers = []
            for ids in (real, made_up):
                sent = None if body is None else body_for(description, scene, ids)
                answer = scene.ask(method, filled(path, scene, ids), key, json=sent)
                assert answer.status_code in {400, 401, 403, 404, 405, 409, 412, 415, 422}, (
                    method,
                    path,
                    answer.text,
                )
                answers.append(told(answer))
            assert answers[0] == answers[1], (method, path)
            asked += 1
    assert asked >= 20
    after = scene.ask("GET", f"/api/videos/{scene.video_id}", scene.olga).json()
    for name in ("title", "filename", "visibility", "state", "owner"):
        assert after[name] == before[name]
    assert (
        scene.ask("GET", f"/api/uploads/{scene.upload_id}", scene.olga).json()["upload_id"] == scene.upload_id
    )
    assert scene.video_id not in scene.ask("GET", "/api/videos", scene.stan).text
    assert scene.video_id not in scene.ask("GET", "/api/videos").text


def forged(scene: Scene, data: Path, folder: Path) -> dict[str, str]:
    """Tokens that say the right thing and were not given for it."""
    _, _, token, video, generation, _ = scene.segments
    _, _, stans, _, _, _ = scene.stans.split("/")
    grant = PlaybackGrant(video, generation, new_id(), int(time.time()) + 3600)
    claims = {"sub": video, "gen": generation, "exp": int(time.time()) + 3600}

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    ours = Keyring(data / "keyring.json")
    return {
        "of another video": stans,
        "of a strange key": mint(Keyring(folder / "strange.json"), grant),
        "expired": mint(ours, PlaybackGrant(video, generation, new_id(), int(time.time()) - 1)),
        "without an algorithm": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.",
        "with a key as its own proof": f"{part({'alg': 'HS256', 'kid': '../../keyring.json'})}.{part(claims)}.x",
        "an API key": scene.olga["authorization"].removeprefix("Bearer "),
        "lengthened": token + "AAAA",
        "shortened": token[:-4],
        "doubled": token + token,
        "in another spelling": token.swapcase(),
        "padded": token + "=",
        "with a zero byte": token + "%00",
        "nothing but dots": "..",
    }


def test_no_token_opens_what_it_was_not_given_for(scene: Scene, tmp_path: Path) -> None:
    """Every streaming route refuses forged, foreign, expired and altered tokens, and repeats of signatures elsewhere."""
    routes = [
        path for method, path, _ in operations(scene) if path.startswith("/stream/") and method == "get"
    ]
    assert len(routes) >= 7
    tokens = forged(scene, scene.platform.data, tmp_path)
    for path in routes:
        ids = {"video_id": scene.video_id}
        good = filled(path, scene, ids)
        assert scene.ask("GET", good).status_code in {200, 404}  # there is no captions file, for instance
        for what, token in tokens.items():
            refused = scene.ask("GET", filled(path, scene, {**ids, "token": token}))
            assert refused.status_code in {403, 404}, (what, path, refused.text)
            assert token not in refused.text or len(token) < 5, what
        foreign = filled(path, scene, {**ids, "generation_id": new_id()})
        assert scene.ask("GET", foreign).status_code == 403
    # A signature for one upload is none for another, nor for another part of it.
    body = {"filename": "a.mp4", "size": 10, "transport": "direct"}
    first, second = (
        scene.ask("POST", "/api/uploads/initiate", scene.olga, json=body).json() for _ in range(2)
    )
    path, query = first["parts"][0]["url"].removeprefix(scene.platform.url).split("?")
    replayed = path.replace(first["upload_id"], second["upload_id"])
    for tried in (replayed, path.replace("/parts/1", "/parts/2"), path.replace("/parts/1", "/content")):
        answer = scene.ask("PUT", f"{tried}?{query}", content=b"0123456789")
        assert answer.status_code in {403, 404}, (tried, answer.text)
    assert scene.ask("PUT", f"{path}?{query}x", content=b"0123456789").status_code == 403


def raw(scene: Scene, request: bytes, patience: float = PATIENCE) -> bytes:
    """What comes back over a connection until the other side closes it."""
    host, port = scene.platform.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=patience) as connection:
        try:
            connection.sendall(request)
            while data := connection.recv(65536):
                answer += data
        except (ConnectionResetError, BrokenPipeError):
            pass  # refused before all of it was read
    return answer


PATHS = [
    "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/..%5c..%5cetc", "//etc/passwd",
    "/static/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/app.py", "/static//etc/passwd", "/watch/..%2f..%2fdata",
    "/api/videos/..%2f..%2fadmin.key", "/api/videos/%00", "/api/videos/%ff%fe", "/api/videos/%c0%ae%c0%ae/",
    "/api/uploads/..%2f..%2fpenstock.db", "/api/status/../../keyring.json", "/data/admin.key", "/.git/config",
]  # fmt: skip


def test_no_path_leads_out(scene: Scene) -> None:
    """Dots, encoded once and twice, backslashes, empty parts, zero bytes: only what has a route is answered."""
    head, _, token, video, generation, _ = scene.segments
    inside = f"{head}/stream/{token}/{video}/{generation}"
    names = ("..%2f..%2fkeyring.json", "../../../keyring.json", "%2e%2e/%2e%2e/index.m3u8", "144p/..%2f1.m4s", "poster.jpg%00",
             "144p/00000001.m4s", "144p/-1.m4s", "144p/1e3.m4s", "144p/99999999999999999999.m4s", "%2e", "..;/x", "144p%2f1.m4s")  # fmt: skip
    for path in (*PATHS, *(f"{inside}/{name}" for name in names)):
        # By hand: a client would tidy the path up.
        answer = raw(scene, f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        status = int(answer.split(b" ", 2)[1])
        assert status in {400, 403, 404}, (path, answer[:300])
        for leak in (b"root:", b"pst_", str(scene.platform.data).encode(), b"Traceback", b"site-packages"):
            assert leak not in answer, path


HEADS = {
    "a hundred fields": b"GET /health HTTP/1.1\r\n"
    + b"".join(b"A%d: b\r\n" % n for n in range(200))
    + b"\r\n",
    "ten thousand fields": b"GET /health HTTP/1.1\r\n"
    + b"".join(b"A%d: b\r\n" % n for n in range(10_000))
    + b"\r\n",
    "a field of megabytes": b"GET /health HTTP/1.1\r\nA: " + b"x" * 2_000_000 + b"\r\n\r\n",
    "a path of kilobytes": b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
    "a zero byte": b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two lengths": b"POST /api/uploads/initiate HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    "a negative length": b"POST /api/uploads/initiate HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
    "an absurd length": b"POST /api/uploads/initiate HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    "a folded line": b"GET /health HTTP/1.1\r\nhost: x\r\n smuggled: y\r\n\r\n",
    "a space before the colon": b"GET /health HTTP/1.1\r\nhost : x\r\n\r\n",
}


@pytest.mark.parametrize("what", HEADS)
def test_a_head_that_is_none_ends_the_connection(scene: Scene, what: str) -> None:
    """With a short refusal; the service goes on."""
    answer = raw(scene, HEADS[what])
    assert re.match(rb"HTTP/1.1 (400|414|431) ", answer), answer[:200]
    assert len(answer) < 1000
    assert scene.ask("GET", "/health").status_code == 200


def test_ranges_without_end(scene: Scene) -> None:
    """Thousands of ranges, overlapping, huge, backwards: one answer of no more than the segment's own size."""
    path = f"{scene.hls.removesuffix('master.m3u8')}144p/1.m4s"
    whole = scene.ask("GET", path)
    assert whole.status_code == 200
    for ranges in (
        ",".join("0-0" for _ in range(5000)),
        ",".join(f"{n}-" for n in range(2000)),
        "0-99999999999999999999999999",
        "99999999999999999999999999-",
        "-99999999999999999999999999",
        "5-1",
        "-0",
        "a-b",
        "0-0;1-1",
    ):
        answer = scene.ask("GET", path, {"range": f"bytes={ranges}"})
        assert answer.status_code in {200, 206, 416}, (ranges[:40], answer.status_code)
        assert len(answer.content) <= len(whole.content) or answer.status_code == 416


JSON = {
    "a hundred thousand brackets": b"[" * 100_000 + b"]" * 100_000,
    "thirty thousand objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
    "a number of five thousand digits": b'{"filename":"a.mp4","size":1%s,"transport":"direct"}'
    % (b"0" * 5000),
    "an infinite number": b'{"filename":"a.mp4","size":1e400,"transport":"direct"}',
    "no number": b'{"filename":"a.mp4","size":NaN,"transport":"direct"}',
    "half a character": b'{"filename":"a\\ud800.mp4","title":"\\ud800","size":1,"transport":"direct"}',
    "a zero byte": b'{"filename":"a\\u0000.mp4","title":"\\u0000","size":1,"transport":"direct"}',
    "no UTF-8": b'{"filename":"\xff\xfe","title":"\xff","size":1,"transport":"direct"}',
    "a name of kilobytes": b'{"filename":"%s","title":"%s","size":1}' % (b"a" * 100_000, b"a" * 100_000),
    "another shape": b'["filename"]',
    "nothing": b"",
}


@pytest.mark.parametrize("what", JSON)
def test_json_that_is_a_trap(scene: Scene, what: str) -> None:
    """Depth, size, numbers and characters: refused as invalid by every operation that reads a body."""
    asked = 0
    ids = {"video_id": scene.video_id, "upload_id": scene.upload_id}
    for method, path, description in operations(scene):
        if "application/json" not in description.get("requestBody", {}).get("content", {}):
            continue
        headers = {**scene.olga, "content-type": "application/json"}
        answer = scene.ask(method, filled(path, scene, ids), headers, content=JSON[what])
        assert answer.status_code in {400, 413, 422}, (path, answer.text)
        assert len(answer.content) < 10_000
        asked += 1
    assert asked >= 4


def test_a_body_that_is_too_large_is_not_read(scene: Scene) -> None:
    """Announced or not, no more than the limit is taken."""
    for framing in (b"content-length: 999999999", b"transfer-encoding: chunked"):
        head = (
            b"POST /api/uploads/initiate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            + framing
            + b"\r\n\r\n"
        )
        body = (
            (b"%x\r\n" % 1_000_000 + b"1" * 1_000_000 + b"\r\n")
            if b"chunked" in framing
            else b"1" * 1_000_000
        )
        assert b" 413 " in raw(scene, head + body)[:20]


def test_a_hundred_connections_that_say_nothing_delay_nobody(scene: Scene) -> None:
    """They cost a descriptor each until their time is up."""
    host, port = scene.platform.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(300)]
    try:
        assert scene.ask("GET", f"/api/videos/{scene.video_id}", scene.olga).status_code == 200
        assert scene.ask("GET", scene.hls).status_code == 200
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("other", ["cancel", "delete", "complete"])
def test_completing_races(scene: Scene, clips: Path, other: str) -> None:
    """Against cancelling, deleting and itself: each answer is one of the contract, and the end is one of two."""
    data = (clips / CLIP).read_bytes()
    for round_ in range(4):
        body = {
            "filename": f"{other}-{round_}.3gp",
            "size": len(data),
            "transport": "put",
            "title": f"{other} {round_}",
        }
        opened = scene.ask(
            "POST",
            "/api/uploads/initiate",
            scene.olga,
            json={**body, "allow_duplicate": True},
        )
        session = opened.json()
        assert opened.status_code == 201, opened.text
        url = session["url"].removeprefix(scene.platform.url)
        assert scene.ask("PUT", url, content=data).status_code == 200
        upload_id, video_id = session["upload_id"], session["video_id"]
        complete = ("POST", "/api/uploads/complete", {"upload_id": upload_id})
        against = {
            "cancel": ("DELETE", f"/api/uploads/{upload_id}", None),
            "delete": ("DELETE", f"/api/videos/{video_id}", None),
            "complete": complete,
        }[other]
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(
                    lambda each: scene.ask(each[0], each[1], scene.olga, json=each[2]),
                    [complete, against] * 4,
                )
            )
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {200, 204, 404, 409, 410}, [answer.text for answer in answers]
        video = scene.ask("GET", f"/api/status/{video_id}", scene.olga)
        if 200 in statuses and other == "complete":
            assert video.json()["state"] in {
                "uploaded",
                "processing",
                "ready",
                "deleted",
            }  # a duplicate is deleted
        if other == "delete":
            assert video.json()["state"] == "deleted"


def test_retry_and_delete_race(scene: Scene, tmp_path: Path) -> None:
    """A failed video that is retried and deleted by many at once ends deleted."""
    answer = scene.ask(
        "POST", "/api/uploads?filename=broken.mp4", {**scene.olga, "content-type": "video/mp4"}, content=b"no video" * 100
    )  # fmt: skip
    video_id = answer.json()["id"]
    path = f"/api/videos/{video_id}"
    eventually(
        lambda: scene.ask("GET", path, scene.olga).json()["state"] == "failed", "what is no video fails"
    )
    asks = [("POST", f"{path}/retry"), ("POST", f"{path}/retry"), ("DELETE", path)] * 3
    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(lambda each: scene.ask(each[0], each[1], scene.olga), asks))
    assert {answer.status_code for answer in answers} <= {202, 204, 404, 409}, [a.text for a in answers]
    assert scene.ask("GET", path, scene.olga).json()["state"] == "deleted"


def test_secrets_are_for_this_user_alone_and_in_no_log(scene: Scene) -> None:
    """After all that was asked above: files of mode 0600 in folders of mode 0700, one loopback port, and nothing in the logs."""
    data = scene.platform.data
    for name in ("admin.key", "keyring.json"):
        assert (data / name).stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    text = scene.platform.log_file.read_text()
    assert len(text) > 10_000
    keys = {
        "the administrator's key": (data / "admin.key").read_text().strip(),
        "Olga's key": scene.olga["authorization"].removeprefix("Bearer "),
        "Stan's key": scene.stan["authorization"].removeprefix("Bearer "),
    }
    secrets = {
        **{name: api_keys.parse(key).secret for name, key in keys.items()},
        "Olga's token": scene.segments[2],
        "Stan's token": scene.stans.split("/")[2],
    }
    ring = json.loads((data / "keyring.json").read_text())
    secrets |= {f"signing key {n}": value for n, value in enumerate(strings(ring)) if len(value) >= 32}
    assert len(secrets) > 5
    for name, secret in secrets.items():
        assert secret not in text, name
    assert "signature=" not in text
    assert scene.ask("GET", "/status").status_code == 200
    assert str(data) not in scene.ask("GET", "/status").text


def strings(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def test_only_this_machine_is_answered(scene: Scene) -> None:
    """Nothing of the platform listens on any other address than loopback, unless a setting says so."""
    port = int(scene.platform.url.rpartition(":")[2])
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, at = address.split(":")
            if state == "0A" and int(at, 16) == port:
                listening.append(host)
    assert listening == ["0100007F"]
    assert os.access(scene.platform.data, os.R_OK)


def test_slow_clients_are_given_up(slow_clients: Future[dict[str, bytes]]) -> None:
    """Silence, a head that never ends, a head and a body that drip: each connection is closed, the others are served."""
    answers = slow_clients.result()
    for what in ("half a body", "a body that drips", "an upload that stops"):
        assert b"body_stalled" in answers[what], (what, answers[what])
