from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from penstock.settings import Settings
from penstock.wiring import apps, first_start, folders
from penstock.wiring.parts import Parts
from tests.serving import serving


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The parts of a prepared folder."""
    settings = Settings.load(data=tmp_path / "data")
    folders.make_folders(settings)
    with closing(Parts(settings)) as parts:
        first_start.prepare_records(parts)
        yield parts


@pytest.fixture
def web(parts: Parts) -> Iterator[httpx.Client]:
    """All services on one port, with the administrator's key."""
    key = parts.settings.admin_key_file.read_text().strip()
    headers = {"Authorization": f"Bearer {key}"}
    with serving(apps.web(parts)) as base, httpx.Client(base_url=base, headers=headers, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/videos", 200),
        ("/api/me", 200),
        ("/api/status/01k2ad9w7m4bq9x0j7e5c3v8hn", 404),
        ("/api/uploads/01k2ad9w7m4bq9x0j7e5c3v8hn", 404),
        ("/stream/token/video/generation/master.m3u8", 403),
        ("/watch/01k2ad9w7m4bq9x0j7e5c3v8hn", 200),
        ("/health", 200),
        ("/nothing/here", 404),
    ],
)
def test_one_port_has_every_service(web: httpx.Client, path: str, status: int) -> None:
    """Upload, status, library, streaming, pages and operations answer side by side."""
    assert web.get(path).status_code == status


def test_readiness_covers_everything_that_the_process_needs(web: httpx.Client) -> None:
    """Records and both stores are asked; the process is called by its own name."""
    answer = web.get("/status").json()
    assert (answer["service"], answer["status"]) == ("web", "ok")
    assert {item["name"] for item in answer["dependencies"]} == {"catalog", "sources", "outputs"}


def test_the_document_served_is_that_of_all_services(web: httpx.Client, parts: Parts) -> None:
    """One description of everything on the port, and the same as the one that is checked in is made from."""
    served = web.get("/openapi.json").json()
    assert {"/api/uploads", "/api/videos", "/api/status/{video_id}"} <= set(served["paths"])
    assert served == apps.document(parts)


def test_streaming_alone_touches_no_records(tmp_path: Path) -> None:
    """Its process needs the outputs and the signing keys; no database is opened or made."""
    settings = Settings.load(data=tmp_path / "data")
    folders.make_folders(settings)
    with closing(Parts(settings)) as parts, serving(apps.site("streaming", parts)) as base:
        assert httpx.get(f"{base}/status", timeout=60).status_code == 200
        assert "catalog" not in vars(parts)
    assert not (settings.folder / "penstock.db").exists()
