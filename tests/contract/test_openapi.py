"""The whole interface, asked over the network as its document describes it, of the platform that a user starts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from penstock.client import Client
from tests.cluster.running import Platform

pytestmark = pytest.mark.xdist_group("openapi")  # one platform serves all tests of this file

load_all_checks()
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
_CHECKS: list[Any] = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)
_EXAMPLES = 6  # per operation and round; seeded, so that a failure can be repeated
_TIMEOUT = 30  # seconds for one answer; a stream of events would exceed it, and none is asked for


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform."""
    platform = Platform(tmp_path_factory.mktemp("platform") / "data", {"PLAN_MAX_RUNG": "240"})
    try:
        yield platform.start()
    finally:
        platform.close()


@pytest.fixture(scope="module")
def known(platform: Platform, clips: Path) -> Mapping[str, Any]:
    """Path parameters of things that exist: a finished video with its playback, and an open upload."""
    with platform.client() as client:
        video = client.video(client.wait(client.upload(clips / "bigbuckbunny.mp4").id).id)
        assert video.playback is not None
        _, _, _, _, token, video_id, generation_id, _ = video.playback.hls.split("/")
        return {
            "video_id": video_id,
            "token": token,
            "generation_id": generation_id,
            "track": "240p",
            "number": 1,
            "file": "poster.jpg",
            "upload_id": open_upload(client),
        }


def open_upload(client: Client) -> str:
    """An upload of which nothing has arrived."""
    body = {"filename": "x.mp4", "size": 10, "transport": "direct"}
    upload_id: str = client.connection.json("POST", "/api/uploads/initiate", body=body)["upload_id"]
    return upload_id


def key_of(platform: Platform) -> dict[str, str]:
    """The administrator's credential."""
    return {"Authorization": f"Bearer {(platform.data / 'admin.key').read_text().strip()}"}


@pytest.mark.parametrize("exists", [False, True], ids=["made-up ids", "ids of what exists"])
def test_every_answer_is_one_that_the_document_describes(
    platform: Platform, known: Mapping[str, Any], exists: bool
) -> None:
    """Requests made up from the document, with a key and without, never break a service or get an undescribed answer."""
    schema = schemathesis.openapi.from_url(f"{platform.url}/openapi.json")
    asked = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if exists and operation.method == "delete":
            continue  # it would end what the other operations are asked about

        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def holds(case: Case[Any]) -> None:
            nonlocal asked
            for name in (case.path_parameters or {}) if exists else ():
                case.path_parameters[name] = known[name]
            for headers in (key_of(platform), None):
                answer = case.call(headers=headers, timeout=_TIMEOUT)
                case.validate_response(answer, checks=_CHECKS)
                asked += 1

        holds()
    assert asked > 100
    assert not platform.log("request_failed")
    assert not platform.log("process_crashed")
