from pathlib import Path

import pytest
from starlette.requests import Request

from penstock.access.config import AccessConfig
from penstock.access.keyring import Keyring
from penstock.library.config import LibraryConfig
from penstock.library.playback import Playback, Wish
from penstock.video import identity

VIDEO, GENERATION = identity.new_id(), identity.new_id()


def addresses(config: LibraryConfig, folder: Path, host: str, scheme: str = "http") -> tuple[str, str]:
    """Where the playlist and the page are said to be, to a client that called ``host``."""
    access = AccessConfig(keyring_path=folder / "keyring.json")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "scheme": scheme,
        "server": ("10.0.0.7", 8800),
        "headers": [(b"host", host.encode("latin-1"))],
    }
    playback = Playback(config, access, Keyring(access.keyring_path), lambda: 0.0).called_by(Request(scope))
    session = playback.open(VIDEO, GENERATION, 60, Wish())
    return session.address("master.m3u8"), playback.watch_page(VIDEO, signed=False)


@pytest.mark.parametrize(
    ("host", "root"),
    [
        ("127.0.0.1:8800", "http://127.0.0.1:8800"),
        ("video.example", "http://video.example"),
        ("[::1]:8800", "http://[::1]:8800"),
        ("", "http://10.0.0.7:8800"),
        ("evil.example/?", "http://10.0.0.7:8800"),
        ("user@evil.example", "http://10.0.0.7:8800"),
        ("a b", "http://10.0.0.7:8800"),
    ],
)
def test_addresses_begin_with_the_one_that_was_called(tmp_path: Path, host: str, root: str) -> None:
    """So that a page and its media have one origin under whatever name; what is no host is not repeated."""
    playlist, page = addresses(LibraryConfig(), tmp_path, host)
    assert playlist.startswith(f"{root}/stream/")
    assert page == f"{root}/watch/{VIDEO}"


def test_configured_addresses_are_given_to_everyone(tmp_path: Path) -> None:
    """Behind a proxy and a CDN, whatever the request looked like from here."""
    config = LibraryConfig(public_url="https://video.example/", streaming_url="https://cdn.example")
    playlist, page = addresses(config, tmp_path, "10.0.0.7:8800")
    assert playlist.startswith("https://cdn.example/stream/")
    assert playlist.endswith(f"/{VIDEO}/{GENERATION}/master.m3u8")
    assert page == f"https://video.example/watch/{VIDEO}"
    assert addresses(LibraryConfig(public_url="https://video.example"), tmp_path, "x")[0].startswith(
        "https://video.example/stream/"
    )
