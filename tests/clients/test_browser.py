"""Uppy and tus-js-client in a real browser, as the documentation shows them: lines that break, servers that die, closed tabs."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from typing_extensions import override

from tests.browser.conftest import browser_context
from tests.clients.conftest import Shaky
from tests.clients.documented import bundled, lay_out
from tests.contract.upload.conftest import MIB, content

__all__ = ["browser_context"]

pytestmark = [pytest.mark.needs_chromium, pytest.mark.needs_node, pytest.mark.xdist_group("browser-clients")]

_PAGE = "<!doctype html><title>Upload</title><input type=file><progress></progress><output></output><script>{}</script>"
_PATIENCE_MS = 120_000


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """20 MiB that are chosen in a page."""
    path = tmp_path / "holiday.mp4"
    path.write_bytes(content(20 * MIB))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where examples are laid out."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def written(script: str, **given: str) -> str:
    """A page that holds the example, and what a site gives to it."""
    known = "".join(f"window.{name} = {json.dumps(value)};" for name, value in given.items())
    return _PAGE.format(known + script.replace("</script", "<\\/script"))


def opened(browser: BrowserContext, shaky: Shaky, script: str, **given: str) -> Page:
    """A tab with a page of the server's own address."""
    page = browser.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    body = written(script, **given)
    page.route(
        f"{shaky.url}/site", lambda route: route.fulfill(content_type="text/html; charset=utf-8", body=body)
    )
    page.goto(f"{shaky.url}/site")
    return page


@contextmanager
def site(page: str) -> Iterator[str]:
    """A server of its own that has one page; its address. A browser distrusts pages that came from nowhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        @override
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def finished(page: Page, film: Path, shaky: Shaky) -> None:
    """The page says which video it is, and the server keeps the film under that id."""
    expect(page.locator("output")).to_contain_text("video ", timeout=_PATIENCE_MS)
    shaky.assert_has(film, page.locator("output").inner_text().split()[1])


def address(shaky: Shaky, folder: Path) -> str:
    """What a site's own server asks for, as the documentation shows it."""
    example = lay_out("address.sh", folder)
    environment = {**os.environ, "PENSTOCK": shaky.url, "KEY": shaky.key}
    answer = subprocess.run(
        ["sh", str(example)], cwd=folder.parent, env=environment, capture_output=True, text=True, check=True
    )
    return str(json.loads(answer.stdout)["url"])


def nothing() -> None:
    """The server stays."""


@pytest.mark.parametrize("killed", [False, True], ids=["line", "server"])
@pytest.mark.parametrize("name", ["uppy-page.js", "tus-page.js"])
def test_a_page_goes_on_by_itself(
    browser_context: BrowserContext, shaky: Shaky, film: Path, folder: Path, name: str, killed: bool
) -> None:
    """The connection is reset in the middle, once with the server behind it: the page goes on, and nobody has to do anything."""
    script = bundled(name, folder)
    given = {"KEY": shaky.key} if name == "uppy-page.js" else {"ADDRESS": address(shaky, folder)}
    page = opened(browser_context, shaky, script, **given)
    then: Callable[[], None] = shaky.kill_and_start_again if killed else nothing
    shaky.proxy.cut_after(13 * MIB, then=then)
    page.locator("input").set_input_files(film)
    finished(page, film, shaky)
    assert shaky.proxy.cuts == 1
    page.close()


def test_a_page_of_another_origin_uploads(
    browser_context: BrowserContext, shaky: Shaky, film: Path, folder: Path
) -> None:
    """A site elsewhere gives its pages a signed address; the browser lets them use it, and go on after a reset."""
    given = shaky.url + address(shaky, folder)
    with site(written(bundled("tus-page.js", folder), ADDRESS=given)) as elsewhere:
        page = browser_context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(elsewhere)
        shaky.proxy.cut_after(13 * MIB)
        page.locator("input").set_input_files(film)
        finished(page, film, shaky)
        assert shaky.proxy.cuts == 1
        page.close()


def test_a_tab_that_was_closed_goes_on_in_another(
    browser_context: BrowserContext, shaky: Shaky, film: Path, folder: Path
) -> None:
    """The line stays down and the tab is closed; later the same file is chosen in a new one, and only the rest is sent."""
    script = bundled("uppy-page.js", folder)
    page = opened(browser_context, shaky, script, KEY=shaky.key)
    shaky.proxy.cut_after(13 * MIB, then=lambda: shaky.proxy.refuse(True))
    with page.expect_event("requestfailed", lambda request: request.method == "PATCH"):
        page.locator("input").set_input_files(film)
    page.close()
    shaky.proxy.refuse(False)
    sent = shaky.proxy.received
    again = opened(browser_context, shaky, script, KEY=shaky.key)
    again.locator("input").set_input_files(film)
    finished(again, film, shaky)
    assert shaky.proxy.received - sent < 17 * MIB
    again.close()
