import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import structlog
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from penstock.video.errors import (
    CatalogUnavailable,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    PenstockError,
    RateLimited,
    StorageFull,
    Unauthenticated,
)
from penstock.web_api import context, contract, problems
from penstock.web_api.config import WebConfig
from penstock.web_api.service import create_service

SECRET = "postgresql://penstock:hunter2@db.internal/penstock"
CONFIG = WebConfig(service="probe", version="1.2.3", node="node-a", json_body_limit=1000)
RAISED: dict[str, Exception] = {
    "forbidden": Forbidden("Not this one.", code="not_owner"),
    "unauthenticated": Unauthenticated("Who are you?"),
    "full": StorageFull("No room."),
    "limited": RateLimited("Slower.", retry_after=7),
    "fields": InvalidRequest(
        "Two are wrong.", errors=(FieldError("/body/a", "number"), FieldError("/body/b", "text"))
    ),
    "bug": RuntimeError(SECRET),
    "base": PenstockError("On purpose."),
}


class Thing(BaseModel):
    """A JSON body."""

    title: str = Field(max_length=5)
    sizes: dict[str, int] = Field(default_factory=dict)


def probe_router() -> APIRouter:
    """Endpoints that fail in every way, and some that work."""
    router = APIRouter()

    @router.get("/raise/{name}")
    def raise_it(name: str) -> None:
        raise RAISED[name]

    @router.post("/things")
    def things(thing: Thing) -> Thing:
        context.note(video_id="the-video")
        structlog.get_logger().info("thing_seen")
        return thing

    @router.get("/query")
    def query(limit: Annotated[int, Query(le=10)] = 1) -> int:
        return limit

    @router.post("/stream")
    async def stream(request: Request) -> dict[str, int]:
        return {"bytes": sum([len(part) async for part in request.stream()])}

    @router.get("/broken-stream")
    async def broken_stream() -> StreamingResponse:
        async def body() -> Any:
            yield b"begun"
            raise RuntimeError(SECRET)

        return StreamingResponse(body())

    @router.get("/trace")
    def trace() -> dict[str, str | None]:
        return {"traceparent": context.traceparent(), "request_id": context.request_id()}

    return router


def broken() -> None:
    """A dependency that is down, with a message that must stay inside."""
    raise CatalogUnavailable(SECRET)


def unreachable() -> None:
    """A dependency whose driver raises an error of its own."""
    raise ConnectionRefusedError(SECRET)


def make(checks: dict[str, Any] | None = None) -> FastAPI:
    """The probing service."""
    return create_service(
        CONFIG,
        title="Probe",
        description="For tests.",
        routers=[probe_router()],
        checks=checks or {},
        streams_body=lambda method, path: (method, path) == ("POST", "/stream"),
    )


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged, kept off the terminal: a readable traceback takes seconds to draw."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        yield lines


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client of the service; failures reach it as responses only."""
    with TestClient(make(), raise_server_exceptions=True) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("forbidden", 403, "not_owner"),
        ("unauthenticated", 401, "unauthenticated"),
        ("full", 507, "storage_full"),
        ("limited", 429, "rate_limited"),
        ("fields", 422, "invalid_request"),
        ("bug", 500, "internal_error"),
        ("base", 500, "internal_error"),
    ],
)
def test_every_error_is_a_problem_document(client: TestClient, name: str, status: int, code: str) -> None:
    """With the members of RFC 9457 and our code, uncached, naming the request."""
    response = client.get(f"/raise/{name}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:penstock:error:{code}")
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    problems.Problem.model_validate(body)


def test_an_unforeseen_failure_tells_nothing_of_the_inside(client: TestClient, logs: list[Any]) -> None:
    """Its text is in the log, under the id that the client was given, and not in the response."""
    response = client.get("/raise/bug")
    assert SECRET not in response.text
    assert "Traceback" not in response.text
    failure = next(line for line in logs if line["event"] == "request_failed")
    assert failure["request_id"] == response.json()["request_id"]
    assert SECRET in str(failure["exc_info"])


def test_the_headers_that_belong_to_an_error(client: TestClient) -> None:
    """401 names the scheme; a transient error says when to come back."""
    assert client.get("/raise/unauthenticated").headers["www-authenticate"].startswith("Bearer")
    assert client.get("/raise/limited").headers["retry-after"] == "7"
    assert int(client.get("/raise/full").headers["retry-after"]) > 0
    assert "retry-after" not in client.get("/raise/forbidden").headers


def test_named_fields_are_listed(client: TestClient) -> None:
    """An error that names fields carries them all."""
    assert client.get("/raise/fields").json()["errors"] == [
        {"pointer": "/body/a", "detail": "number"},
        {"pointer": "/body/b", "detail": "text"},
    ]


@pytest.mark.parametrize(
    ("method", "path", "arguments", "pointer"),
    [
        ("POST", "/things", {"json": {"title": "too long a title"}}, "/body/title"),
        ("POST", "/things", {"json": {}}, "/body/title"),
        ("POST", "/things", {"json": {"title": "x", "sizes": {"a/b~c": "d"}}}, "/body/sizes/a~1b~0c"),
        ("GET", "/query", {"params": {"limit": 11}}, "/query/limit"),
    ],
)
def test_invalid_input_points_at_the_field(
    client: TestClient, method: str, path: str, arguments: dict[str, Any], pointer: str
) -> None:
    """The framework's validation is rendered with JSON pointers, escaped as RFC 6901 says."""
    response = client.request(method, path, **arguments)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert [item["pointer"] for item in response.json()["errors"]] == [pointer]


