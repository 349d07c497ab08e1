"""A real browser on a real platform: Debian's Chromium, which plays H.264 and AAC, driven by Playwright."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from penstock.client import Client
from scripts import servers
from tests.cluster.conftest import start
from tests.cluster.running import Platform

__all__ = ["start"]

_FLAGS = (
    "--no-sandbox",  # the tests may run as root, where Chromium's own sandbox refuses to
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of orders that the shared platform's processes carry out when they come to a named point."""
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, orders: Path) -> Iterator[Platform]:
    """A running platform that the tests of a file share; three rungs, so that what takes time is playing."""
    settings = {"PLAN_MAX_RUNG": "480", "FAULTS": str(orders)}
    platform = Platform(tmp_path_factory.mktemp("platform") / "data", settings)
    try:
        yield platform.start()
    finally:
        platform.close()


@pytest.fixture(scope="module")
def browser_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser with an empty profile. A missing one fails the test that asked for it.

    Not one for the whole session: while Playwright runs, its event loop counts as running in this thread, and every later test
    of this worker that calls ``asyncio.run`` would fail.
    """
    chromium = next(program.find() for program in servers.PROGRAMS if program.name == "chromium")
    if chromium is None:
        pytest.fail(
            "Chromium is not installed; run: sudo make servers (or leave out the tests marked needs_chromium)"
        )
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=chromium, headless=True, args=_FLAGS
        )
        yield context
        context.close()


@pytest.fixture
def client(platform: Platform) -> Iterator[Client]:
    """The administrator's program."""
    with platform.client() as client:
        yield client


@pytest.fixture
def complaints() -> list[str]:
    """What the page complained about: errors of scripts, of the security policy, of the network."""
    return []


@pytest.fixture
def page(browser_context: BrowserContext, complaints: list[str]) -> Iterator[Page]:
    """A tab."""
    page = browser_context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None
    )
    yield page
    page.close()


@pytest.fixture(scope="session")
def looped(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """A real clip repeated to a length in seconds."""
    folder = tmp_path_factory.mktemp("looped")

    def make(seconds: float) -> Path:
        path = folder / f"{seconds}.mp4"
        if path.exists():
            return path
        source = str(clips / "bigbuckbunny.mp4")
        arguments = ["-stream_loop", "-1", "-i", source, "-t", str(seconds), "-map", "0:v:0", "-map", "0:a:0"]
        subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments, "-c", "copy", str(path)], check=True
        )
        return path

    return make
