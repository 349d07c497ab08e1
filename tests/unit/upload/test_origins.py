import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from penstock.upload.origins import OtherOrigins

ORIGIN = {"origin": "https://elsewhere.example"}


async def answer(_request: Request) -> Response:
    """Something that clients of tus read."""
    return Response(headers={"upload-offset": "7"})


@pytest.fixture
def client() -> TestClient:
    """A service with the layer."""
    routes = [Route(path, answer, methods=["PATCH", "GET"]) for path in ("/api/uploads/tus/x", "/metrics")]
    app = Starlette(routes=routes)
    app.add_middleware(OtherOrigins)
    return TestClient(app)


def test_a_browser_may_send_what_tus_needs(client: TestClient) -> None:
    """It asks before the request, with the method and the headers that are to come."""
    asked = "authorization, tus-resumable, upload-offset, content-type, idempotency-key, upload-checksum"
    told = client.options(
        "/api/uploads/tus/x",
        headers={
            **ORIGIN,
            "access-control-request-method": "PATCH",
            "access-control-request-headers": asked,
        },
    )
    assert told.status_code == 200
    assert told.headers["access-control-allow-origin"] == "*"
    assert "PATCH" in told.headers["access-control-allow-methods"]
    assert set(asked.split(", ")) <= set(told.headers["access-control-allow-headers"].lower().split(", "))


def test_a_page_may_read_what_tus_answers(client: TestClient) -> None:
    """And no cookie goes along: the permission is the key or the address."""
    answered = client.patch("/api/uploads/tus/x", headers=ORIGIN)
    exposed = answered.headers["access-control-expose-headers"]
    for name in (
        "Location",
        "Upload-Offset",
        "Upload-Length",
        "Tus-Resumable",
        "Penstock-Video-Id",
        "Retry-After",
    ):
        assert name in exposed
    assert "access-control-allow-credentials" not in answered.headers


def test_metrics_are_for_no_page(client: TestClient) -> None:
    """What is not part of the API is not read from elsewhere."""
    assert "access-control-allow-origin" not in client.get("/metrics", headers=ORIGIN).headers
