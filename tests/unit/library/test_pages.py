import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typing_extensions import override

from penstock.library import pages
from penstock.library.config import LibraryConfig
from penstock.web_api.config import WebConfig
from penstock.web_api.service import create_service

STATIC = files("penstock.library") / "static"
PLAYER = "hls-1.7.4.min.js"


def make(config: LibraryConfig) -> FastAPI:
    """A service of the pages alone."""
    return create_service(
        WebConfig(service="library", version="1", node="here"),
        title="Pages",
        description="",
        routers=[pages.routes(config)],
        checks={},
    )


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client of the pages, with nothing configured."""
    with TestClient(make(LibraryConfig())) as client:
        yield client


class Document(HTMLParser):
    """What a page loads, and whether anything in it is inline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self._script = False
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self._script = tag in {"script", "style"} and "src" not in given
        if tag in {"script", "img", "video", "source"} and given.get("src"):
            self.loads.append(str(given["src"]))
        if tag == "link":
            self.loads.append(str(given["href"]))

    @override
    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)


@pytest.mark.parametrize("path", ["/", "/watch/01k2ad9w7m4bq9x0j7e5c3v8hn"])
def test_a_page_loads_only_what_its_policy_allows(client: TestClient, path: str) -> None:
    """No inline script or style, nothing from another host, and everything it names is there with the right type."""
    response = client.get(path)
    document = Document(response.text)
    assert document.inline == []
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert document.loads
    for address in document.loads:
        assert address.startswith("/static/")
        loaded = client.get(address)
        assert loaded.status_code == 200
        assert loaded.headers["x-content-type-options"] == "nosniff"


def test_media_from_elsewhere_is_allowed_only_when_it_is_streamed_from_there() -> None:
    """With streaming nodes or a CDN of their own the policy names them, for media and connections alone."""
    config = LibraryConfig(public_url="https://video.example", streaming_url="https://cdn.example/")
    with TestClient(make(config)) as client:
        policy = client.get("/watch/x").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["connect-src"] == "'self' https://cdn.example"
    assert rules["media-src"] == "'self' https://cdn.example blob:"
    assert rules["script-src"] == "'self'"


def test_a_watch_page_tells_nobody_its_address(client: TestClient) -> None:
    """The address may carry a signature."""
    assert client.get("/watch/x").headers["referrer-policy"] == "no-referrer"


def test_a_file_is_fetched_once(client: TestClient) -> None:
    """A page is asked about again and answered with 304; a vendored file, named by its version, is kept for ever."""
    page = client.get("/static/watch.js")
    again = client.get("/static/watch.js", headers={"if-none-match": page.headers["etag"]})
    assert (page.headers["cache-control"], again.status_code, again.content) == ("no-cache", 304, b"")
    assert "immutable" in client.get(f"/static/vendor/{PLAYER}").headers["cache-control"]


def test_head_answers_like_get_without_the_body(client: TestClient) -> None:
    """Same status and length."""
    head, get = client.head("/"), client.get("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    "name", ["nothing.js", "watch.html", "../pages.py", "..%2fpages.py", "vendor/README.md", "vendor/", "%00"]
)
def test_only_the_files_of_the_pages_are_served(client: TestClient, name: str) -> None:
    """Names are looked up, never opened."""
    response = client.get(f"/static/{name}")
    assert (response.status_code, response.json()["code"]) == (404, "route_not_found")


def test_the_vendored_player_is_the_one_that_is_named() -> None:
    """File, table and page agree on one digest, and its licence lies beside it."""
    content = (STATIC / "vendor" / PLAYER).read_bytes()
    digest = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
    table, page = (STATIC / "vendor" / "README.md").read_text(), (STATIC / "watch.html").read_text()
    assert re.search(rf"`{PLAYER}`.*`{re.escape(digest)}`", table)
    assert f'/static/vendor/{PLAYER}" integrity="{digest}"' in page
    assert "Apache License" in (STATIC / "vendor" / "hls-LICENSE.txt").read_text()
