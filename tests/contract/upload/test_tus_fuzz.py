"""Requests to tus whose headers and bodies are anything: none breaks the service, and every byte stays as it was accepted."""

from collections.abc import Mapping
from typing import Any

import httpx
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.catalog.words import UploadState
from penstock.video.keys import STAGING
from tests.contract.upload.conftest import Instance
from tests.contract.upload.test_tus import BYTES, RESUMABLE, checksum, metadata, opened

LENGTH = 2000
NUMBERS = [
    "0",
    "1",
    "10",
    "1999",
    "2000",
    "2001",
    "-1",
    "+1",
    " 1",
    "1.0",
    "0x10",
    "1e3",
    "9" * 40,
    "\u0661",
    "",
]
VALUES: Mapping[str, list[str]] = {
    "tus-resumable": ["1.0.0", "1.0.0,1.0.0", "0.2.2", "", "1.0.0 "],
    "upload-offset": NUMBERS,
    "upload-length": NUMBERS,
    "upload-defer-length": ["1", "0", "true", ""],
    "upload-metadata": [
        *("", ",", "filename", "filename ,filename ", "filename YQ==", "filename YQ==,title !!!"),
        *(metadata(filename="../../etc/passwd"), metadata(filename="a\0b"), "a " + "A" * 5000),
    ],
    "upload-checksum": [checksum(b""), "sha1", "sha1 ", "md5 AAAA", "sha256 AAAA", "sha1 \u00fc", "sha1 " + "A" * 9000],
    "upload-concat": ["partial", "final;/a /b"],
    "content-type": [BYTES["content-type"], "application/json", "multipart/form-data", "", "\u00ff"],
    "content-encoding": ["identity", "gzip", ""],
    "x-http-method-override": ["PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "patch ", ""],
    "idempotency-key": ["k", "k" * 300, "\u00e4"],
    "expect": ["100-continue"],
    "range": ["bytes=0-10"],
}  # fmt: skip
ANYTHING = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, str], bytes]:
    """A method, headers, and a body; half of them nearly right, or nothing would ever be accepted."""
    method = draw(
        st.sampled_from(["PATCH", "PATCH", "PATCH", "POST", "HEAD", "DELETE", "PUT", "OPTIONS", "GET"])
    )
    body = draw(st.binary(max_size=1500))
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=4))
    headers = dict(BYTES) if draw(st.booleans()) else {}
    for name in names:
        headers[name] = draw(st.sampled_from(VALUES[name]) | ANYTHING)
    if draw(st.booleans()):
        headers["upload-checksum"] = checksum(body)
    return method, headers, body


class Fuzzed:
    """One upload under fire, and the bytes of it that were accepted."""

    def __init__(self, instance: Instance, client: TestClient) -> None:
        self._instance = instance
        self._client = client
        self.accepted = self.completed = 0
        self._renew()

    def _renew(self) -> None:
        self.url = opened(self._client, LENGTH)
        self.kept = b""

    def ask(self, method: str, headers: Mapping[str, str], body: bytes, *, here: bool) -> httpx.Response:
        """One request, to the upload or to where uploads are created; its offset is true more often than chance makes it."""
        given = {name: value.encode("utf-8") for name, value in headers.items()}
        if here and "upload-offset" not in given:
            given["upload-offset"] = str(len(self.kept)).encode()
        path = self.url if here else "/api/uploads/tus/"
        answer: httpx.Response = self._client.request(method, path, content=body, headers=given)
        return answer

    def check(self, answer: httpx.Response, body: bytes) -> None:
        """No fault of the service, nothing of its inside, and of the bytes only a beginning of what was sent is new."""
        assert answer.status_code < 500, answer.text
        assert STAGING not in answer.text + str(answer.headers)
        assert "Traceback" not in answer.text
        upload = self._instance.upload(self.url.rpartition("/")[2])
        self.kept += body[: upload.received - len(self.kept)]
        assert upload.received == len(self.kept)
        self.accepted += answer.status_code == 204
        if upload.state is UploadState.OPEN:
            staged = self._instance.staging._folder(upload.id) / "data"
            assert (staged.read_bytes() if self.kept else b"")[: len(self.kept)] == self.kept
            assert self._client.head(self.url, headers=RESUMABLE).headers["upload-offset"] == str(
                len(self.kept)
            )
            return
        if upload.state is UploadState.COMPLETED:
            video = self._instance.video(upload.video_id)
            source = self._instance.video(video.duplicate_of or video.id).source_key
            assert self._instance.sources.get(source) == self.kept
            self.completed += 1
        self._renew()


def test_anything_may_be_sent_and_nothing_breaks(instance: Instance) -> None:
    """Headers and bodies made up at random, to an upload and to the creation of uploads."""
    client = instance.start(open_per_account=10_000, opened_per_minute=100_000)
    fuzzed = Fuzzed(instance, client)

    @settings(
        max_examples=200,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(request=requests(), here=st.booleans() | st.just(value=True), last=st.booleans())
    def holds(request: tuple[str, dict[str, Any], bytes], *, here: bool, last: bool) -> None:
        method, headers, body = request
        if last:
            missing = LENGTH - len(fuzzed.kept)
            body = body[:missing].ljust(missing, b"z")
        fuzzed.check(fuzzed.ask(method, headers, body, here=here), body if here else b"")

    holds()
    assert fuzzed.accepted > 20
    assert fuzzed.completed > 0
