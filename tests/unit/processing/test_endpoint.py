import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from structlog.testing import capture_logs

from penstock.processing.endpoint import Endpoint
from penstock.video.errors import ConfigurationError, StorageFull

Ask = Callable[[str], tuple[int, str, bytes]]


class Faults:
    """What the checks raise."""

    disk: Exception | None = None

    def check(self) -> None:
        """Asks the disk."""
        if self.disk is not None:
            raise self.disk


@pytest.fixture
def faults() -> Faults:
    """None yet."""
    return Faults()


@pytest.fixture
def ask(faults: Faults) -> Iterator[Ask]:
    """GET a path of a running endpoint: status, content type, body."""
    endpoint = Endpoint(
        "127.0.0.1",
        0,
        constants={"service": "processing", "version": "1.2.3", "node": "node-1"},
        checks={"catalog": lambda: None, "disk": faults.check},
        facts=lambda: {"running": []},
    )
    endpoint.start()

    def get(path: str) -> tuple[int, str, bytes]:
        connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers["content-type"], answer.read()
        finally:
            connection.close()

    yield get
    endpoint.close()


def document(answer: tuple[int, str, bytes]) -> Any:
    """The JSON of an answer."""
    return json.loads(answer[2])


def test_health_says_that_the_process_lives(ask: Ask, faults: Faults) -> None:
    """Whatever its dependencies do."""
    faults.disk = StorageFull("Full.")
    answer = ask("/health")
    assert (answer[0], document(answer)) == (200, {"status": "ok"})


def test_status_asks_every_dependency(ask: Ask, faults: Faults) -> None:
    """As every HTTP service answers it, with what this service does at the moment besides."""
    answer = ask("/status")
    assert answer[0] == 200
    found = document(answer)
    assert {key: found[key] for key in ("service", "version", "node", "status")} == {
        "service": "processing",
        "version": "1.2.3",
        "node": "node-1",
        "status": "ok",
    }
    assert [(item["name"], item["status"], item["code"]) for item in found["dependencies"]] == [
        ("catalog", "ok", None),
        ("disk", "ok", None),
    ]
    assert found["processing"] == {"running": []}


@pytest.mark.parametrize(
    ("error", "code"), [(StorageFull("Full."), "storage_full"), (OSError("?"), "unreachable")]
)
def test_a_dependency_that_is_down_makes_the_service_unready(
    ask: Ask, faults: Faults, error: Exception, code: str
) -> None:
    """503, with the code and without the insides of the error."""
    faults.disk = error
    answer = ask("/status")
    assert answer[0] == 503
    assert [item["code"] for item in document(answer)["dependencies"]] == [None, code]


def test_metrics_are_in_the_exposition_format(ask: Ask) -> None:
    """What the service counts is there by its documented name."""
    status, content_type, body = ask("/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert b"penstock_task_seconds" in body


def test_anything_else_is_not_there(ask: Ask) -> None:
    """A problem document, as from every service."""
    answer = ask("/elsewhere")
    assert (answer[0], answer[1]) == (404, "application/problem+json")
    assert document(answer)["code"] == "not_found"


def test_a_busy_port_is_replaced() -> None:
    """A second processing process on the machine works all the same, and its log says where its figures are."""
    first = Endpoint("127.0.0.1", 0, constants={}, checks={}, facts=dict)
    with capture_logs() as logs:
        second = Endpoint("127.0.0.1", first.port, constants={}, checks={}, facts=dict)
    assert first.port != second.port
    assert [(line["event"], line["port"]) for line in logs] == [("port_replaced", second.port)]
    for endpoint in (first, second):
        endpoint.close()


def test_an_address_of_another_machine_is_refused() -> None:
    """The process refuses to start, and says which setting to change."""
    with pytest.raises(ConfigurationError, match="PENSTOCK_PROCESSING_HOST"):
        Endpoint("192.0.2.1", 0, constants={}, checks={}, facts=dict)