def test_what_the_framework_refuses_is_a_problem_too(client: TestClient) -> None:
    """No such address, wrong method (with Allow), a body that is no JSON."""
    missing, method = client.get("/nowhere"), client.delete("/query")
    broken_json = client.post("/things", content=b"{", headers={"content-type": "application/json"})
    assert (missing.status_code, missing.json()["code"]) == (404, "route_not_found")
    assert (method.status_code, method.json()["code"], method.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET",
    )
    assert (broken_json.status_code, broken_json.json()["code"]) == (422, "invalid_request")


def test_a_body_over_the_limit_is_refused_announced_or_not(client: TestClient) -> None:
    """By its length before it is read, and by counting where no length came; a body within the limit passes."""
    announced = client.post("/things", json={"title": "x" * 2000})
    counted = client.post("/things", content=iter([b" " * 600, b" " * 600]))
    assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")
    assert (counted.status_code, counted.json()["code"]) == (413, "body_too_large")
    assert client.post("/things", json={"title": "fits"}).json()["title"] == "fits"


def test_a_streaming_endpoint_is_not_limited(client: TestClient) -> None:
    """Its body passes in pieces, however long."""
    assert client.post("/stream", content=iter([b"x" * 600] * 5)).json() == {"bytes": 3000}


def test_a_request_writes_one_line_with_what_was_noted(client: TestClient, logs: list[Any]) -> None:
    """Method, path, route, status, bytes and every noted fact; never the query, which may carry a signature."""
    response = client.post("/things?signature=hidden", json={"title": "x"})
    [line] = [line for line in logs if line["event"] == "http_request"]
    assert (line["method"], line["path"], line["route"], line["status"]) == (
        "POST",
        "/things",
        "/things",
        200,
    )
    assert line["bytes_sent"] == len(response.content)
    assert line["video_id"] == "the-video"
    assert "hidden" not in json.dumps(logs, default=str)
    seen = next(line for line in logs if line["event"] == "thing_seen")
    assert (seen["video_id"], seen["request_id"]) == ("the-video", response.headers["x-request-id"])


def test_nothing_of_one_request_is_bound_in_the_next(client: TestClient, logs: list[Any]) -> None:
    """Facts noted for one are not in the other's lines."""
    client.post("/things", json={"title": "x"})
    logs.clear()
    client.get("/query")
    assert logs
    assert all("video_id" not in line for line in logs)
    assert context.request_id() is None


@pytest.mark.parametrize(
    ("offered", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("", False)]
)
def test_a_callers_request_id_is_kept_when_it_is_harmless(
    client: TestClient, offered: str, kept: bool
) -> None:
    """So that two systems' logs meet; anything else is replaced."""
    response = client.get("/query", headers={"x-request-id": offered})
    assert (response.headers["x-request-id"] == offered) is kept


def test_a_trace_is_continued_and_otherwise_begun(client: TestClient) -> None:
    """What is stored with a record is always a valid W3C trace context."""
    offered = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert (
        client.get("/trace", headers={"traceparent": offered}).json()["traceparent"].split("-")[1]
        == offered[3:35]
    )
    for bad in ("", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "nonsense"):
        version, trace_id, span_id, flags = (
            client.get("/trace", headers={"traceparent": bad}).json()["traceparent"].split("-")
        )
        assert (len(version), len(trace_id), len(span_id), len(flags)) == (2, 32, 16, 2)
        assert int(trace_id, 16) > 0


def test_security_headers_are_on_every_response(client: TestClient) -> None:
    """On answers, on problems, and on failures that nothing caught."""
    for path in ("/query", "/nowhere", "/raise/bug"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"


def test_a_failure_after_the_response_began_reaches_the_server(client: TestClient) -> None:
    """The response cannot be called back, so the server must cut the connection rather than end it well."""
    with pytest.raises(RuntimeError):
        client.get("/broken-stream")


def test_health_does_not_depend_on_anything() -> None:
    """Liveness answers while a dependency is down; readiness does not, and keeps the reason's text to itself."""
    with TestClient(make({"catalog": broken, "outputs": unreachable, "sources": lambda: None})) as client:
        assert client.get("/health").json() == {"status": "ok"}
        response = client.get("/status")
    assert response.status_code == 503
    body = response.json()
    assert (body["service"], body["version"], body["node"], body["status"]) == (
        "probe",
        "1.2.3",
        "node-a",
        "down",
    )
    found = {item["name"]: (item["status"], item["code"]) for item in body["dependencies"]}
    assert found == {
        "catalog": ("down", "catalog_unavailable"),
        "outputs": ("down", "unreachable"),
        "sources": ("ok", None),
    }
    assert SECRET not in response.text


def test_metrics_count_requests_by_route(client: TestClient) -> None:
    """By the template of the route, so that ids do not multiply the series."""
    client.get("/raise/forbidden")
    text = client.get("/metrics").text
    assert (
        'penstock_http_request_seconds_count{method="GET",route="/raise/{name}",service="probe",status="403"}'
        in text
    )


def test_invented_methods_do_not_multiply_the_series(client: TestClient) -> None:
    """A stranger may send any word as a method; they share one series, or the memory would grow with each."""
    for number in range(5):
        assert client.request(f"BREW{number}", "/trace").status_code == 405
    text = client.get("/metrics").text
    assert "BREW" not in text
    assert 'penstock_http_request_seconds_count{method="other"' in text


def test_the_contract_describes_every_error_as_a_problem() -> None:
    """Each operation has a default response of the problem type, and no schema of the framework's own is left."""
    document = make().openapi()
    assert document["info"]["version"] == "1.2.3"
    assert "HTTPValidationError" not in json.dumps(document)
    for item in document["paths"].values():
        for operation in item.values():
            assert problems.MEDIA_TYPE in operation["responses"]["default"]["content"]
    assert {"Problem", "FieldProblem"} <= document["components"]["schemas"].keys()


def test_two_services_may_not_claim_one_path() -> None:
    """Merging the contracts of services that overlap is refused, except for the operations that all have."""
    with pytest.raises(contract.ContractConflict):
        contract.merged([make(), make()], title="Both", version="1", description="")
    alone = contract.merged([make()], title="One", version="1", description="")
    assert "/health" in alone["paths"]


def test_documented_errors_are_grouped_by_status() -> None:
    """Two kinds of one status share its entry."""
    responses = problems.documented(NotFound, Forbidden, Unauthenticated)
    assert list(responses) == [401, 403, 404]
